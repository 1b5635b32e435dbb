//! What joins the doors to the rest: credentials, sandboxes, listings, and who serves `/v1`.

mod face;
mod outer;
mod storage;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use ambit_broker::{FileCustody, Secret};
use ambit_control::api::{
    self, Control, KeepKeys, ListTools, NoTools, Parts, Published, PublishedLog, SealCredential,
    instance_router, unknown_router,
};
use ambit_control::federation::FederatedInForce;
use ambit_control::people::{Provider, ProviderConfig, SignIns};
use ambit_engine::Archive;
use ambit_gateway::{
    Answering, Fallback, Gateway, GatewayConfig, Hosts, InspectError, Links, Room, SandboxPolicy,
    Secrets, TokenConfig, Trusting, Unknown, Verifiers, inspect,
};
use ambit_identity::{Trusted, passkey::RelyingParty};
use axum::Router;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use self::face::{Faces, Shown, Web};
pub(crate) use self::{face::draw_key, outer::OuterFace};
use super::{body::Ending, engine::Running, federate, fetch::Fetcher, keys, server::ServeError};
use crate::{
    clock::{Clock, chance, stopwatch},
    config::{
        DoorsConfig, Guests, IdentityConfig, OutboundConfig, PublicConfig, PublicUrl, Scheme,
        SignInConfig, StateDirectory,
    },
    run::find_bubblewrap,
};

/// Where distributions keep the roots that they trust, most common first.
const ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// How others name the public port, what it shows, and where people sign in there.
pub(crate) type PublicSide<'a> = (&'a PublicUrl, &'a PublicConfig, Option<&'a SignInConfig>);

/// What Ambit itself reaches others with.
pub(crate) struct Outbound {
    tls: Option<Arc<ClientConfig>>,
    fetcher: Fetcher,
}

/// The doors of one server, ready to serve.
pub(crate) struct Doors {
    /// The doors of agents.
    pub(crate) gateway: Gateway,
    /// The doors of people.
    pub(crate) people: api::Doors,
    /// What the gateway shows in handshakes.
    pub(crate) face: Faces,
    /// What it shows at its second address, where it is known by the SVID that somebody else gave it.
    pub(crate) outer: Option<OuterFace>,
}

impl Outbound {
    /// Reads the roots of this machine and those that `config` adds.
    pub(crate) fn new(config: &OutboundConfig) -> Result<Self, String> {
        let tls = upstream_tls(config.read_roots()?);
        let fetcher = Fetcher::new(tls.clone(), config);
        Ok(Self { tls, fetcher })
    }
}

/// How stdio servers are confined on this machine. Their mounts keep clear of `protected`.
pub(crate) async fn sandbox(
    doors: &DoorsConfig,
    path: Option<&std::ffi::OsString>,
    estate: PathBuf,
    protected: Vec<PathBuf>,
) -> SandboxPolicy {
    match find_bubblewrap(path).await {
        Some(found) => SandboxPolicy::Bubblewrap {
            program: found.program,
            estate,
            protected,
        },
        None if doors.danger_unsandboxed => SandboxPolicy::DangerUnsandboxed { estate, protected },
        None => SandboxPolicy::Refused,
    }
}

/// Where a server is.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    /// Where agents reach the gateway.
    pub(crate) address: std::net::SocketAddr,
    /// How those with access tokens name it.
    pub(crate) url: Option<&'a PublicUrl>,
    /// What else is said of its doors.
    pub(crate) doors: &'a DoorsConfig,
    /// Where agents reach it by another identity, and where it has that from.
    pub(crate) second: Option<&'a IdentityConfig>,
}

