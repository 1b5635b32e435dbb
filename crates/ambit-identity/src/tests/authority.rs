use ambit_core::{Millis, SpiffeId, Timestamp, limits::SVID_TTL_MAX};
use rcgen::{CertificateParams, KeyPair};

use super::{HOUR, NOW, authority, domain, instance_id, instance_key, instance_svid, whole};
use crate::{
    Authority, AuthorityError, BUNDLE_ROOTS_MAX, Issuance, KeyError, ProvedKey, Svid, SvidKey,
    TrustBundle, authority::AUTHORITY_TTL, identify_instance, key::REQUEST_BYTES_MAX,
};

fn issue(id: &SpiffeId, now: Timestamp, expires_at: Timestamp) -> Result<Svid, AuthorityError> {
    authority(9).issue(&Issuance {
        key: &instance_key().proved().unwrap(),
        spiffe_id: id,
        now,
        expires_at,
        chance: [255; 16],
    })
}

/// Expects `part` in the refusal; an empty `part` expects none.
fn check<T, E: std::error::Error>(part: &str, found: Result<T, E>) {
    match found {
        Ok(_) => assert_eq!(part, "", "accepted"),
        Err(error) => {
            let text = whole(&error);
            assert!(
                !part.is_empty() && text.contains(part),
                "`{part}` not in `{text}`"
            );
        }
    }
}

#[test]
fn only_our_own_names_are_issued() {
    let until = NOW.plus(HOUR);
    check("", issue(&instance_id(), NOW, until));
    check("", issue(&domain("example.org").gateway(), NOW, until));
    for other in [
        "spiffe://other.org/agent/billing/inst_00000000000000000000000007",
        "spiffe://example.org",
        "spiffe://example.org/agent/billing",
        "spiffe://example.org/ambit/control",
    ] {
        let id = other.parse().unwrap();
        check(
            "no agent's instance and no gateway of example.org",
            issue(&id, NOW, until),
        );
    }
}

#[test]
fn lifetimes_end_at_their_maximum() {
    let millis = |it| NOW.plus(Millis::new(it));
    let lives = |it| issue(&instance_id(), NOW, millis(it));
    check("let it live between", lives(0));
    check("let it live between", lives(1999));
    check("", lives(2000));
    check("", lives(SVID_TTL_MAX.as_millis()));
    check("let it live between", lives(SVID_TTL_MAX.as_millis() + 1));
    let end = NOW.plus(AUTHORITY_TTL).as_millis() + 1000;
    let near = Timestamp::from_millis(end - HOUR.as_millis());
    check("", issue(&instance_id(), near, Timestamp::from_millis(end)));
    check(
        "rotate the authority",
        issue(&instance_id(), near, Timestamp::from_millis(end + 1)),
    );
    let never = Timestamp::from_millis(Timestamp::MILLIS_MAX);
    check(
        "set the clock",
        Authority::create(domain("example.org"), [9; 32], never),
    );
}

#[test]
fn an_svid_never_outlives_what_was_asked() {
    for offset in [2000, 2001, 2999, 3000, 61_500] {
        let asked = NOW.plus(Millis::new(offset));
        let svid = issue(&instance_id(), NOW, asked).unwrap();
        assert!(svid.expires_at() <= asked && asked.since(svid.expires_at()) < Millis::new(1000));
        let bundle = authority(9);
        assert!(identify_instance(svid.chain(), bundle.bundle(), asked).is_err());
    }
}

#[test]
fn an_authority_reads_back_and_signs_on() {
    let first = authority(9);
    let text = first.to_pem();
    let second = Authority::from_pem(domain("example.org"), &text).unwrap();
    assert_eq!(second.expires_at(), first.expires_at());
    let svid = instance_svid(&second);
    check("", identify_instance(svid.chain(), first.bundle(), NOW));
    assert_eq!(second.to_pem(), text);
    let read = |domain_name, text: &str| Authority::from_pem(domain(domain_name), text);
    check("does not name other.org", read("other.org", &text));
    let (key, certificate) = text.split_once("-----BEGIN CERT").unwrap();
    check(
        "the authority's key",
        read("example.org", &format!("-----BEGIN CERT{certificate}")),
    );
    check(
        "has one certificate and the text has 0",
        read("example.org", key),
    );
    check(
        "has one certificate and the text has 2",
        read("example.org", &format!("{}{}", *text, pem_of(&first))),
    );
    let other = authority(10).to_pem();
    let (other_key, _) = other.split_once("-----BEGIN CERT").unwrap();
    let mixed = format!("{other_key}-----BEGIN CERT{certificate}");
    check("do not belong together", read("example.org", &mixed));
}

fn pem_of(authority: &Authority) -> String {
    authority.bundle().to_pem()
}

