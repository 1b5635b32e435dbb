//! Mutual TLS between runner and gateway, by SPIFFE ID on both sides; and the gateway's side alone, for clients that
//! bring access tokens instead.
//!
//! TLS 1.3 and ES256 only. Nothing is resumed: a resumed session would skip the validation of its
//! chain against the bundle of today. DNS names mean nothing here, and none is sent.

use std::{fmt, net::Ipv4Addr, sync::Arc};

use ambit_core::{SpiffeId, Timestamp};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use zeroize::Zeroize;

use crate::{
    FederatedBundles, IdentityError, OuterSvid, Svid, SvidKey, TrustBundle,
    authority::WebIdentity,
    identify_instance,
    x509::{from_seconds, to_unix_time},
    x509_svid::{self, Algorithms, Side, identify_server},
};

/// The application protocol that both sides speak (ALPN).
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// The clock that handshakes are validated by. The program gives it; nothing here reads one.
#[derive(Clone)]
pub struct TlsClock {
    now: Now,
    /// What the dates of foreign trust domains are held against.
    wall: Now,
}

type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key cannot sign for the SVID.
    #[error("the key does not belong to the SVID of {spiffe_id}; take both from one issuance")]
    Key {
        /// The SVID's name.
        spiffe_id: String,
        /// What the library said.
        #[source]
        source: Error,
    },
    /// The library refused the configuration.
    #[error("the TLS configuration is refused")]
    Configuration {
        /// What the library said.
        #[source]
        source: Error,
    },
}

/// By what a gateway knows clients.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// The bundle of the own trust domain.
    pub bundle: Arc<TrustBundle>,
    /// Those of foreign trust domains. Each proves the workloads of its domain and no others.
    pub federated: Arc<FederatedBundles>,
}

impl From<Arc<TrustBundle>> for Trusted {
    fn from(bundle: Arc<TrustBundle>) -> Self {
        let federated = Arc::default();
        Self { bundle, federated }
    }
}

/// Which clients a gateway takes.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    /// Instances that show an SVID.
    WithSvid,
    /// Those, and clients without a certificate, which must say in each request who they are. Who asks for a host by
    /// its name is shown this certificate instead of the SVID: such a client knows hosts and no SPIFFE IDs.
    AlsoWithout {
        /// The certificate for the gateway's host.
        web: &'a WebIdentity,
    },
}

/// Returns the configuration of the gateway: it shows `svid` and takes `clients`.
///
/// The handshake fails when the client shows a certificate and is neither an instance of the own trust domain nor a
/// workload of a foreign one, whoever else is taken. Afterwards the gateway calls [`identify_instance`] or
/// [`FederatedBundles::identify`] on the connection's peer certificates for the evidence. Configurations are cheap: on a new SVID or bundle, make another one for the next connections.
///
/// # Errors
/// [`TlsError::Key`] when `key` is not that of `svid`, [`TlsError::Configuration`] when the web identity can't be used.
pub fn gateway_config(
    (svid, key): (&Svid, &SvidKey),
    trusted: impl Into<Trusted>,
    clients: Clients<'_>,
    clock: TlsClock,
) -> Result<ServerConfig, TlsError> {
    let svid = Arc::new(certified_key(svid, key)?);
    let (web, without_svid) = match clients {
        Clients::WithSvid => (None, WithoutSvid::Refused),
        Clients::AlsoWithout { web } => (Some(Arc::new(web.certified()?)), WithoutSvid::Taken),
    };
    let verifier = SvidVerifier {
        trusted: trusted.into(),
        without_svid,
        clock,
    };
    server_config(verifier, Faces { svid, web })
}

/// Returns the configuration of the gateway where it is known by an SVID of another authority: it shows `svid`, whatever
/// host it is asked for, and takes clients with an SVID.
///
/// # Errors
/// [`TlsError::Configuration`] when the library refuses it.
pub fn outer_config(
    svid: &OuterSvid,
    trusted: Trusted,
    clock: TlsClock,
) -> Result<ServerConfig, TlsError> {
    let verifier = SvidVerifier {
        trusted,
        without_svid: WithoutSvid::Refused,
        clock,
    };
    let (svid, web) = (svid.certified(), None);
    server_config(verifier, Faces { svid, web })
}

fn server_config(verifier: SvidVerifier, faces: Faces) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clock = verifier.clock.clone();
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Configuration { source })?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(faces));
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Returns the configuration of the runner: it shows `svid` and wants the gateway's SVID.
///
/// The handshake fails unless the server is `spiffe://TD/ambit/gateway` of the bundle's trust
/// domain. Give [`server_name`] where the library asks for a name.
///
/// # Errors
/// [`TlsError::Key`] when `key` is not that of `svid`.
pub fn runner_config(
    svid: &Svid,
    key: &SvidKey,
    bundle: Arc<TrustBundle>,
    clock: TlsClock,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Configuration { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier {
            server: bundle.trust_domain().gateway(),
            bundle,
            algorithms: Algorithms::Own,
        }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(svid, key)?)));
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// Returns the configuration with which a bundle is fetched from an endpoint that is known by its SPIFFE ID
/// (`https_spiffe`): the server must be `endpoint`, proved by `bundle`. Nothing is shown in turn.
///
/// # Errors
/// [`TlsError::Configuration`] when the library refuses it.
pub fn bundle_client_config(
    endpoint: SpiffeId,
    bundle: Arc<TrustBundle>,
    clock: TlsClock,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Configuration { source })?
        .dangerous()
        .with_custom_certificate_verifier(server_verifier(endpoint, bundle))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Returns the configuration of an endpoint that is known by its SPIFFE ID (`https_spiffe`): it shows `svid`, and asks
