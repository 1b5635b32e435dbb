//! A web server's face: known by its host to who trusts the authority, and nobody in the trust domain.

use std::sync::Arc;

use ambit_core::{Timestamp, limits::SVID_TTL_MAX};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::{HOUR, NOW, authority, tls::shake, whole};
use crate::{
    Authority, SvidKey, TlsClock, WebIdentity, WebIssuance, authority::PEM_BYTES_MAX,
    identify_gateway, identify_instance, pem,
};

fn issuance<'a>(key: &'a SvidKey, host: &'a str) -> WebIssuance<'a> {
    let expires_at = NOW.plus(HOUR);
    WebIssuance {
        key,
        host,
        now: NOW,
        expires_at,
        chance: [3; 16],
    }
}

fn key() -> SvidKey {
    SvidKey::generate([42; 32]).unwrap()
}

/// Connects to `server` as to `host` with an ordinary client that trusts `authority`.
fn connect(
    server: &WebIdentity,
    host: &str,
    trusts: &Authority,
    now: Timestamp,
) -> Result<(), String> {
    let clock = TlsClock::new(move || now);
    let mut roots = RootCertStore::empty();
    for root in trusts.bundle().roots() {
        roots.add(root.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()));
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let name = host.to_owned().try_into().unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server.config(clock).unwrap())).unwrap();
    shake(&mut server.into(), &mut client.into()).map_err(|error| error.to_string())
}

#[test]
fn ordinary_clients_know_the_host() {
    let (authority, other, key) = (authority(9), authority(8), key());
    for host in ["ambit.example.org", "localhost", "127.0.0.1", "::1"] {
        let server = authority.web_identity(&issuance(&key, host)).unwrap();
        assert_eq!(server.expires_at(), NOW.plus(HOUR));
        let check = |host: &str, trusts: &Authority, now, part: &str| {
            let found = connect(&server, host, trusts, now)
                .err()
                .unwrap_or_default();
            // Whether the library says it in words depends on what else is built with it.
            let found = found.replace(' ', "").to_lowercase();
            assert!(
                found.contains(part) && part.is_empty() == found.is_empty(),
                "{host}: {found}"
            );
        };
        check(host, &authority, NOW, "");
        check("other.example.org", &authority, NOW, "notvalidforname");
        check(host, &other, NOW, "unknownissuer");
        check(host, &authority, NOW.plus(HOUR), "expired");
    }
}

#[test]
fn a_host_is_nobody_in_the_trust_domain() {
    let (authority, key) = (authority(9), key());
    let server = authority
        .web_identity(&issuance(&key, "ambit.example.org"))
        .unwrap();
    let chain = server.chain().to_vec();
    assert!(identify_instance(&chain, authority.bundle(), NOW).is_err());
    assert!(identify_gateway(&chain, authority.bundle(), NOW).is_err());
}

#[test]
fn a_face_is_refused_where_it_would_not_hold() {
    let (authority, key) = (authority(9), key());
    let check = |change: fn(&mut WebIssuance<'_>), part: &str| {
        let mut ask = issuance(&key, "a.example");
        change(&mut ask);
        let error = authority.web_identity(&ask).unwrap_err();
        assert!(whole(&error).contains(part), "{}", whole(&error));
    };
    check(|it| it.expires_at = NOW, "between two seconds");
    check(
        |it| it.expires_at = NOW.plus(SVID_TTL_MAX).plus(HOUR),
        "between two seconds",
    );
    check(|it| it.host = "b\u{fc}cher.example", "cannot be signed");
    let late = authority.expires_at();
    let ask = WebIssuance {
        now: late,
        expires_at: late.plus(HOUR),
        ..issuance(&key, "a.example")
    };
    assert!(authority.web_identity(&ask).is_err());
}

#[test]
fn files_of_others_serve_as_well() {
    let (authority, key) = (authority(9), key());
    let made = authority
        .web_identity(&issuance(&key, "a.example"))
        .unwrap();
    let certificates: String = made.chain().iter().map(|it| pem::certificate(it)).collect();
    let read = WebIdentity::from_pem(&certificates, &key.to_pem()).unwrap();
    assert_eq!(connect(&read, "a.example", &authority, NOW), Ok(()));
    assert!(WebIdentity::from_pem("", &key.to_pem()).is_err());
    assert!(WebIdentity::from_pem(&certificates, "").is_err());
    let longest = format!(
        "{}{}",
        *key.to_pem(),
        " ".repeat(PEM_BYTES_MAX - key.to_pem().len())
    );
    assert!(WebIdentity::from_pem(&certificates, &longest).is_ok());
    let error = WebIdentity::from_pem(&certificates, &format!("{longest} ")).unwrap_err();
    assert!(error.to_string().contains("more than are read"), "{error}");
    let other = SvidKey::generate([43; 32]).unwrap();
    let mixed = WebIdentity::from_pem(&certificates, &other.to_pem()).unwrap();
    assert!(
        mixed.config(TlsClock::new(|| NOW)).is_err(),
        "another's key"
    );
}
