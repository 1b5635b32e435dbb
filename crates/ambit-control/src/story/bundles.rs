//! What becomes of the bundles of foreign trust domains, in words.

use ambit_core::bundle::{BundleFact, BundleRefusal};

/// Says one change.
pub(super) fn fact(fact: &BundleFact) -> String {
    let numbered = |sequence: &Option<u64>| match sequence {
        Some(sequence) => format!("bundle {sequence}"),
        None => "a bundle without a number".to_owned(),
    };
    match fact {
        BundleFact::Believed {
            trust_domain,
            profile,
            document,
            sequence,
            before,
        } => {
            let after = match before {
                Some(before) => format!(", after bundle {before}"),
                None => String::new(),
            };
            format!(
                "{trust_domain} is believed by {} ({document}, {}){after}",
                numbered(sequence),
                profile.as_str()
            )
        }
        BundleFact::Refused {
            trust_domain,
            profile,
            why,
            document,
            sequence,
            before,
        } => {
            let what = match why {
                BundleRefusal::Unavailable => "no bundle could be had of its endpoint".to_owned(),
                BundleRefusal::Malformed => "what its endpoint gave is no bundle of it".to_owned(),
                BundleRefusal::Rollback => format!(
                    "its endpoint gave {}, which is older than what was believed or contradicts it",
                    numbered(sequence)
                ),
            };
            let document = document.map_or(String::new(), |it| format!("{it}, "));
            let stays = match before {
                Some(before) => format!("bundle {before} stays"),
                None => "what was believed before stays".to_owned(),
            };
            format!(
                "{trust_domain}: {what} ({document}{}); {stays}",
                profile.as_str()
            )
        }
        BundleFact::Lapsed {
            trust_domain,
            sequence,
        } => format!(
            "{trust_domain} is believed no more: its endpoint has not renewed {} for too long",
            numbered(sequence)
        ),
    }
}
