//! Workloads of foreign trust domains, in handshakes and by tokens.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, Digest, TrustDomain,
    claim::ClaimProof,
    estate::{
        Agent, BearerTokens, BundleSource, Estate, Federation, Risk, SvidRegistration,
        claim_rules::{Pattern, Wanted},
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConnection,
    client::danger::ServerCertVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{
    NOW, authority, gateway_key, gateway_svid, instance_svid,
    tls::{clock, shake},
};
use crate::{
    Authority, BelievedBundle, Clients, FederatedBundles, ForeignSvid, Proved, TrustBundle,
    Trusted, UnknownSvid,
    tls::{
        bundle_client_config, bundle_server_config, gateway_config, identity_error, server_name,
    },
};

const PARTNER: &str = "partner.example";

/// An authority of others: SPIRE's, with its keys.
struct Foreign {
    issuer: CertifiedIssuer<'static, KeyPair>,
    trust_domain: TrustDomain,
}

impl Foreign {
    fn new(domain: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate_for(algorithm).unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            trust_domain: domain.parse().unwrap(),
        }
    }

    /// Certifies whatever is asked for.
    fn svid(
        &self,
        id: &str,
        algorithm: &'static SignatureAlgorithm,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(id)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![signed.der().clone()], key)
    }

    fn bundle(&self) -> Arc<TrustBundle> {
        let root = self.issuer.der().clone();
        Arc::new(TrustBundle::new(self.trust_domain.clone(), vec![root], 1).unwrap())
    }

    fn believed(&self) -> BelievedBundle {
        BelievedBundle {
            federation: federation(self.trust_domain.as_str()),
            bundle: self.bundle(),
            keys_left_at: None,
        }
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn federation(domain: &str) -> Arc<Federation> {
    let source = BundleSource::Web {
        url: format!("https://{domain}/bundle"),
    };
    Arc::new(Federation {
        name: "partner".parse().unwrap(),
        trust_domain: domain.parse().unwrap(),
        source,
    })
}

fn believing(foreign: &[&Foreign]) -> Arc<FederatedBundles> {
    let own = authority(7).bundle().trust_domain().clone();
    let all = foreign.iter().map(|it| it.believed());
    Arc::new(FederatedBundles::new(&own, all).unwrap())
}

/// Shakes hands with a gateway that believes `federated`, and says who came.
fn connect(
    federated: &Arc<FederatedBundles>,
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
) -> Result<ForeignSvid, String> {
    let own = authority(7);
    let trusted = Trusted {
        bundle: Arc::new(own.bundle().clone()),
        federated: Arc::clone(federated),
    };
    let server = gateway_config(
        (&gateway_svid(&own), &gateway_key()),
        trusted,
        Clients::WithSvid,
        clock(NOW),
    );
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_details(provider, Arc::new(clock(NOW)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(gateway())
        .with_client_auth_cert(chain, key)
        .unwrap();
    let client = ClientConnection::new(Arc::new(client), server_name()).unwrap();
    let server = ServerConnection::new(Arc::new(server.unwrap())).unwrap();
    let (mut server, mut client) = (server.into(), client.into());
    if let Err(error) = shake(&mut server, &mut client) {
        return Err(identity_error(&error).map_or(error.to_string(), ToString::to_string));
    }
    let chain = server.peer_certificates().unwrap();
    let found = federated.identify(chain, NOW).unwrap();
    found.ok_or_else(|| "one of ours".to_owned())
}

/// A client's view of the gateway.
fn gateway() -> Arc<dyn ServerCertVerifier> {
    let own = authority(7);
    let server = own.bundle().trust_domain().gateway();
    crate::tls::server_verifier(server, Arc::new(own.bundle().clone()))
}

#[test]
fn a_workload_of_a_foreign_domain_is_proved_by_its_own_bundle_alone() {
    let id = "spiffe://partner.example/ns/books";
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let partner = Foreign::new(PARTNER, algorithm);
        let found = connect(&believing(&[&partner]), partner.svid(id, algorithm)).unwrap();
        assert_eq!(found.spiffe_id().to_string(), id);
    }
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let (partner, other) = (
        Foreign::new(PARTNER, p256),
        Foreign::new("other.example", p256),
    );
    let check = |believed: &[&Foreign], issuer: &Foreign, id: &str, part: &str| {
        let found = connect(&believing(believed), issuer.svid(id, p256));
        let error = found.unwrap_err();
        assert!(error.contains(part), "{id}: {error}");
    };
    let both = [&partner, &other];
    // One domain vouches for nobody of another, and for nobody of ours (NHI spoofing across domains).
    check(&both, &other, id, "trust domain partner.example");
    check(
        &both,
        &partner,
        "spiffe://example.org/agent/clerk/00000000000000000000000000000001",
        "no root of trust domain example.org",
    );
    check(
        &[&other],
        &partner,
        id,
        "no root of trust domain example.org",
    );
    check(&[], &partner, id, "no root of trust domain example.org");
    check(
        &both,
        &partner,
        "spiffe://partner.example",
        "not an X509-SVID",
    );
}

#[test]
fn the_own_domain_is_never_foreign() {
    let own = authority(7);
    let domain = own.bundle().trust_domain();
    let mallory = Foreign::new(domain.as_str(), &rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(believing(&[&mallory]).is_empty());
    // A bundle of another domain than the file says is nobody's.
    let partner = Foreign::new(PARTNER, &rcgen::PKCS_ECDSA_P256_SHA256);
    let mixed = BelievedBundle {
        federation: federation("other.example"),
        ..partner.believed()
    };
    assert!(FederatedBundles::new(domain, [mixed]).unwrap().is_empty());
}

#[test]
fn nothing_is_resumed_with_a_foreign_domain_either() {
    let partner = Foreign::new(PARTNER, &rcgen::PKCS_ECDSA_P256_SHA256);
    let federated = believing(&[&partner]);
    let own = authority(7);
    let trusted = Trusted {
        bundle: Arc::new(own.bundle().clone()),
        federated,
    };
    let (svid, key) = (gateway_svid(&own), gateway_key());
    let server = gateway_config((&svid, &key), trusted, Clients::WithSvid, clock(NOW)).unwrap();
    let server = Arc::new(server);
    let (chain, key) = partner.svid(
        "spiffe://partner.example/ns/books",
        &rcgen::PKCS_ECDSA_P256_SHA256,
    );
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // A client that would resume, if it could.
    let client = ClientConfig::builder_with_details(provider, Arc::new(clock(NOW)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(gateway())
        .with_client_auth_cert(chain, key)
        .unwrap();
    let client = Arc::new(client);
    for _ in 0..2 {
        let one = ClientConnection::new(Arc::clone(&client), server_name()).unwrap();
        let other = ServerConnection::new(Arc::clone(&server)).unwrap();
        let (mut server, mut client) = (other.into(), one.into());
        shake(&mut server, &mut client).unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// Fetches from an endpoint of `authority` that should be `endpoint` by `bundle`.
fn fetch(authority: &Authority, endpoint: &str, bundle: Arc<TrustBundle>) -> Result<(), String> {
    let (svid, key) = (gateway_svid(authority), gateway_key());
    let server = bundle_server_config((&svid, &key), clock(NOW)).unwrap();
    let client = bundle_client_config(endpoint.parse().unwrap(), bundle, clock(NOW)).unwrap();
    let name = "localhost".try_into().unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut server, mut client) = (server.into(), client.into());
    shake(&mut server, &mut client)
        .map_err(|error| identity_error(&error).map_or(error.to_string(), ToString::to_string))
}

#[test]
fn a_bundle_endpoint_is_known_by_its_spiffe_id_and_no_name() {
    let own = authority(7);
    let bundle = || Arc::new(own.bundle().clone());
    fetch(&own, "spiffe://example.org/ambit/gateway", bundle()).unwrap();
    let error = fetch(&own, "spiffe://example.org/spire/server", bundle()).unwrap_err();
    assert!(
        error.contains("is not spiffe://example.org/spire/server"),
        "{error}"
    );
    let mallory = authority(9);
    let error = fetch(&mallory, "spiffe://example.org/ambit/gateway", bundle()).unwrap_err();
    assert!(error.contains("no root of trust domain"), "{error}");
}

fn estate(federation: &Federation, agents: &[(&str, &str)]) -> Estate {
    let agent = |(name, path): &(&str, &str)| -> (AgentName, Agent) {
        let name: AgentName = name.parse().unwrap();
        let path = match path.contains('*') {
            true => Wanted::Pattern(Pattern::new(path).unwrap()),
            false => Wanted::OneOf(vec![(*path).to_owned()]),
        };
        let registration = SvidRegistration {
            federation: federation.name.clone(),
            path,
        };
        let agent = Agent {
            name: name.clone(),
            owner: "ana".to_owned(),
            purpose: "x".to_owned(),
            risk: Risk::Low,
            environment: "production".to_owned(),
            review_by: "2027-06-30".to_owned(),
            templates: Default::default(),
            model_endpoints: Default::default(),
            workloads: Vec::new(),
            tokens: Vec::new(),
            parts_of: Default::default(),
            svids: vec![registration],
            federates_with: std::collections::BTreeSet::new(),
        };
        (name, agent)
    };
    Estate {
        digest: Digest::of(b""),
        agents: agents.iter().map(agent).collect(),
        clients: BTreeMap::new(),
        federations: BTreeMap::from([(federation.name.clone(), federation.clone())]),
        issuers: BTreeMap::new(),
        servers: BTreeMap::new(),
        templates: BTreeMap::new(),
        people: BTreeMap::new(),
        policies: Vec::new(),
        people_policies: Vec::new(),
        bearer_tokens: BearerTokens::Refused,
    }
}

#[test]
fn a_foreign_workload_is_one_agent_or_nobody() {
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let partner = Foreign::new(PARTNER, p256);
    let federated = believing(&[&partner]);
    let of = |id: &str| {
        federated
            .identify(&partner.svid(id, p256).0, NOW)
            .unwrap()
            .unwrap()
    };
    let books = of("spiffe://partner.example/ns/books/sa/a");
    let named = federation(PARTNER);
    let check = |agents: &[(&str, &str)], wanted: Result<&str, &str>| match (
        books.claimant(&estate(&named, agents)),
        wanted,
    ) {
        (Ok((run, found)), Ok(agent)) => {
            let agent: AgentName = agent.parse().unwrap();
            assert_eq!(run, agent);
            assert_eq!(*found.proved(), Proved::Agent(agent, ClaimProof::Svid));
        }
        (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{found}"),
        (found, wanted) => panic!("{found:?}, wanted {wanted:?}"),
    };
    check(&[("clerk", "/ns/books/sa/a")], Ok("clerk"));
    check(&[("clerk", "/ns/*/sa/a"), ("other", "/b")], Ok("clerk"));
    check(&[("clerk", "/ns/*")], Err("nearest is agent `clerk`"));
    // Not the last in the alphabet.
    check(
        &[("clerk", "/ns/books/sa/b"), ("zeta", "/nothing/like/it")],
        Err("nearest is agent `clerk`: path should be /ns/books/sa/b and is /ns/books/sa/a"),
    );
    check(&[], Err("write an `[[svid]]`"));
    check(
        &[("clerk", "/ns/*/sa/a"), ("other", "/ns/books/sa/*")],
        Err("fits agent `clerk` and agent `other`"),
    );
    // The estate believes the domain in another way by now.
    let mut moved = (*named).clone();
    moved.source = BundleSource::Given(String::new());
    let found = books.claimant(&estate(&moved, &[("clerk", "/ns/books/sa/a")]));
    assert_eq!(
        found.map(drop),
        Err(UnknownSvid::Domain(PARTNER.parse().unwrap()))
    );
    let same = of("spiffe://partner.example/ns/books/sa/a");
    let whole = estate(&named, &[("clerk", "/ns/books/sa/*")]);
    let name = |it: &ForeignSvid| it.claimant(&whole).unwrap().1.workload();
    assert_eq!(name(&same), name(&books));
    assert_ne!(
        name(&same),
        name(&of("spiffe://partner.example/ns/books/sa/b"))
    );
    // What it claims is another's to say; it acts as that instance with its own key.
    let own = authority(7);
    let svid = instance_svid(&own);
    let caller = books.as_instance(svid.spiffe_id()).unwrap();
    assert_eq!(caller.spiffe_id(), svid.spiffe_id());
    assert_eq!(caller.expires_at(), books.expires_at());
    assert!(books.as_instance(books.spiffe_id()).is_none());
}
