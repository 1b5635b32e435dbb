//! The kinds of records that people leave who settle an act or open what is sealed, both ways.

use ambit_core::{
    json::Value,
    record::{Body, Settlement},
};

use super::{
    DecodeError, kind,
    read::{self, Members as Read},
    write::{self, Members as Written, members},
};

/// Returns the kind and members of such a record; of any other, nothing.
pub(super) fn write(body: &Body) -> (&'static str, Written<'_>) {
    if let Body::ActSettled {
        decision,
        task,
        settlement,
        reason,
        warrant,
    } = body
    {
        let members = members()
            .text("decision", decision)
            .text("task", task)
            .add("settlement", settlement.as_str())
            .add("reason", write::sealed(reason))
            .add("warrant", write::warrant(warrant));
        return (kind::ACT_SETTLED, members);
    }
    let Body::SealedOpened {
        task,
        leaves,
        warrant,
    } = body
    else {
        return ("", members());
    };
    let members = members()
        .text("task", task)
        .add("leaves", leaves.iter().copied().collect::<Value>())
        .add("warrant", write::warrant(warrant));
    (kind::SEALED_OPENED, members)
}

pub(super) fn read_settled(it: &mut Read) -> Result<Body, DecodeError> {
    Ok(Body::ActSettled {
        decision: it.text("decision")?,
        task: it.text("task")?,
        settlement: it.word("settlement", Settlement::ALL, Settlement::as_str)?,
        reason: it.object("reason", read::sealed)?,
        warrant: it.object("warrant", read::warrant)?,
    })
}

pub(super) fn read_opened(it: &mut Read) -> Result<Body, DecodeError> {
    Ok(Body::SealedOpened {
        task: it.text("task")?,
        leaves: it.numbers("leaves")?,
        warrant: it.object("warrant", read::warrant)?,
    })
}