/// nobody who they are.
///
/// # Errors
/// [`TlsError::Key`] when `key` is not that of `svid`.
pub fn bundle_server_config(
    (svid, key): (&Svid, &SvidKey),
    clock: TlsClock,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let svid = SingleCertAndKey::from(certified_key(svid, key)?);
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Configuration { source })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(svid));
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Returns the name that the TLS library wants of every server. It is neither sent nor checked:
/// the gateway is known by its SPIFFE ID.
pub fn server_name() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Returns why a handshake failed, when it failed because the peer could not be identified.
///
/// The library's own message does not show it well to people.
pub fn identity_error(error: &Error) -> Option<&IdentityError> {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else {
        return None;
    };
    cause.downcast_ref()
}

impl TlsClock {
    /// Returns the clock that asks `now` on every handshake.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let now: Now = Arc::new(now);
        let wall = Arc::clone(&now);
        Self { now, wall }
    }

    /// Holds the dates of foreign trust domains against `wall` instead: their clocks made them.
    #[must_use]
    pub fn with_wall(self, wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let wall = Arc::new(wall);
        Self { wall, ..self }
    }
}

impl fmt::Debug for TlsClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClock(..)")
    }
}

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(to_unix_time((self.now)()))
    }
}

/// Verifies clients by the same functions that give the evidence later.
#[derive(Debug)]
struct SvidVerifier {
    trusted: Trusted,
    without_svid: WithoutSvid,
    clock: TlsClock,
}

/// Verifies the one server that is wanted.
#[derive(Debug)]
struct ServerVerifier {
    server: SpiffeId,
    bundle: Arc<TrustBundle>,
    algorithms: Algorithms,
}

/// What becomes of a client without a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum WithoutSvid {
    Taken,
    Refused,
}

/// What the gateway shows. Who knows SPIFFE IDs names no host.
#[derive(Debug)]
struct Faces {
    svid: Arc<CertifiedKey>,
    web: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Faces {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let web = self.web.as_ref().filter(|_| hello.server_name().is_some());
        Some(Arc::clone(web.unwrap_or(&self.svid)))
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = join(end_entity, intermediates);
        let (now, how) = (from_seconds(now.as_secs()), (Side::Server, self.algorithms));
        identify_server(&chain, &self.bundle, &self.server, (how, now)).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for SvidVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.without_svid == WithoutSvid::Refused
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = join(end_entity, intermediates);
        let now = from_seconds(now.as_secs());
        let foreign = self.trusted.federated.identify(&chain, (self.clock.wall)());
        if foreign.map_err(refused)?.is_none() {
            identify_instance(&chain, &self.trusted.bundle, now).map_err(refused)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Which keys of ours may sign is checked with the certificate.
        verify_tls13_signature(message, certificate, signature, &FOREIGN_ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self.trusted.federated.is_empty() {
            true => SCHEMES.to_vec(),
            false => FOREIGN_ALGORITHMS.supported_schemes(),
        }
    }
}

/// Returns what knows a server of whatever authority by its SPIFFE ID.
pub(crate) fn server_verifier(
    server: SpiffeId,
    bundle: Arc<TrustBundle>,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(ServerVerifier {
        server,
        bundle,
        algorithms: Algorithms::Foreign,
    })
}

fn certified_key(svid: &Svid, key: &SvidKey) -> Result<CertifiedKey, TlsError> {
    let refused = |source| TlsError::Key {
        spiffe_id: svid.spiffe_id().to_string(),
        source,
    };
    let mut pkcs8 = PrivateKeyDer::Pkcs8(key.pkcs8().to_vec().into());
    let signing_key = aws_lc_rs::sign::any_ecdsa_type(&pkcs8);
    pkcs8.zeroize();
    let certified = CertifiedKey::new(svid.chain().to_vec(), signing_key.map_err(refused)?);
    certified.keys_match().map_err(refused)?;
    Ok(certified)
}

fn join<'a>(
    end_entity: &'a CertificateDer<'_>,
    intermediates: &'a [CertificateDer<'_>],
) -> Vec<CertificateDer<'a>> {
    let borrowed = |it: &'a CertificateDer<'_>| CertificateDer::from(it.as_ref());
    std::iter::once(end_entity)
        .chain(intermediates)
        .map(borrowed)
        .collect()
}

fn refused(cause: IdentityError) -> Error {
    let cause = OtherError(Arc::new(cause));
    Error::InvalidCertificate(CertificateError::Other(cause))
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken here".to_owned())
}

const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: x509_svid::SIGNATURES,
    mapping: &[(
        SignatureScheme::ECDSA_NISTP256_SHA256,
        x509_svid::SIGNATURES,
    )],
};

static FOREIGN_ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: x509_svid::FOREIGN_SIGNATURES,
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
        ),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
    ],
};

impl ServerVerifier {
    const fn algorithms(&self) -> &'static WebPkiSupportedAlgorithms {
        match self.algorithms {
            Algorithms::Own => &ALGORITHMS,
            Algorithms::Foreign => &FOREIGN_ALGORITHMS,
        }
    }
}
