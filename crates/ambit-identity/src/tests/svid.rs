//! One good certificate, and every way to spoil it.

use ambit_core::{Digest, Millis, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use super::{HOUR, NOW, authority, domain, gateway_svid, instance_id, instance_svid, whole};
use crate::{
    CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, IdentityError, KeyBinding, TrustBundle,
    identify_gateway, identify_instance,
};

/// An authority of the tests' own that signs anything, unlike the real one.
struct Forge {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Forge {
    fn new(key: KeyPair) -> Self {
        let params = signer_params(true);
        let root = params.self_signed(&key).unwrap().into();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::new(domain("example.org"), vec![self.root.clone()], 1).unwrap()
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        params.signed_by(key, &self.issuer).unwrap().into()
    }
}

fn signer_params(signs: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if signs {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Returns what a good leaf says.
fn good() -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let second = |at: Timestamp| epoch + std::time::Duration::from_millis(at.as_millis());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(&instance_id().to_string())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = second(NOW);
    params.not_after = second(NOW.plus(HOUR));
    params
}

/// Spoils a good leaf and expects `part` in the refusal; an empty `part` expects none.
fn check(part: &str, spoil: impl FnOnce(&mut CertificateParams)) {
    check_keys(part, spoil, &rcgen::PKCS_ECDSA_P256_SHA256, NOW);
}

fn check_keys(
    part: &str,
    spoil: impl FnOnce(&mut CertificateParams),
    leaf_key: &'static rcgen::SignatureAlgorithm,
    now: Timestamp,
) {
    let forge = Forge::new(KeyPair::generate().unwrap());
    let mut params = good();
    spoil(&mut params);
    let leaf = forge.sign(&params, &KeyPair::generate_for(leaf_key).unwrap());
    expect(part, &[leaf], &forge.bundle(), now);
}

fn expect(part: &str, chain: &[CertificateDer<'_>], bundle: &TrustBundle, now: Timestamp) {
    match identify_instance(chain, bundle, now) {
        Ok(caller) => assert_eq!(part, "", "accepted {caller:?}"),
        Err(error) => {
            let text = whole(&error);
            assert!(
                !part.is_empty() && text.contains(part),
                "`{part}` not in `{text}`"
            );
        }
    }
}

fn at(now: Timestamp) -> impl FnOnce(&str) {
    move |part| check_keys(part, |_| {}, &rcgen::PKCS_ECDSA_P256_SHA256, now)
}

#[test]
fn a_good_certificate_is_evidence() {
    let authority = authority(9);
    let svid = instance_svid(&authority);
    let caller = identify_instance(svid.chain(), authority.bundle(), NOW).unwrap();
    assert_eq!(caller.spiffe_id(), &instance_id());
    assert_eq!(caller.agent().as_str(), "billing");
    assert_eq!(
        Some(caller.instance()),
        instance_id().as_instance().map(|it| it.1)
    );
    assert_eq!(caller.expires_at(), NOW.plus(HOUR));
    assert_eq!(svid.expires_at(), NOW.plus(HOUR));
    let certificate = Digest::of(&svid.chain()[0]);
    assert_eq!(caller.binding(), KeyBinding::Mtls { certificate });
    assert_eq!(svid.certificate(), certificate);
}

#[test]
fn time_bounds_are_exact_to_the_second() {
    let millis = |it| Timestamp::from_millis(it);
    let end = NOW.plus(HOUR).as_millis();
    at(NOW)("");
    at(millis(NOW.as_millis() - 1))("the certificate is valid from 2026-11-22T00:00:00.000Z");
    at(millis(end + 999))("");
    at(millis(end + 1000))("the certificate expired at 2026-11-22T01:00:00.000Z and it is");
}

#[test]
fn names_are_exactly_one_spiffe_id_of_an_instance() {
    check("", |_| {});
    let dns = || SanType::DnsName("gateway.example.org".try_into().unwrap());
    check("", |it| it.subject_alt_names.push(dns()));
    check("exactly one URI and has 0", |it| {
        it.subject_alt_names = vec![dns()]
    });
    check("exactly one URI and has 0", |it| {
        it.subject_alt_names.clear()
    });
    check("exactly one URI and has 2", |it| {
        it.subject_alt_names.push(uri("https://example.org/"));
    });
    check("exactly one URI and has 2", |it| {
        it.subject_alt_names.push(uri(&instance_id().to_string()));
    });
    let named = |name: &'static str| {
        move |it: &mut CertificateParams| it.subject_alt_names = vec![uri(name)]
    };
    check(
        "not a SPIFFE ID: a SPIFFE ID begins",
        named("https://example.org/agent/a/b"),
    );
    check(
        "a path segment is empty",
        named("spiffe://example.org/agent//b"),
    );
    check(
        "is not of trust domain example.org",
        named("spiffe://other.org/agent/a/b"),
    );
    check(
        "is not an agent's instance",
        named("spiffe://example.org/ambit/gateway"),
    );
    check(
        "is not an agent's instance",
        named("spiffe://example.org/agent/billing"),
    );
    check(
        "is not an agent's instance",
        named("spiffe://example.org/agent/billing/7"),
    );
    check("must have a path", named("spiffe://example.org"));
    // Two extensions with names: neither counts.
    check("the certificate", |it| {
        let twin = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x00]);
        it.custom_extensions.push(twin);
    });
}

#[test]
fn usages_are_for_authentication_only() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
    let usages = |of: &'static [KeyUsagePurpose]| {
        move |it: &mut CertificateParams| it.key_usages = of.to_vec()
    };
    check("", usages(&[DigitalSignature, KeyEncipherment]));
    check("key usage must", usages(&[]));
    check("key usage must", usages(&[KeyEncipherment]));
    check("key usage must", usages(&[DigitalSignature, KeyCertSign]));
    check("key usage must", usages(&[DigitalSignature, CrlSign]));
    check("key usage must", |it| {
        it.key_usages.clear();
        // digitalSignature, but not critical.
        let lax = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 7, 0x80]);
        it.custom_extensions.push(lax);
    });
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
    check("", |it| {
        it.extended_key_usages = vec![ClientAuth, ServerAuth]
    });
    check("both serverAuth", |it| {
        it.extended_key_usages = vec![ClientAuth]
    });
    check("is not valid", |it| {
        it.extended_key_usages = vec![ServerAuth]
    });
    check("is not valid", |it| {
        it.extended_key_usages = vec![CodeSigning]
    });
    check("the leaf is a certificate authority", |it| {
        it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    check("", |it| it.is_ca = IsCa::ExplicitNoCa);
}

#[test]
fn only_es256_is_accepted() {
    for key in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        check_keys("on the curve P-256", |_| {}, key, NOW);
        let forge = Forge::new(KeyPair::generate_for(key).unwrap());
        let leaf = forge.sign(&good(), &KeyPair::generate().unwrap());
        expect("is not valid", &[leaf], &forge.bundle(), NOW);
    }
    check_keys("on the curve P-256", |_| {}, &rcgen::PKCS_RSA_SHA256, NOW);
}