/// Joins the doors of a running engine. `public` is what strangers get, and where.
pub(crate) fn join(
    running: &Running,
    (sandbox, stdio_processes_max, room): (SandboxPolicy, usize, Room),
    here: Here<'_>,
    (state, clock): (&StateDirectory, &Clock),
    (public, outbound): (Option<PublicSide<'_>>, Outbound),
) -> Result<Doors, ServeError> {
    let secrets = secrets(Arc::clone(&running.archive), Arc::clone(&running.custody));
    let Outbound { tls, fetcher } = outbound;
    let (address, gateway_url) = (here.address, here.url);
    let federation = federate::parts(state, &fetcher, clock);
    let strangers_refused = Arc::<AtomicU64>::default();
    let control = Control {
        handle: running.handle.clone(),
        clock: Arc::clone(&running.moments),
        keys: Arc::clone(&running.keys),
        keep_keys: keep_keys(state.clone()),
        gateway: format!("https://{address}"),
        seal_credential: seal_credential(Arc::clone(&running.custody)),
        list_tools: list_tools(running, &secrets, tls.clone(), &sandbox),
        fetch: fetcher.documents(),
        federation,
        published: published(running, public.map(|(_, config, _)| config)),
        gateway_url: gateway_url.map(|it| it.as_str().to_owned()),
        strangers_refused: Arc::clone(&strangers_refused),
        measure_storage: storage::measure(state),
        sign_ins: sign_ins(public, &secrets, &fetcher)?,
        issuer: public.map(|(url, _, _)| url.as_str().to_owned()),
        fetch_document: fetcher.client_documents(),
    };
    let federated = Arc::clone(&control.federation.in_force);
    let people = api::Doors::new(control);
    let mut config = GatewayConfig::new(sandbox);
    let named = gateway_url.map(|it| it.host().to_owned());
    let addresses = [Some(address), here.second.map(|it| it.listen)];
    let addresses = addresses
        .into_iter()
        .flatten()
        .map(|it| it.ip().to_string());
    config.hosts = Hosts::new(named.into_iter().chain(addresses));
    config.strangers_refused = strangers_refused;
    config.stopwatch = Some(stopwatch());
    config.room = room;
    config.stdio_processes_max = stdio_processes_max;
    // Tokens come from the public port: without it nobody has any.
    let by_token = gateway_url.zip(public.map(|(url, ..)| url));
    config.tokens = match by_token {
        Some((gateway, issuer)) => Some(tokens(running, gateway, issuer)?),
        None => None,
    };
    config.upstream_tls = tls;
    config.trusting = Some(trusting(running, &federated));
    config.fallback = Some(fallback(instance_router(&people)));
    config.unknown = Some(unknown(unknown_router()));
    config.links = public.map_or_else(Links::none, |(url, ..)| Links::below(url.as_str()));
    let gateway = Gateway::new(
        config,
        running.handle.clone(),
        Arc::clone(&running.moments),
        secrets,
    );
    let shown = Shown {
        federated: Arc::clone(&federated),
        web: Web::of(by_token.map(|(gateway, _)| gateway), here.doors),
    };
    let outer = here.second.map(|it| {
        let trusted = (&running.keys, federated);
        OuterFace::new(&it.workload_api, trusted, clock)
    });
    Ok(Doors {
        gateway,
        people,
        face: face::face(&running.keys, shown, clock)?,
        outer,
    })
}

/// Returns where people sign in on the public port.
fn sign_ins(
    public: Option<PublicSide<'_>>,
    secrets: &Secrets,
    fetcher: &Fetcher,
) -> Result<SignIns, ServeError> {
    let Some((url, port, config)) = public else {
        return Ok(SignIns::Nowhere);
    };
    let Some(config) = config else {
        return Ok(passkeys(url, port.guests));
    };
    Ok(SignIns::At(Arc::new(Provider::new(ProviderConfig {
        issuer: config.issuer.clone(),
        client_id: config.client_id.clone(),
        public_url: url.as_str().to_owned(),
        key: config.read_key().map_err(ServeError::ClientKey)?,
        fetch: fetcher.provider(config, secrets),
    }))))
}

/// Passkeys are bound to a host's name: where the port has none, people come by the local socket alone. So they do where
/// cookies reach other ports of the machine (RFC 6265 §8.5) and the port is not of one user.
fn passkeys(url: &PublicUrl, guests: Guests) -> SignIns {
    match (guests, url.scheme()) {
        (Guests::Anybody, Scheme::Http) => SignIns::Nowhere,
        (Guests::Anybody, Scheme::Https) | (Guests::ThisUser, _) => {
            let party = RelyingParty::of(url.as_str());
            party.map_or(SignIns::Nowhere, SignIns::WithPasskeys)
        }
    }
}

/// Returns what anybody may read of the log.
fn published(running: &Running, public: Option<&PublicConfig>) -> Published {
    let Some(config) = public.filter(|it| it.log) else {
        return Published::Nothing;
    };
    let parts = match config.entries {
        true => Parts::Entries,
        false => Parts::Hashes,
    };
    let archive = Arc::clone(&running.archive);
    Published::Log(PublishedLog::new(archive, &running.origin, parts))
}

/// Returns what opens a credential for the gateway to inject.
fn secrets(archive: Arc<dyn Archive>, custody: Arc<FileCustody>) -> Secrets {
    Arc::new(move |reference| {
        let sealed = match archive.secret(reference) {
            Ok(sealed) => sealed?,
            Err(error) => {
                tracing::error!(reference, %error, "a credential could not be read");
                return None;
            }
        };
        match custody.open_credential(reference, &sealed) {
            Ok(secret) => Some(secret),
            Err(error) => {
                tracing::error!(reference, %error, "a credential could not be opened");
                None
            }
        }
    })
}

fn keep_keys(state: StateDirectory) -> KeepKeys {
    Arc::new(move |keep| keys::keep(&state, keep).map_err(|error| error.to_string()))
}

fn seal_credential(custody: Arc<FileCustody>) -> SealCredential {
    Arc::new(move |reference, text, chance| {
        let secret = Secret::new(text).map_err(|error| error.to_string())?;
        let sealed = custody.seal_credential(reference, &secret, chance);
        sealed.map_err(|error| error.to_string())
    })
}

fn list_tools(
    running: &Running,
    secrets: &Secrets,
    tls: Option<Arc<ClientConfig>>,
    sandbox: &SandboxPolicy,
) -> ListTools {
    let (handle, secrets, sandbox) = (running.handle.clone(), Arc::clone(secrets), sandbox.clone());
    Arc::new(move |name| {
        let (handle, secrets) = (handle.clone(), Arc::clone(&secrets));
        let (tls, sandbox) = (tls.clone(), sandbox.clone());
        Box::pin(async move {
            let book = handle
                .book()
                .map_err(|error| NoTools::from(error.to_string()))?;
            let server = book.estate().servers.get(&name).cloned();
            let server = server.ok_or_else(|| format!("the estate has no server `{name}`"))?;
            let listed = inspect(server, secrets, tls, sandbox).await;
            listed.map_err(|error| {
                if let InspectError::Credential(why) = error {
                    return NoTools::Credential(why);
                }
                NoTools::Failed(error.to_string())
            })
        })
    })
}

/// Gives the gateway's requests under `/v1` to `router`, with the caller that the gateway proved.
fn fallback(router: Router) -> Fallback {
    let answer = unknown(router);
    Arc::new(move |mut request, caller| {
        request.extensions_mut().insert(caller);
        answer(request)
    })
}

/// Returns what answers by `router`, whoever asks.
fn unknown(router: Router) -> Unknown {
    let service = TowerToHyperService::new(router);
    Arc::new(move |request| {
        let answering = service.call(request);
        let answer: Answering = Box::pin(async move {
            let Ok(response) = answering.await;
            response.map(|body| Ending::new(body).boxed())
        });
        answer
    })
}

/// Returns what gives the roots that are believed now, our own and those of foreign trust domains. The estate says whose
/// runs their workloads are.
fn trusting(running: &Running, federated: &FederatedInForce) -> Trusting {
    let (own, foreign) = (Arc::clone(&running.keys), Arc::clone(federated));
    let (keys, federated) = (Arc::clone(&running.keys), Arc::clone(federated));
    let handle = running.handle.clone();
    Trusting {
        now: Arc::new(move || Trusted {
            bundle: Arc::clone(own.borrow().bundle()),
            federated: foreign.borrow().clone(),
        }),
        changed: Arc::new(move || {
            let (mut keys, mut federated) = (keys.subscribe(), federated.subscribe());
            let estate = handle.estates();
            Box::pin(async move {
                // One that has stopped decides nothing any more.
                let Ok(mut estate) = estate else {
                    return std::future::pending().await;
                };
                tokio::select! {
                    _ = estate.changed() => {}
                    _ = keys.changed() => {}
                    _ = federated.changed() => {}
                }
            })
        }),
    }
}

/// Returns what it takes to accept access tokens of `issuer` at `gateway`.
fn tokens(
    running: &Running,
    gateway: &PublicUrl,
    issuer: &PublicUrl,
) -> Result<TokenConfig, ServeError> {
    let keys = Arc::clone(&running.keys);
    let trust_domain = keys.borrow().trust_domain().clone();
    let issuer = issuer.as_str().to_owned();
    let name = issuer.clone();
    // By the sequence of the issuing keys; made anew when they change.
    let current = Mutex::new((None, None));
    let verifiers: Verifiers = Arc::new(move || {
        let keys = keys.borrow();
        let sequence = Some(keys.bundle().sequence());
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != sequence {
            let made = keys.access_verifier(name.clone());
            let made = made
                .inspect_err(|error| tracing::error!(%error, "no access token can be verified"));
            *current = (sequence, made.ok().map(Arc::new));
        }
        current.1.clone()
    });
    Ok(TokenConfig {
        url: gateway.as_str().to_owned(),
        issuer,
        trust_domain,
        verifiers,
        nonce_chance: chance().map_err(|error| ServeError::Svid(error.into()))?,
    })
}

/// Returns what knows upstreams over https: by this machine's roots and by `more`, when there are any.
pub(crate) fn upstream_tls(more: Vec<CertificateDer<'static>>) -> Option<Arc<ClientConfig>> {
    let text = ROOTS.iter().find_map(|path| fs::read(path).ok());
    if text.is_none() && more.is_empty() {
        return None;
    }
    let mut roots = RootCertStore::empty();
    let text = text.unwrap_or_default();
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates.chain(more));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}
