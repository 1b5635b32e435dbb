//! The gateway in a process of its own, and what its clients need.

use std::{fs, path::Path, sync::Arc};

use ambit_core::task::Task;
use ambit_engine::Clock;
use ambit_gateway::{Face, Gateway, GatewayConfig, SandboxPolicy, Trusting};
use ambit_identity::{Clients, SvidKey, TlsClock, TrustBundle, tls};
use tokio::net::TcpListener;

use crate::{
    Failure,
    engine::ticking,
    http::until_parent_ends,
    options::{number, value},
    whole::{self, Kept, Whole},
};

/// What a door shows in handshakes.
pub(crate) struct Served {
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) bundle: Arc<TrustBundle>,
    pub(crate) clock: Clock,
}

/// The most clients of one door.
pub(crate) const CLIENTS_MAX: usize = 256;

/// Serves until the parent ends.
pub(crate) fn gateway(arguments: &[String]) -> Result<(), Failure> {
    let kept = match value(arguments, "--keep") {
        None => Kept::Memory,
        Some(directory) => Kept::Sqlite(directory.into()),
    };
    let (policies, upstream) = (
        number(arguments, "--policies")?,
        number(arguments, "--upstream")?,
    );
    let tasks: usize = number(arguments, "--tasks")?;
    let directory = value(arguments, "--clients").map(Path::new);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let whole = Whole::open(&kept, whole::estate(policies, upstream)?).await?;
        let tasks = whole.start(tasks).await?;
        let whole = Arc::new(whole);
        ticking(&whole);
        let served = clients(&whole, &tasks, directory.unwrap_or(Path::new("")))?;
        let face = Face { tls: served.tls };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let gateway = door(&whole);
        let serving = tokio::spawn(async move {
            let face = Arc::new(move || Some(face.clone()));
            gateway
                .serve_tls(listener, face, std::future::pending())
                .await;
        });
        until_parent_ends(port).await?;
        serving.abort();
        Ok::<_, Failure>(())
    })?;
    // The connections still hold the engine; its log is durable without a farewell.
    runtime.shutdown_background();
    Ok(())
}

/// Returns the doors of `whole`.
pub(crate) fn door(whole: &Whole) -> Gateway {
    let bundle = Arc::new(whole.authority.bundle().clone());
    let mut config = GatewayConfig::new(SandboxPolicy::Refused);
    config.trusting = Some(Trusting {
        now: Arc::new(move || Arc::clone(&bundle).into()),
        changed: Arc::new(|| Box::pin(std::future::pending())),
    });
    Gateway::new(
        config,
        whole.handle.clone(),
        whole.clock.clone(),
        Arc::new(|_| None),
    )
}

/// Writes what the clients of a door need into `directory`, and returns what the door shows them.
pub(crate) fn clients(
    whole: &Whole,
    tasks: &[Arc<Task>],
    directory: &Path,
) -> Result<Served, Failure> {
    let bundle = Arc::new(whole.authority.bundle().clone());
    if let Some(first) = tasks.first() {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("bundle.pem"), bundle.to_pem())?;
        fs::write(
            directory.join("trust-domain"),
            first.spiffe_id.trust_domain().as_str(),
        )?;
    }
    for (number, task) in tasks.iter().take(CLIENTS_MAX).enumerate() {
        let (svid, key) = whole.certify(task)?;
        fs::write(directory.join(format!("{number}.svid")), svid.to_pem())?;
        fs::write(
            directory.join(format!("{number}.key")),
            key.to_pem().as_bytes(),
        )?;
    }
    let moment = (whole.clock)();
    let key = SvidKey::generate(moment.chance)?;
    let ends = moment.now.plus(whole::millis(SVID_TTL));
    let svid = whole
        .authority
        .gateway_svid(&key, moment.now, ends, [2; 16])?;
    let clock = whole.clock.clone();
    let tls_clock = TlsClock::new(move || clock().now);
    Ok(Served {
        tls: Arc::new(tls::gateway_config(
            (&svid, &key),
            bundle.clone(),
            Clients::WithSvid,
            tls_clock,
        )?),
        bundle,
        clock: whole.clock.clone(),
    })
}

/// How long the gateway's certificate lives.
const SVID_TTL: std::time::Duration = std::time::Duration::from_secs(3600);
