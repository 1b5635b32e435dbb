//! `ambit.toml`: few keys, each checked; an unknown one is an error.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ambit_gateway::limits::STDIO_PROCESSES_MAX;
use serde::Deserialize;

use super::{
    ConfigError,
    identity::IdentityConfig,
    outbound::OutboundConfig,
    ports::Ports,
    public::{PublicConfig, PublicUrl, Scheme},
    sign_in::SignInConfig,
    telemetry::TelemetryConfig,
};

/// The longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Where agents connect, unless the file says otherwise.
const GATEWAY_PORT: u16 = 7420;
/// Where health and metrics are, unless the file says otherwise.
const HEALTH_PORT: u16 = 7421;

/// The most stdio servers that an operator may let run at once.
const STDIO_PROCESSES_CEILING: usize = 1024;

/// What `ambit serve` reads from `ambit.toml`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServeConfig {
    /// The name of the trust domain; written once, at the first start.
    pub(crate) trust_domain: String,
    /// The state directory.
    #[serde(default)]
    pub(crate) state: Option<PathBuf>,
    /// The rollback mark; on another disk than the state, when there is one.
    #[serde(default)]
    pub(crate) mark: Option<PathBuf>,
    /// The estate that is put in force when there is none yet.
    #[serde(default)]
    pub(crate) estate: Option<PathBuf>,
    /// Where the server listens.
    #[serde(default)]
    pub(crate) doors: DoorsConfig,
    /// The port for anybody. Without it there is none.
    #[serde(default)]
    pub(crate) public: Option<PublicConfig>,
    /// Where people sign in on the public port. Without it they come by the local socket alone.
    #[serde(default)]
    pub(crate) sign_in: Option<SignInConfig>,
    /// Where Ambit takes an identity of its own from, as a workload of somebody else's trust domain.
    #[serde(default)]
    pub(crate) identity: Option<IdentityConfig>,
    /// How far Ambit itself reaches.
    #[serde(default)]
    pub(crate) outbound: OutboundConfig,
    /// Where spans are sent. Without it, nowhere.
    #[serde(default)]
    pub(crate) telemetry: Option<TelemetryConfig>,
}

/// Where the server listens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DoorsConfig {
    /// Where agents connect, with mTLS or with access tokens.
    pub(crate) gateway: SocketAddr,
    /// How clients with access tokens name the gateway, such as `https://gate.example.org:7420`. On loopback it may be
    /// left out.
    pub(crate) gateway_url: Option<String>,
    /// Certificates for the host of `gateway_url` (PEM, leaf first). Without them the trust domain's own authority signs one.
    pub(crate) gateway_certificate: Option<PathBuf>,
    /// The key of that certificate (PEM).
    pub(crate) gateway_key: Option<PathBuf>,
    /// Where health and metrics are; a loopback address.
    pub(crate) health: SocketAddr,
    /// The control socket, unless it is the state directory's.
    pub(crate) control: Option<PathBuf>,
    /// The group whose members may connect to the control socket. Without it, its owner only.
    pub(crate) control_group: Option<u32>,
    /// The socket of the SPIFFE Workload API, unless it is the state directory's. Every local user who can reach it
    /// may ask; the estate says who is whom.
    pub(crate) workload: Option<PathBuf>,
    /// Where other trust domains fetch the bundle from a server that they know by its SPIFFE ID (`https_spiffe`).
    /// Without it they know it by its host alone, on the public port (`https_web`).
    pub(crate) bundle: Option<SocketAddr>,
    /// Runs stdio servers without a sandbox when bubblewrap is missing.
    pub(crate) danger_unsandboxed: bool,
    /// How many stdio servers may run at once, over all tasks.
    pub(crate) stdio_processes_max: usize,
}

impl Default for DoorsConfig {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            gateway: SocketAddr::new(loopback, GATEWAY_PORT),
            gateway_url: None,
            gateway_certificate: None,
            gateway_key: None,
            health: SocketAddr::new(loopback, HEALTH_PORT),
            control: None,
            control_group: None,
            workload: None,
            bundle: None,
            danger_unsandboxed: false,
            stdio_processes_max: STDIO_PROCESSES_MAX,
        }
    }
}

impl DoorsConfig {
    /// Returns how clients with access tokens name a gateway that listens at `address`; nothing when nobody said, and
    /// then it takes no tokens.
    pub(crate) fn gateway_url_at(&self, address: SocketAddr) -> Result<Option<PublicUrl>, String> {
        let text = match &self.gateway_url {
            Some(text) => text.clone(),
            None if address.ip().is_loopback() => format!("https://localhost:{}", address.port()),
            None => return Ok(None),
        };
        let url = PublicUrl::of_key("doors.gateway_url", &text)?;
        if url.scheme() == Scheme::Http || url.host().parse::<IpAddr>().is_ok() {
            return Err(format!(
                "doors.gateway_url `{text}` must begin with https:// and name its host, not an address: clients know the \
                 gateway's certificate by that name"
            ));
        }
        Ok(Some(url))
    }

    /// Returns doors on these ports of the loopback, for embedded servers.
    pub(crate) fn at(ports: Ports) -> Self {
        let place = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            gateway: place(ports.gateway),
            health: place(ports.health),
            ..Self::default()
        }
    }
}

