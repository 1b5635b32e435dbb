//! Starting the task: the instance's key is made here and never leaves the runner.

use std::{
    collections::BTreeMap, fs::OpenOptions, io::Write, net::SocketAddr,
    os::unix::fs::OpenOptionsExt, path::Path, sync::Arc,
};

use ambit_core::{json::Value, spiffe::TrustDomain};
use ambit_identity::{Svid, SvidKey, TlsClock, TrustBundle, tls::runner_config};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::ClientConfig;

use super::RunError;
use crate::{
    cli::segment,
    client::Client,
    clock::{Clock, chance},
    problem::Problem,
};

/// The files of an instance's identity: its key, its certificate, and what it trusts.
pub(crate) const SVID_FILES: [&str; 3] = ["key.pem", "svid.pem", "bundle.pem"];

/// The task that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// From which template.
    pub(crate) template: String,
    /// For which agent; when not given, for the only one that lists the template.
    pub(crate) agent: Option<String>,
    /// The owner's words.
    pub(crate) parameters: BTreeMap<String, Value>,
    /// The delegation that is taken instead, when one is: it says all of the above.
    pub(crate) delegation: Option<String>,
}

/// A task that began, and what its instance needs to speak to the gateway.
#[derive(Debug)]
pub(crate) struct Started {
    /// The task.
    pub(crate) task: String,
    /// When it ends at the latest.
    pub(crate) expires_at: String,
    /// Where the gateway is.
    pub(crate) gateway: SocketAddr,
    /// How it is spoken to.
    pub(crate) tls: Arc<ClientConfig>,
    /// The server's whole answer. It holds no secret.
    pub(crate) answer: Value,
    key: Arc<SvidKey>,
}

/// The server's answer can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the server started the task, but {what}; compare `ambit --version` on both sides")]
pub(crate) struct StartedError {
    what: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Starts a task for a new instance.
pub(crate) async fn start(
    client: &Client,
    clock: &Clock,
    wanted: &Wanted,
    contained: bool,
) -> Result<Started, RunError> {
    let key = Arc::new(new_key()?);
    let request = key
        .signing_request()
        .map_err(wrong("no signing request could be made"))?;
    let contained = if contained { "namespaces" } else { "none" };
    let serves = ("csr", Value::from(STANDARD.encode(request)));
    let answer = match &wanted.delegation {
        None => {
            client
                .post("/v1/tasks", &wanted.body(contained, serves))
                .await?
        }
        Some(delegation) => {
            let path = format!("/v1/delegations/{}/exchange", segment(delegation));
            let body = Value::object([("contained", contained.into()), serves]);
            client.post(&path, &body).await?
        }
    };
    let svid = Svid::from_pem(text(&answer, "svid")?).map_err(wrong("its SVID can't be read"))?;
    let domain: TrustDomain = svid.spiffe_id().trust_domain().clone();
    let bundle = TrustBundle::from_pem(domain, text(&answer, "bundle")?, 0)
        .map_err(wrong("its trust bundle can't be read"))?;
    let time = clock.clone();
    let tls = runner_config(
        &svid,
        &key,
        Arc::new(bundle),
        TlsClock::new(move || time.now()),
    )
    .map_err(wrong("its SVID is not for this instance's key"))?;
    let gateway = text(&answer, "gateway")?;
    let gateway = gateway.strip_prefix("https://").unwrap_or(gateway);
    Ok(Started {
        task: text(&answer, "task")?.to_owned(),
        expires_at: text(&answer, "expires_at")?.to_owned(),
        gateway: gateway
            .parse()
            .map_err(wrong("its gateway's address can't be read"))?,
        tls: Arc::new(tls),
        key,
        answer: answer.clone(),
    })
}

/// Who becomes the instance of a task that nobody here serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Awaited {
    /// The next process that attests as its agent.
    Process,
    /// Whoever shows the join token that the answer holds.
    JoinToken,
}

/// Starts a task whose instance is still to come. Nothing contains that one.
pub(crate) async fn start_awaiting(
    client: &Client,
    wanted: &Wanted,
    awaited: Awaited,
) -> Result<Value, Problem> {
    let member = match awaited {
        Awaited::Process => "attested",
        Awaited::JoinToken => "join_token",
    };
    let body = wanted.body("none", (member, true.into()));
    Ok(client.post("/v1/tasks", &body).await?)
}

impl Wanted {
    /// Returns the request; `serves` says how the instance gets its identity.
    fn body(&self, contained: &str, serves: (&str, Value)) -> Value {
        let members = [
            ("template", Value::from(self.template.as_str())),
            ("parameters", Value::Object(self.parameters.clone())),
            ("contained", contained.into()),
            serves,
        ];
        let agent = self.agent.as_deref().map(|it| ("agent", it.into()));
        Value::object(members.into_iter().chain(agent))
    }
}

impl Started {
    /// Writes the instance's key and certificates to new files in `directory`.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Problem> {
        let key = self.key.to_pem();
        let texts = [
            key.as_str(),
            text(&self.answer, "svid").map_err(RunError::from)?,
            text(&self.answer, "bundle").map_err(RunError::from)?,
        ];
        for (name, text) in SVID_FILES.into_iter().zip(texts) {
            let path = directory.join(name);
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            opened
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| {
                    Problem::io(
                        format!("write {}; name a new directory", path.display()),
                        error,
                    )
                })?;
        }
        Ok(())
    }
}

/// Draws a key. One draw in 2^32 is none, so a second one is enough.
fn new_key() -> Result<SvidKey, RunError> {
    if let Ok(key) = SvidKey::generate(chance()?) {
        return Ok(key);
    }
    Ok(SvidKey::generate(chance()?).map_err(wrong("no key could be made"))?)
}

fn text<'a>(answer: &'a Value, member: &str) -> Result<&'a str, StartedError> {
    answer
        .get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| StartedError {
            what: format!("its answer has no text `{member}`"),
            source: None,
        })
}

fn wrong<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
) -> impl FnOnce(E) -> StartedError {
    let what = what.to_owned();
    move |source| StartedError {
        what,
        source: Some(Box::new(source)),
    }
}
