//! A whole Ambit over the office estate: engine on a thread of its own, store, custody, authority.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use ambit_audit::{Durable, LogKey};
use ambit_broker::{FileCustody, SecretKey};
use ambit_core::{
    Millis, Timestamp, TrustDomain,
    act::Act,
    estate::{Bound, Estate, PolicyFile, Server, Tool, Transport},
    json::Value,
    limits::BATCH_RECORDS_MAX,
    task::{Contained, Task},
};
use ambit_engine::{Archive, Clock, Handle, Moment, Sequencer, Setup, StartTask, TABLES};
use ambit_identity::{
    Authority, InstanceCaller, Issuance, PeerCredentials, PersonCaller, Svid, SvidKey,
    identify_instance, identify_person,
};
use ambit_policy::PolicyBook;
use ambit_store::{Keeping, create_or_open};
use tokio::task::JoinSet;

use crate::Failure;

/// Where the log is kept.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// In memory.
    Memory,
    /// In SQLite, in this directory.
    Sqlite(PathBuf),
}

/// A whole Ambit.
pub(crate) struct Whole {
    pub(crate) handle: Handle,
    pub(crate) clock: Clock,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) estate: Arc<Estate>,
    sequencer: JoinHandle<()>,
}

impl Whole {
    /// Opens an Ambit with `estate` in force; a new log gets it applied.
    pub(crate) async fn open(kept: &Kept, estate: Estate) -> Result<Self, Failure> {
        let book = Arc::new(compile(estate)?);
        let whole = match kept {
            Kept::Memory => {
                let (durable, archive) = ambit_store::memory(TABLES);
                Self::over(durable, Arc::new(archive), &book)?
            }
            Kept::Sqlite(directory) => {
                let (durable, archive) = create_or_open(&keeping(directory)?)?;
                Self::over(durable, Arc::new(archive), &book)?
            }
        };
        if whole.handle.book().is_err() {
            let (ana, moment) = (whole.person()?, (whole.clock)());
            whole.handle.apply(&ana, book, Vec::new(), moment).await?;
        }
        Ok(whole)
    }

    fn over<D: Durable + 'static>(
        durable: D,
        archive: Arc<dyn Archive>,
        book: &Arc<PolicyBook>,
    ) -> Result<Self, Failure> {
        let trust_domain: TrustDomain = "example.org".parse()?;
        let clock = clock();
        let compiled = book.clone();
        let setup = Setup {
            durable,
            archive: archive.clone(),
            custody: Arc::new(FileCustody::new(SecretKey::new([9; 32]))),
            clock: clock.clone(),
            trust_domain: trust_domain.clone(),
            log_key: log_key()?,
            origin: ORIGIN.to_owned(),
            compile: Arc::new(move |_| Ok(compiled.clone())),
            issuing: None,
        };
        let (handle, sequencer) = setup.open()?;
        Ok(Self {
            handle,
            archive,
            authority: Arc::new(Authority::create(trust_domain, [7; 32], clock().now)?),
            estate: book.estate().clone(),
            sequencer: spawn(sequencer)?,
            clock,
        })
    }

    /// Ends the sequencer and closes the store. Every other handle must be gone.
    pub(crate) fn close(self) -> Result<(), Failure> {
        drop(self.handle);
        self.sequencer
            .join()
            .map_err(|_| "the sequencer died".into())
    }

    /// Returns the person who starts and revokes.
    pub(crate) fn person(&self) -> Result<PersonCaller, Failure> {
        let peer = PeerCredentials {
            uid: 1001,
            gid: 1001,
            pid: None,
        };
        Ok(identify_person(peer, &self.estate.people)?)
    }

    /// Starts `count` tasks.
    pub(crate) async fn start(&self, count: usize) -> Result<Vec<Arc<Task>>, Failure> {
        let mut tasks = Vec::new();
        while tasks.len() < count {
            let mut starting = JoinSet::new();
            for _ in 0..STARTS_AT_ONCE.min(count - tasks.len()) {
                let (handle, person, moment) =
                    (self.handle.clone(), self.person()?, (self.clock)());
                let ask = StartTask {
                    template: "answer".parse()?,
                    agent: "clerk".parse()?,
                    parameters: BTreeMap::from([
                        ("ticket".to_owned(), Value::from("T-1")),
                        ("customer".to_owned(), Value::from(CUSTOMER)),
                    ]),
                    contained: Contained::Namespaces,
                };
                starting.spawn(async move { handle.start_task(&person, ask, moment).await });
            }
            while let Some(started) = starting.join_next().await {
                tasks.push(started??.task);
            }
        }
        Ok(tasks)
    }

    /// Issues the certificate of a task's instance.
    pub(crate) fn certify(&self, task: &Task) -> Result<(Svid, SvidKey), Failure> {
        let moment = (self.clock)();
        let key = SvidKey::generate(moment.chance)?;
        let svid = self.authority.issue(&Issuance {
            key: &key.proved()?,
            spiffe_id: &task.spiffe_id,
            now: moment.now,
            expires_at: task.expires_at,
            chance: [1; 16],
        })?;
        Ok((svid, key))
    }

    /// Returns the evidence that a task's instance calls.
    pub(crate) fn caller(&self, task: &Task) -> Result<InstanceCaller, Failure> {
        let (svid, _) = self.certify(task)?;
        let now = (self.clock)().now;
        Ok(identify_instance(
            svid.chain(),
            self.authority.bundle(),
            now,
        )?)
    }
}