#[test]
fn a_bundle_holds_roots_and_nothing_else() {
    let (first, second) = (authority(9), authority(10));
    let read = |text: &str| TrustBundle::from_pem(domain("example.org"), text, 3);
    let both = pem_of(&first) + &pem_of(&second);
    let bundle = read(&both).unwrap();
    assert_eq!((bundle.roots().len(), bundle.sequence()), (2, 3));
    assert_eq!(bundle.to_pem(), both);
    check(
        "",
        identify_instance(instance_svid(&second).chain(), &bundle, NOW),
    );
    check("no certificate", read(""));
    check("no certificate", read("hello"));
    check("keep keys out", read(&first.to_pem()));
    check("root 1 of the bundle is no certificate authority", {
        read(&(pem_of(&first) + &instance_svid(&first).to_pem()))
    });
    let of = |count| {
        TrustBundle::new(
            domain("example.org"),
            vec![first.bundle().roots()[0].clone(); count],
            0,
        )
    };
    check("", of(BUNDLE_ROOTS_MAX));
    check("17 roots", of(BUNDLE_ROOTS_MAX + 1));
}

#[test]
fn a_signing_request_gives_its_key_and_nothing_else() {
    let request = instance_key().signing_request().unwrap();
    let proved = ProvedKey::from_request(&request).unwrap();
    let own = instance_key().proved().unwrap();
    assert_eq!(format!("{proved:?}"), format!("{own:?}"));
    // One that asks for an authority's certificate in another's name gets nothing of it.
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let greedy = params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap();
    let key = ProvedKey::from_request(greedy.der()).unwrap();
    let issuance = Issuance {
        key: &key,
        spiffe_id: &instance_id(),
        now: NOW,
        expires_at: NOW.plus(HOUR),
        chance: [0; 16],
    };
    let svid = authority(9).issue(&issuance).unwrap();
    check(
        "",
        identify_instance(svid.chain(), authority(9).bundle(), NOW),
    );
}

#[test]
fn every_other_request_is_refused() {
    let request = instance_key().signing_request().unwrap();
    let expected = format!("{:?}", instance_key().proved().unwrap());
    for bit in 0..request.len() * 8 {
        let mut changed = request.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // Some tags are not signed; what is read must be the same key.
        if let Ok(proved) = ProvedKey::from_request(&changed) {
            assert_eq!(format!("{proved:?}"), expected, "bit {bit}");
        }
    }
    check(
        "cannot be read",
        ProvedKey::from_request(&[request.as_slice(), &[0]].concat()),
    );
    check(
        "cannot be read",
        ProvedKey::from_request(&vec![0x30; REQUEST_BYTES_MAX]),
    );
    check(
        "has 4097 bytes",
        ProvedKey::from_request(&vec![0x30; REQUEST_BYTES_MAX + 1]),
    );
    for other in [
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(other).unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        check("not for ES256", ProvedKey::from_request(request.der()));
    }
}

#[test]
fn keys_come_from_chance_and_are_never_printed() {
    let key = SvidKey::generate([40; 32]).unwrap();
    assert_eq!(key.public_key_der(), instance_key().public_key_der());
    assert_eq!(format!("{key:?}"), "SvidKey(..)");
    assert!(!format!("{:?}", authority(9)).contains("key: KeyPair"));
    for not_a_key in [[0; 32], [255; 32]] {
        assert!(matches!(
            SvidKey::generate(not_a_key),
            Err(KeyError::Chance)
        ));
    }
    let again = SvidKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(again.public_key_der(), key.public_key_der());
}

/// OpenSSL judges what we issue, strictly.
#[cfg(feature = "judges")]
#[test]
fn openssl_agrees() {
    use super::gateway_svid;
    use std::process::Command;
    let openssl = "openssl";
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = authority(9);
    let root = write("root.pem", &pem_of(&authority));
    let svids = [
        ("sslclient", instance_svid(&authority)),
        ("sslserver", gateway_svid(&authority)),
    ];
    for (purpose, svid) in svids {
        let leaf = write("leaf.pem", &svid.to_pem());
        let verify = |at: Timestamp| {
            Command::new(openssl)
                .args(["verify", "-x509_strict", "-purpose", purpose, "-attime"])
                .arg((at.as_millis() / 1000).to_string())
                .arg("-CAfile")
                .args([&root, &leaf])
                .output()
                .unwrap()
        };
        let found = verify(NOW);
        assert!(found.status.success(), "{found:?}");
        assert!(!verify(NOW.plus(HOUR)).status.success());
    }
    let request = folder.path().join("request.der");
    std::fs::write(&request, instance_key().signing_request().unwrap()).unwrap();
    let found = Command::new(openssl)
        .args(["req", "-inform", "DER", "-verify", "-noout", "-in"])
        .arg(&request)
        .output()
        .unwrap();
    assert!(found.status.success(), "{found:?}");
}
