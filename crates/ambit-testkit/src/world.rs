//! A whole Ambit in a struct: engine, store in memory, custody, authority; driven step by step.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use ambit_audit::{Durable, LogKey};
use ambit_broker::{FileCustody, SecretKey};
use ambit_core::{
    Timestamp, TrustDomain,
    act::Act,
    estate::{Estate, OidcSubject},
    json::Value,
    limits::SVID_TTL_MAX,
    record::Record,
    task::{Contained, Task},
};
use ambit_engine::{
    Answer, Archive, Handle, Sequencer, Setup, StartTask, Started, Step, TokenGrant,
};
use ambit_identity::{
    Authority, Beside, Carrier, InstanceCaller, Issuance, PeerCredentials, PersonCaller, SvidKey,
    dpop::{MadeRequest, ProofMaker, ProvedRequest},
    identify_instance, identify_person, identify_signed_in, identify_token,
    jose::{Algorithm, JwkSet, KeyUse, Signer, SigningKey, VerifyingKeys},
    mission::{Anchor, AnchorKind},
    sign_in::FlowKey,
    token::{
        access::{AccessGrant, AccessIssuer, AccessToken, AccessVerifier, Mission},
        id_token::IdTokenIssuer,
    },
};
use ambit_policy::PolicyBook;
use ambit_store::{MemoryArchive, MemoryWriter};

use crate::TestClock;

/// A whole Ambit, driven step by step on one thread.
pub struct World<D = MemoryWriter> {
    /// The engine.
    pub handle: Handle,
    /// The clock.
    pub clock: TestClock,
    /// What the store can be asked.
    pub archive: Arc<dyn Archive>,
    sequencer: Option<Sequencer<D>>,
    authority: Arc<Authority>,
    estate: Arc<Estate>,
    kept: Option<MemoryArchive>,
}

/// What survives a crash: everything but the memory.
pub struct Opened<D> {
    /// The side of the store that writes.
    pub durable: D,
    /// The side of the store that reads.
    pub archive: Arc<dyn Archive>,
}

impl World<MemoryWriter> {
    /// Returns a world with `estate` in force, applied by `ana`.
    pub fn new(estate: Estate, seed: u64) -> Self {
        let (durable, archive) = ambit_store::memory(ambit_engine::TABLES);
        let opened = Opened {
            durable,
            archive: Arc::new(archive.clone()),
        };
        let mut world = Self::open(opened, estate, TestClock::new(seed));
        world.kept = Some(archive);
        let book = Arc::new(PolicyBook::compile(world.estate.clone()).expect("an estate"));
        let (handle, ana, moment) = (
            world.handle.clone(),
            world.person("ana"),
            world.clock.moment(),
        );
        world
            .run(async move { handle.apply(&ana, book, Vec::new(), moment).await })
            .expect("ana may apply");
        world
    }

    /// Kills the world: returns what survives.
    pub fn crash(self) -> Opened<MemoryWriter> {
        let kept = self.kept.expect("a world made by `new`");
        Opened {
            durable: kept.writer(),
            archive: Arc::new(kept),
        }
    }
}

impl<D: Durable> World<D> {
    /// Opens a world over what is durable, as a start of the program does.
    pub fn open(opened: Opened<D>, estate: Estate, clock: TestClock) -> Self {
        let trust_domain: TrustDomain = "example.org".parse().expect("a trust domain");
        let authority = Authority::create(trust_domain.clone(), [7; 32], clock.now());
        let estate = Arc::new(estate);
        let compiled = estate.clone();
        let setup = Setup {
            durable: opened.durable,
            archive: opened.archive.clone(),
            custody: Arc::new(FileCustody::new(SecretKey::new([9; 32]))),
            clock: clock.to_clock(),
            trust_domain,
            log_key: LogKey::from_seed(&[3; 32]).expect("a key"),
            origin: "example.org/log".to_owned(),
            compile: Arc::new(move |_| {
                let book = PolicyBook::compile(compiled.clone());
                book.map(Arc::new)
                    .map_err(|problems| format!("{problems:?}"))
            }),
            issuing: None,
        };
        let (handle, sequencer) = setup.open().expect("an engine opens");
        Self {
            handle,
            clock,
            archive: opened.archive,
            sequencer: Some(sequencer),
            authority: Arc::new(authority.expect("an authority")),
            estate,
            kept: None,
        }
    }