impl ServeConfig {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let length = fs::metadata(path).map_err(unreadable)?.len();
        if length > FILE_BYTES_MAX {
            let message = format!("the file has {length} bytes; at most {FILE_BYTES_MAX} are read");
            return Err(ConfigError::Wrong {
                path: path.to_owned(),
                message,
            });
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Self::parse(&text).map_err(|message| ConfigError::Wrong {
            path: path.to_owned(),
            message,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if !config.doors.health.ip().is_loopback() {
            return Err(
                "doors.health must be a loopback address, such as \"127.0.0.1:7421\"; put \
                        a proxy in front of it to show it to others"
                    .to_owned(),
            );
        }
        if !(1..=STDIO_PROCESSES_CEILING).contains(&config.doors.stdio_processes_max) {
            return Err(format!(
                "doors.stdio_processes_max must be from 1 to {STDIO_PROCESSES_CEILING}"
            ));
        }
        config.doors.gateway_url_at(config.doors.gateway)?;
        if config.doors.gateway_certificate.is_some() != config.doors.gateway_key.is_some() {
            return Err(
                "doors.gateway_certificate and doors.gateway_key belong together; write both, or none to have Ambit's own \
                 authority sign a certificate"
                    .to_owned(),
            );
        }
        config
            .identity
            .as_ref()
            .map_or(Ok(()), IdentityConfig::check)?;
        config.outbound.check()?;
        config
            .telemetry
            .as_ref()
            .map_or(Ok(()), TelemetryConfig::check)?;
        config.public.as_ref().map_or(Ok(()), PublicConfig::check)?;
        if config.sign_in.is_some() && config.public.is_none() {
            return Err(
                "[sign_in] is for the public port, and there is none; write [public] too"
                    .to_owned(),
            );
        }
        config
            .sign_in
            .as_ref()
            .map_or(Ok(()), SignInConfig::check)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_the_maximum_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ambit.toml");
        let check = |bytes: u64, wanted: Result<(), &str>| {
            let text = "trust_domain = \"a\"\n#";
            let padding = "x".repeat(usize::try_from(bytes).unwrap() - text.len());
            fs::write(&path, format!("{text}{padding}")).unwrap();
            let found = ServeConfig::read(&path)
                .map(drop)
                .map_err(|error| error.to_string());
            match (found, wanted) {
                (Ok(()), Ok(())) => (),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, _) => panic!("{bytes}: {found:?}"),
            }
        };
        check(FILE_BYTES_MAX, Ok(()));
        check(FILE_BYTES_MAX + 1, Err("at most 262144"));
    }

    #[test]
    fn a_file_says_what_it_means_or_is_refused() {
        let check = |text: &str, wanted: Result<u16, &str>| match (ServeConfig::parse(text), wanted)
        {
            (Ok(config), Ok(port)) => assert_eq!(config.doors.gateway.port(), port),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (found, wanted) => panic!("{text}: {found:?}, wanted {wanted:?}"),
        };
        check("trust_domain = \"example.org\"", Ok(GATEWAY_PORT));
        check(
            "trust_domain = \"a\"\n[doors]\ngateway = \"10.0.0.1:9\"",
            Ok(9),
        );
        check("", Err("trust_domain"));
        check(
            "trust_domain = \"a\"\nesatte = \"x\"",
            Err("unknown field `esatte`"),
        );
        check(
            "trust_domain = \"a\"\n[doors]\nhealth = \"0.0.0.0:9\"",
            Err("loopback"),
        );
        check(
            "trust_domain = \"a\"\n[public]\nlisten = \"0.0.0.0:9\"",
            Err("public.url is missing"),
        );
        let processes =
            |count| format!("trust_domain = \"a\"\n[doors]\nstdio_processes_max = {count}");
        check(&processes(1), Ok(GATEWAY_PORT));
        check(&processes(STDIO_PROCESSES_CEILING), Ok(GATEWAY_PORT));
        for count in [0, STDIO_PROCESSES_CEILING + 1] {
            check(&processes(count), Err("must be from 1 to 1024"));
        }
        let provider = "[sign_in]\nissuer = \"https://id.example.org\"\nclient_id = \"ambit\"";
        check(
            &format!("trust_domain = \"a\"\n{provider}"),
            Err("write [public] too"),
        );
        check(
            &format!("trust_domain = \"a\"\n[public]\nlisten = \"127.0.0.1:9\"\n{provider}"),
            Ok(GATEWAY_PORT),
        );
        check(
            "trust_domain = \"a\"\n[doors]\ngateway = \"10.0.0.1:9\"\ngateway_url = \"https://a.example:9\"",
            Ok(9),
        );
        check(
            "trust_domain = \"a\"\n[doors]\ngateway_url = \"https://10.0.0.1:9\"",
            Err("not an address"),
        );
        check(
            "trust_domain = \"a\"\n[doors]\ngateway_url = \"http://localhost:9\"",
            Err("must begin with https://"),
        );
        check(
            "trust_domain = \"a\"\n[doors]\ngateway_url = \"https://a.example/\"",
            Err("doors.gateway_url"),
        );
        check(
            "trust_domain = \"a\"\n[doors]\ngateway = \"nowhere\"",
            Err("socket address"),
        );
    }
    #[test]
    fn each_part_is_checked() {
        let check = |text: &str, part: &str| {
            let error = ServeConfig::parse(&format!("trust_domain = \"a\"\n{text}")).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check("[doors]\ngateway_key = \"k\"", "belong together");
        check(
            "[identity]\nworkload_api = \"/run/spire.sock\"\nlisten = \"127.0.0.1:0\"",
            "unix:///",
        );
        check(
            "[telemetry]\notlp_endpoint = \"http://10.0.0.1:4318\"",
            "not of this machine alone",
        );
        check(
            "[outbound]\ninner_networks = [\"10.0.0.1/8\"]",
            "bits beyond its prefix",
        );
        check(
            "[outbound]\nclient_document_ports = []",
            "leave it out for 443 alone",
        );
        check(
            "[outbound]\nclient_document_networks = [\"0.0.0.0/0\"]",
            "is no network",
        );
    }
}
