//! The kinds that bundles of foreign trust domains leave, both ways.

use ambit_core::{
    bundle::{BundleFact, BundleProfile, BundleRefusal},
    record::Body,
};

use super::{
    DecodeError, kind,
    read::Members as Read,
    write::{Members as Written, members},
};

/// The kinds.
pub(super) const KINDS: [&str; 3] = [
    kind::BUNDLE_BELIEVED,
    kind::BUNDLE_REFUSED,
    kind::BUNDLE_LAPSED,
];

pub(super) fn write(fact: &BundleFact) -> (&'static str, Written<'_>) {
    let domain = members().text("trust_domain", fact.trust_domain());
    match fact {
        BundleFact::Believed {
            profile,
            document,
            sequence,
            before,
            ..
        } => (
            kind::BUNDLE_BELIEVED,
            domain
                .add("profile", profile.as_str())
                .text("document", document)
                .maybe("sequence", sequence.map(Into::into))
                .maybe("before", before.map(Into::into)),
        ),
        BundleFact::Refused {
            profile,
            why,
            document,
            sequence,
            before,
            ..
        } => (
            kind::BUNDLE_REFUSED,
            domain
                .add("profile", profile.as_str())
                .add("why", why.as_str())
                .maybe_text("document", document.as_ref())
                .maybe("sequence", sequence.map(Into::into))
                .maybe("before", before.map(Into::into)),
        ),
        BundleFact::Lapsed { sequence, .. } => (
            kind::BUNDLE_LAPSED,
            domain.maybe("sequence", sequence.map(Into::into)),
        ),
    }
}

pub(super) fn read(kind: &str, it: &mut Read) -> Result<Body, DecodeError> {
    let trust_domain = it.text("trust_domain")?;
    let fact = match kind {
        kind::BUNDLE_BELIEVED => BundleFact::Believed {
            trust_domain,
            profile: profile(it)?,
            document: it.text("document")?,
            sequence: it.maybe_number("sequence")?,
            before: it.maybe_number("before")?,
        },
        kind::BUNDLE_REFUSED => BundleFact::Refused {
            trust_domain,
            profile: profile(it)?,
            why: it.word("why", BundleRefusal::ALL, BundleRefusal::as_str)?,
            document: it.maybe_text("document")?,
            sequence: it.maybe_number("sequence")?,
            before: it.maybe_number("before")?,
        },
        kind::BUNDLE_LAPSED => BundleFact::Lapsed {
            trust_domain,
            sequence: it.maybe_number("sequence")?,
        },
        unknown => return Err(DecodeError::Kind(unknown.chars().take(64).collect())),
    };
    Ok(Body::Bundle(Box::new(fact)))
}

fn profile(it: &mut Read) -> Result<BundleProfile, DecodeError> {
    it.word("profile", BundleProfile::ALL, BundleProfile::as_str)
}