    /// Returns the evidence that `alias` is at the control socket.
    pub fn person(&self, alias: &str) -> PersonCaller {
        let uid = self
            .estate
            .people
            .get(alias)
            .and_then(|it| it.unix_uid)
            .expect("a person");
        let peer = PeerCredentials {
            uid,
            gid: uid,
            pid: None,
        };
        identify_person(peer, &self.estate.people).expect("a person of the estate")
    }

    /// Returns the evidence that `alias` signed in at the provider that the estate names for that person, whose key this
    /// world has.
    pub fn signed_in(&self, alias: &str, carrier: Carrier) -> PersonCaller {
        let named = self.estate.people.get(alias).and_then(|it| it.oidc.clone());
        let OidcSubject { issuer, subject } = named.expect("a person who signs in");
        let key = SvidKey::generate(self.clock.chance()).expect("a key");
        let key = SigningKey::from_svid_key(&key, KeyUse::Signature).expect("a key");
        let set = JwkSet::new(vec![key.public().clone()]).expect("a key set");
        let now = self.clock.now();
        let flow = FlowKey::new(&self.clock.chance());
        let flow = flow.begin(self.clock.chance(), "/", now).expect("a flow");
        let seconds = now.as_millis() / 1000;
        let claims = Value::object([
            ("iss", issuer.as_str().into()),
            ("aud", "ambit".into()),
            ("sub", subject.into()),
            ("iat", seconds.into()),
            ("exp", (seconds + 60).into()),
            ("nonce", flow.nonce().into()),
        ]);
        let token = Signer::new(Arc::new(key), None)
            .sign(&claims)
            .expect("a token");
        let provider = IdTokenIssuer::new(issuer, "ambit".to_owned(), &set).expect("a provider");
        let sign_in = provider.verify(&token, &flow, now).expect("a sign-in");
        identify_signed_in(&sign_in, carrier, &self.estate.people).expect("a person of the estate")
    }

    /// Returns the evidence that the instance of `task` is at the gateway.
    pub fn instance(&self, task: &Task) -> InstanceCaller {
        let key = SvidKey::generate(self.clock.chance()).expect("a key");
        let svid = self.authority.issue(&Issuance {
            key: &key.proved().expect("a proved key"),
            spiffe_id: &task.spiffe_id,
            now: self.clock.now(),
            expires_at: task.expires_at.min(self.clock.now().plus(SVID_TTL_MAX)),
            chance: *self.clock.chance().first_chunk().expect("16 bytes"),
        });
        let svid = svid.expect("an SVID");
        identify_instance(svid.chain(), self.authority.bundle(), self.clock.now())
            .expect("an instance")
    }

    /// Returns [`access_token`] of `granted` as of now.
    pub fn access_token(&self, granted: &TokenGrant) -> AccessToken {
        access_token(granted, self.clock.now()).expect("a token of this issuer")
    }

    /// Identifies the instance that comes by the access token of `granted` with a DPoP proof by `key`.
    pub fn by_dpop(&self, granted: &TokenGrant, key: &SvidKey) -> InstanceCaller {
        let now = self.clock.now();
        let (text, token) = signed(granted, now).expect("a token of this issuer");
        let maker = ProofMaker::new(key).expect("a key");
        let url = "https://127.0.0.1:1/v1/task";
        let made = maker.prove(&MadeRequest {
            method: "POST",
            url,
            access_token: Some(&text),
            nonce: None,
            token_id: &granted.access().id.to_string(),
            now,
        });
        let proof = ambit_identity::dpop::verify(
            &made.expect("signed"),
            &ProvedRequest {
                method: "POST",
                url,
                access_token: Some(&text),
                nonces: None,
                now,
                wall: now,
            },
        );
        let beside = Beside {
            connection: None,
            proof: Some(&proof.expect("made for it")),
        };
        let domain = granted.task().spiffe_id.trust_domain();
        identify_token(&token, beside, domain).expect("bound to the key")
    }

