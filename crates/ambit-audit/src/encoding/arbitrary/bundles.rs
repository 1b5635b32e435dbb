//! Strategies that make anything that becomes of a foreign bundle.

use ambit_core::{
    TrustDomain,
    bundle::{BundleFact, BundleProfile, BundleRefusal},
};
use proptest::{option, prelude::*, sample::select};

use super::{digest, number};

pub(super) fn bundles() -> impl Strategy<Value = BundleFact> {
    let profile = || select(BundleProfile::ALL.to_vec());
    let why = select(BundleRefusal::ALL.to_vec());
    let numbers = || (option::of(number()), option::of(number()));
    prop_oneof![
        (trust_domain(), profile(), digest(), numbers()).prop_map(
            |(trust_domain, profile, document, (sequence, before))| BundleFact::Believed {
                trust_domain,
                profile,
                document,
                sequence,
                before,
            }
        ),
        (
            trust_domain(),
            profile(),
            why,
            option::of(digest()),
            numbers()
        )
            .prop_map(
                |(trust_domain, profile, why, document, (sequence, before))| BundleFact::Refused {
                    trust_domain,
                    profile,
                    why,
                    document,
                    sequence,
                    before,
                }
            ),
        (trust_domain(), option::of(number())).prop_map(|(trust_domain, sequence)| {
            BundleFact::Lapsed {
                trust_domain,
                sequence,
            }
        }),
    ]
}

fn trust_domain() -> impl Strategy<Value = TrustDomain> {
    "[a-z0-9][a-z0-9._-]{0,20}".prop_map(|it| it.parse().unwrap())
}
