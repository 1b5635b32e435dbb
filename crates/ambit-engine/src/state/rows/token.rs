//! Rows of tokens.

use ambit_core::{json::Value, record::Body};

use super::{Row, RowError, RowKey};
use crate::state::{State, TokenEntry, TokenUse};

pub(super) fn row(entry: &TokenEntry) -> Value {
    Value::object([
        ("leaf", entry.leaf.into()),
        ("use", entry.standing.as_str().into()),
    ])
}

pub(super) fn read(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let value = row.json()?;
    let leaf = row.number(&value, "leaf")?;
    let Body::TokenIssued(token) = row.record(leaf)?.body else {
        return Err(row.wrong("its leaf issues no token"));
    };
    let standing = TokenUse::ALL
        .into_iter()
        .find(|it| Some(it.as_str()) == value.get("use").and_then(Value::as_str));
    let standing = standing.ok_or_else(|| row.wrong("`use`"))?;
    let id = token.id;
    state.keep_token(TokenEntry {
        leaf,
        token: *token,
        standing,
    });
    Ok(RowKey::Token(id))
}