/// Returns the office with `policies` policies of the tenant, its tickets at `upstream_port`.
///
/// Six policies look at every act that leaves; the others look at tools of another server, as in an organisation
/// with many owners.
pub(crate) fn estate(policies: usize, upstream_port: u16) -> Result<Estate, Failure> {
    let mut estate = ambit_testkit::office(&[]);
    let tickets = estate
        .servers
        .values_mut()
        .next()
        .ok_or("an office without server")?;
    tickets.transport = Transport::Http {
        url: format!("http://127.0.0.1:{upstream_port}/mcp"),
        credential: None,
    };
    let archive = archive(tickets)?;
    let tools: Vec<_> = archive.tools.keys().cloned().collect();
    for template in estate.templates.values_mut() {
        template.calls_max = u32::MAX;
        for grant in template.tools.values_mut() {
            grant.calls_max = None;
            grant.approval = Bound::Free;
        }
    }
    estate.servers.insert(archive.name.clone(), archive);
    let text: String = (0..policies)
        .map(|number| match tools.get(number % tools.len()) {
            Some(tool) if number >= GENERAL_POLICIES => format!(
                "@id(\"own-{number}\") forbid (principal, action, resource == Ambit::Tool::\"archive/{tool}\") \
                 when {{ context.calls_left < {number} }};\n"
            ),
            _ => format!(
                "@id(\"all-{number}\") forbid (principal, action in Ambit::Action::\"leave\", resource) \
                 when {{ context.calls_left < {number} && context.budget == \"left\" }};\n"
            ),
        })
        .collect();
    estate.digest = ambit_core::Digest::of(format!("{policies} {upstream_port}").as_bytes());
    estate.policies = vec![PolicyFile {
        path: "policies/bench.cedar".to_owned(),
        text,
    }];
    Ok(estate)
}

/// Compiles an estate.
pub(crate) fn compile(estate: Estate) -> Result<PolicyBook, Failure> {
    PolicyBook::compile(Arc::new(estate)).map_err(|problems| {
        let problem = problems.first().map(ToString::to_string);
        problem.unwrap_or_default().into()
    })
}

/// Returns the act that is measured everywhere: it leaves the organisation, with about 1 KiB of arguments.
pub(crate) fn act() -> Result<Act, Failure> {
    Ok(Act::CallTool {
        server: "tickets".parse()?,
        tool: "send_reply".parse()?,
        arguments: arguments(),
    })
}

/// Returns the arguments of the act.
pub(crate) fn arguments() -> Value {
    let sentence = "Thank you for your letter; we looked into it and have good news for you. ";
    let body: String = sentence.chars().cycle().take(ARGUMENT_BYTES).collect();
    Value::object([("to", CUSTOMER.into()), ("body", body.into())])
}

/// Returns how a database in `directory` is kept.
pub(crate) fn keeping(directory: &Path) -> Result<Keeping, Failure> {
    Ok(Keeping {
        path: directory.join("ambit.db"),
        mark: directory.join("mark"),
        tables: TABLES,
        verifier: log_key()?.verifier(ORIGIN)?,
        vfs: None,
    })
}

/// Returns the key of every log here.
pub(crate) fn log_key() -> Result<LogKey, Failure> {
    Ok(LogKey::from_seed(&[3; 32])?)
}

/// Returns the machine's clock and dice.
pub(crate) fn clock() -> Clock {
    // As the program does, many bytes are drawn at once.
    let ahead = Mutex::new(([0; AHEAD_BYTES], AHEAD_BYTES));
    Arc::new(move || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        let mut chance = [0; 32];
        let mut ahead = ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, used) = &mut *ahead;
        if *used == AHEAD_BYTES {
            if aws_lc_rs::rand::fill(bytes).is_err() {
                std::process::abort();
            }
            *used = 0;
        }
        for (to, from) in chance.iter_mut().zip(bytes.iter().skip(*used)) {
            *to = *from;
        }
        *used += chance.len();
        drop(ahead);
        let now = Timestamp::from_millis(u64::try_from(millis).unwrap_or_default());
        Moment {
            now,
            wall: now,
            chance,
        }
    })
}

/// Returns how long `span` is, in the engine's unit.
pub(crate) fn millis(span: std::time::Duration) -> Millis {
    Millis::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn archive(like: &Server) -> Result<Server, Failure> {
    let pattern = like.tools.values().next().ok_or("a server without tools")?;
    let mut tools = BTreeMap::new();
    for number in 0..ARCHIVE_TOOLS {
        let tool = Tool {
            name: format!("tool_{number}").parse()?,
            ..pattern.clone()
        };
        tools.insert(tool.name.clone(), tool);
    }
    Ok(Server {
        name: "archive".parse()?,
        tools,
        ..like.clone()
    })
}

fn spawn<D: Durable + 'static>(sequencer: Sequencer<D>) -> Result<JoinHandle<()>, Failure> {
    let thread = thread::Builder::new().name("sequencer".to_owned());
    Ok(thread.spawn(move || sequencer.run())?)
}

/// The log's name.
pub(crate) const ORIGIN: &str = "example.org/log";
/// To whom the measured act writes.
const CUSTOMER: &str = "kim@example.org";
/// How long its text is.
const ARGUMENT_BYTES: usize = 980;
/// How many tasks start at once.
const STARTS_AT_ONCE: usize = BATCH_RECORDS_MAX / 8;
/// How many policies look at every act that leaves.
const GENERAL_POLICIES: usize = 6;
/// How many random bytes are drawn at once: a multiple of what a moment has.
const AHEAD_BYTES: usize = 1024;
/// How many tools the other server has.
const ARCHIVE_TOOLS: usize = 200;