    /// Polls `future` and lets the sequencer work until it is done.
    pub fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..STEPS_MAX {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.step();
        }
        panic!("nothing happens any more");
    }

    /// Lets the sequencer take everything that waits.
    pub fn settle(&mut self) {
        while self.step() == Step::Taken {}
    }

    /// Returns the sequencer, to be run on a thread of its own. From then on futures of [`World::handle`] are
    /// awaited on a runtime, and this world no longer runs any.
    pub fn take_sequencer(&mut self) -> Sequencer<D> {
        self.sequencer.take().expect("a sequencer, once")
    }

    fn step(&mut self) -> Step {
        self.sequencer
            .as_mut()
            .expect("a sequencer that was not taken")
            .step()
    }

    /// Starts a task of template `answer` for `clerk`, on behalf of `ana`, about ticket `T-1` of `kim@example.org`.
    pub fn start(&mut self) -> (Started, InstanceCaller) {
        let ask = StartTask {
            template: "answer".parse().expect("a name"),
            agent: "clerk".parse().expect("a name"),
            parameters: BTreeMap::from([
                ("ticket".to_owned(), Value::from("T-1")),
                ("customer".to_owned(), Value::from("kim@example.org")),
            ]),
            contained: Contained::Namespaces,
        };
        let (handle, ana, moment) = (self.handle.clone(), self.person("ana"), self.clock.moment());
        let started = self.run(async move { handle.start_task(&ana, ask, moment).await });
        let started = started.expect("ana may start");
        let caller = self.instance(&started.task);
        (started, caller)
    }

    /// Asks for a call of `tool` at `tickets`.
    pub fn call(&mut self, caller: &InstanceCaller, tool: &str, arguments: Value) -> Answer {
        let act = Act::CallTool {
            server: "tickets".parse().expect("a name"),
            tool: tool.parse().expect("a name"),
            arguments,
        };
        let (handle, caller, moment) = (self.handle.clone(), caller.clone(), self.clock.moment());
        self.run(async move { handle.decide(&caller, act, moment).await })
            .expect("an answer")
    }

    /// Returns every record of the log.
    pub fn records(&self) -> Vec<Record> {
        let size = self.archive.size().expect("a size");
        let leaves = self
            .archive
            .leaves(0, usize::try_from(size).expect("a small log"));
        let decode = |leaf: &Vec<u8>| ambit_audit::decode(leaf).expect("a record");
        leaves.expect("leaves").iter().map(decode).collect()
    }
}

/// Returns the access token that the authorization server signs for `granted`, verified, with a key that all tests have.
/// None when it would be over.
pub(crate) fn access_token(granted: &TokenGrant, now: Timestamp) -> Option<AccessToken> {
    signed(granted, now).map(|(_, token)| token)
}

fn signed(granted: &TokenGrant, now: Timestamp) -> Option<(String, AccessToken)> {
    let issuer = "https://ambit.example.org";
    let key = SvidKey::generate([5; 32]).expect("a key");
    let key = SigningKey::from_svid_key(&key, KeyUse::Signature).expect("a key");
    let set = JwkSet::new(vec![key.public().clone()]).expect("a key set");
    let keys = VerifyingKeys::new(&set, &[KeyUse::Signature], &[Algorithm::Es256]);
    let (task, issued) = (granted.task(), granted.access());
    let details = granted.authorization_details().as_ref().clone();
    let anchor = Anchor::of(AnchorKind::AuthoritySet, issuer, details.clone());
    let actors = granted.line().iter().map(|it| it.spiffe_id.clone());
    let says = AccessGrant {
        token_id: issued.id.to_string(),
        subject: task.subject.to_string(),
        client_id: issued.client.clone(),
        audience: issued.audience.clone(),
        actors: actors.collect(),
        mission: Mission::new(&task.id, anchor, task.expires_at).under(&granted.root().id),
        authorization_details: details,
        binding: issued.binding,
        expires_at: issued.expires_at,
    };
    let text = AccessIssuer::new(issuer.to_owned(), Arc::new(key)).issue(&says, now);
    let verifier = AccessVerifier::new(issuer.to_owned(), keys.expect("keys"));
    let text = text.ok()?;
    let token = verifier.verify(&text, &issued.audience, now).ok()?;
    Some((text, token))
}

/// Makes the policies of `estate`.
pub fn compile(estate: Estate) -> Arc<PolicyBook> {
    Arc::new(PolicyBook::compile(Arc::new(estate)).expect("an estate"))
}

impl<D> std::fmt::Debug for Opened<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

/// How often a future is polled before the test gives up.
const STEPS_MAX: usize = 100_000;

impl<D> std::fmt::Debug for World<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World({})", self.clock.now())
    }
}
