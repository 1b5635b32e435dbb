//! What changes in which foreign trust domains are believed.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::estate::{BundleSource, Estate};

use super::{Changes, Direction, Subject};

/// Compares whose workloads are believed, and where their bundles come from.
pub(super) fn compare(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let empty = BTreeMap::new();
    let before = old.map_or(&empty, |it| &it.federations);
    let names: BTreeSet<_> = before.keys().chain(new.federations.keys()).collect();
    let subject = |name| {
        let mut changes = Changes::default();
        match (before.get(name), new.federations.get(name)) {
            (None, Some(it)) => {
                let text = format!("{} is believed, by {}", it.trust_domain, it.source);
                changes.add(Direction::Widens, text);
            }
            (Some(_), None) => changes.add(Direction::Narrows, "is believed no longer"),
            (Some(had), Some(has)) => {
                changes.altered("trust domain", &had.trust_domain, &has.trust_domain);
                changes.altered("bundle", &had.source, &has.source);
                if documents(&had.source) != documents(&has.source) {
                    changes.add(Direction::Alters, "has another bundle in the estate");
                }
            }
            (None, None) => {}
        }
        changes.of(format!("trust {name}"))
    };
    names.into_iter().map(subject).collect()
}

fn documents(source: &BundleSource) -> Option<&String> {
    match source {
        BundleSource::Given(text) => Some(text),
        BundleSource::Web { .. } => None,
        BundleSource::Spiffe { first, .. } => first.as_ref(),
    }
}