#[test]
fn another_authority_of_the_same_domain_vouches_for_nobody() {
    let (ours, theirs) = (authority(9), authority(10));
    let svid = instance_svid(&theirs);
    expect(
        "no root of trust domain example.org leads",
        svid.chain(),
        ours.bundle(),
        NOW,
    );
    let forge = Forge::new(KeyPair::generate().unwrap());
    let twin = Forge::new(KeyPair::generate().unwrap());
    // The same subject with another key.
    let leaf = twin.sign(&good(), &KeyPair::generate().unwrap());
    expect("example.org", &[leaf], &forge.bundle(), NOW);
    let key = KeyPair::generate().unwrap();
    let alone = good().self_signed(&key).unwrap().into();
    expect("example.org", &[alone], &forge.bundle(), NOW);
}

#[test]
fn intermediates_must_be_allowed_to_sign() {
    for (signs, part) in [(true, ""), (false, "an intermediate certificate must")] {
        let forge = Forge::new(KeyPair::generate().unwrap());
        let named = |signs| {
            let mut params = signer_params(signs);
            let kind = rcgen::DnType::OrganizationName;
            params.distinguished_name.push(kind, "middle");
            params
        };
        let key = KeyPair::generate().unwrap();
        let middle = forge.sign(&named(signs), &key);
        // rcgen refuses to sign with an issuer that may not, so it is told that this one may.
        let issuer = Issuer::new(named(true), key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = good().signed_by(&leaf_key, &issuer).unwrap().into();
        expect(part, &[leaf, middle], &forge.bundle(), NOW);
    }
}

#[test]
fn sizes_end_at_their_maximum() {
    let authority = authority(9);
    let svid = instance_svid(&authority);
    let mut chain = svid.chain().to_vec();
    chain.resize(
        CHAIN_CERTIFICATES_MAX,
        authority.bundle().roots()[0].clone(),
    );
    expect("", &chain, authority.bundle(), NOW);
    chain.push(authority.bundle().roots()[0].clone());
    expect(
        "the chain has 5 certificates",
        &chain,
        authority.bundle(),
        NOW,
    );
    expect("no client certificate", &[], authority.bundle(), NOW);
    let junk = |length| [CertificateDer::from(vec![0x30; length])];
    expect(
        "is not valid",
        &junk(CERTIFICATE_BYTES_MAX),
        authority.bundle(),
        NOW,
    );
    expect(
        "has 16385 bytes",
        &junk(CERTIFICATE_BYTES_MAX + 1),
        authority.bundle(),
        NOW,
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    let authority = authority(9);
    let leaf = instance_svid(&authority).chain()[0].to_vec();
    for bit in 0..leaf.len() * 8 {
        let mut changed = leaf.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let chain = [CertificateDer::from(changed)];
        let found = identify_instance(&chain, authority.bundle(), NOW);
        assert!(found.is_err(), "bit {bit}");
    }
    let longer = CertificateDer::from([leaf.as_slice(), &[0]].concat());
    expect("is not valid", &[longer], authority.bundle(), NOW);
}

#[test]
fn a_gateway_is_known_by_its_name() {
    let authority = authority(9);
    let gateway = gateway_svid(&authority);
    let found = identify_gateway(gateway.chain(), authority.bundle(), NOW).unwrap();
    assert_eq!(found.spiffe_id(), &domain("example.org").gateway());
    let error = identify_gateway(instance_svid(&authority).chain(), authority.bundle(), NOW);
    let expected = domain("example.org").gateway();
    let seen = instance_id();
    assert_eq!(
        error.unwrap_err(),
        IdentityError::NotGateway { seen, expected }
    );
    expect(
        "is not an agent's instance",
        gateway.chain(),
        authority.bundle(),
        NOW,
    );
    let later = NOW.plus(HOUR).plus(Millis::new(0));
    assert!(identify_gateway(gateway.chain(), authority.bundle(), later).is_err());
}
