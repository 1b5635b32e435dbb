//! What people settled and opened, in words.

use ambit_core::record::{Body, Settlement, Warrant};

use crate::story::Names;

/// Says such a record; any other has words of its own.
pub(super) fn told(body: &Body, names: &Names) -> String {
    if let Body::ActSettled {
        decision,
        settlement,
        warrant,
        ..
    } = body
    {
        return format!("{decision}: {}", settled(*settlement, warrant, names));
    }
    if let Body::SealedOpened {
        leaves, warrant, ..
    } = body
    {
        return opened(leaves, &names.person(warrant.by));
    }
    super::body(body, names)
}

/// Says what a person found of an act whose outcome nobody knew.
pub(in crate::story) fn settled(
    settlement: Settlement,
    warrant: &Warrant,
    names: &Names,
) -> String {
    let (by, why) = (names.person(warrant.by), names.reason(warrant));
    match settlement {
        Settlement::Happened => format!("{by} found that it happened{why}"),
        Settlement::DidNotHappen => format!("{by} found that it did not happen{why}"),
    }
}

fn opened(leaves: &[u64], by: &str) -> String {
    let places: Vec<_> = leaves.iter().map(ToString::to_string).collect();
    let what = if places.len() == 1 {
        "record"
    } else {
        "records"
    };
    format!(
        "{by} opened what is sealed beside {what} {}",
        places.join(", ")
    )
}
