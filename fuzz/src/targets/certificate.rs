//! Certificates: as roots they are read without a signature, as callers with one.

use std::sync::OnceLock;

use ambit_identity::{Authority, TrustBundle, identify_gateway, identify_instance};
use rustls_pki_types::CertificateDer;

use super::site::{NOW, authority, svid, trust_domain};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "certificate",
    run,
    seeds,
    words: &[
        "spiffe://",
        "\u{2}\u{1}",
        "\u{3}U\u{1d}\u{11}",
        "\u{3}U\u{1d}\u{13}",
        "\u{3}U\u{1d}\u{f}",
    ],
};

fn run(bytes: &[u8]) {
    static AUTHORITY: OnceLock<(Authority, Vec<u8>)> = OnceLock::new();
    let (authority, issued) = AUTHORITY.get_or_init(|| {
        let authority = authority();
        let issued = svid(&authority);
        let issued = issued.chain().first().and_then(|it| signed_part(it));
        (authority, issued.expect("an SVID").to_vec())
    });
    let certificate = CertificateDer::from(bytes.to_vec());
    let roots = vec![certificate.clone()];
    if let Ok(bundle) = TrustBundle::new(trust_domain(), roots, 0) {
        let again = TrustBundle::from_pem(trust_domain(), &bundle.to_pem(), 0);
        let again = again.expect("a bundle reads back");
        assert_eq!(again.roots(), bundle.roots());
    }
    let chain = [certificate];
    if identify_instance(&chain, authority.bundle(), NOW).is_ok() {
        // A signature has many spellings; what it signs has one.
        let signed = signed_part(bytes);
        assert_eq!(signed, Some(issued.as_slice()), "an identity was made up");
    }
    let gateway = identify_gateway(&chain, authority.bundle(), NOW);
    assert!(gateway.is_err(), "a gateway was made up");
}

/// The part of a certificate that is signed: the first member of the outer sequence, both with lengths of two bytes.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let inner = der.get(4..)?;
    let [0x30, 0x82, high, low] = *inner.first_chunk::<4>()? else {
        return None;
    };
    inner.get(..4 + usize::from(u16::from_be_bytes([high, low])))
}

fn seeds() -> Vec<Vec<u8>> {
    let authority = authority();
    let roots = authority.bundle().roots().to_vec();
    let svid = svid(&authority);
    let all = roots.iter().chain(svid.chain());
    all.map(|it| it.to_vec()).collect()
}
