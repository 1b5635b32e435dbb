//! Tokens that carry less than their task (RFC 9396): which part is asked for, and its form on the wire.
//!
//! A token names tools and servers of its task. Whatever else bounds the task bounds the token too, and is not said
//! again; narrower bounds on arguments are had by delegating a part.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{ServerName, ToolName, delegation::Part, json::Value, task::Usage};

use crate::{
    AUTHORIZATION_DETAIL_TYPE, PartAsk, PartProblem, TaskScope,
    parts::{SERVER, TYPE, excesses},
};

/// Reads which part of a task a token shall carry. `whole` is the task's authority, `scope` its bounds.
///
/// Each object is one of the task's own, as its tokens carry it, or names a server with some of its tools
/// (`type`, `server`, `actions`), or with all that may be read there (`type`, `server`, `datatypes`).
///
/// # Errors
/// [`PartProblem`] for unknown types and members, for bounds of its own, and beyond the task.
pub fn token_part(asked: &Value, whole: &Value, scope: &TaskScope) -> Result<Part, PartProblem> {
    let own = whole.as_array().unwrap_or_default();
    let list = asked.as_array().ok_or(PartProblem::NotDetails)?;
    let mut named = Vec::new();
    for detail in list {
        let is_own = own.contains(detail);
        match (is_own, detail.get(SERVER)) {
            // What bounds the task as a whole bounds each of its tokens.
            (true, None) => {}
            (true, Some(_)) => named.push(bare(detail)),
            (false, _) => {
                check_plain(detail)?;
                named.push(detail.clone());
            }
        }
    }
    let ask = PartAsk::from_details(&Value::Array(named))?;
    let part = ask.of(scope, &Usage::nothing());
    match excesses(&part, scope, &Usage::nothing()).into_iter().next() {
        None => Ok(part),
        Some(excess) => Err(PartProblem::Beyond(excess)),
    }
}

/// Returns what a token with this part carries of the authority `whole`.
pub fn token_details(whole: &Value, part: &Part) -> Value {
    let mut left: BTreeSet<&(ServerName, ToolName)> = part.tools.keys().collect();
    let mut details = Vec::new();
    for detail in whole.as_array().unwrap_or_default() {
        let server = detail.get(SERVER).and_then(Value::as_str);
        let Some(server) = server else {
            details.push(detail.clone());
            continue;
        };
        if detail.get(DATATYPES).is_some() {
            if part.reads.iter().any(|it| it.as_str() == server) {
                details.push(detail.clone());
            }
            continue;
        }
        let actions = detail.get(ACTIONS).and_then(Value::as_array);
        let actions = actions.unwrap_or_default().iter();
        let actions: Vec<&str> = actions.filter_map(Value::as_str).collect();
        let kept = |it: &&(ServerName, ToolName)| {
            it.0.as_str() == server && actions.contains(&it.1.as_str())
        };
        if left.iter().any(kept) {
            left.retain(|it| !kept(it));
            details.push(detail.clone());
        }
    }
    // Tools that the task has among the free reads of a server.
    details.extend(left.into_iter().map(|(server, tool)| {
        Value::object([
            (TYPE, AUTHORIZATION_DETAIL_TYPE.into()),
            (SERVER, server.as_str().into()),
            (ACTIONS, [tool.as_str()].into_iter().collect()),
        ])
    }));
    Value::Array(details)
}

/// Returns one of the task's own objects without the bounds that hold anyway.
fn bare(detail: &Value) -> Value {
    let kept = if detail.get(DATATYPES).is_some() {
        [TYPE, SERVER, DATATYPES]
    } else {
        [TYPE, SERVER, ACTIONS]
    };
    let member = |name: &'static str| Some((name, detail.get(name)?.clone()));
    Value::object(kept.into_iter().filter_map(member))
}

/// Refuses an object that would narrow more than tools and servers: it would be passed over otherwise.
fn check_plain(detail: &Value) -> Result<(), PartProblem> {
    let members: &BTreeMap<String, Value> = detail.as_object().ok_or(PartProblem::NotDetails)?;
    let all = if members.contains_key(DATATYPES) {
        [TYPE, SERVER, DATATYPES]
    } else {
        [TYPE, SERVER, ACTIONS]
    };
    let other = members.keys().find(|it| !all.contains(&it.as_str()));
    if let Some(other) = other {
        return Err(PartProblem::NotOfToken(other.chars().take(64).collect()));
    }
    let every = ["tools", "resources", "prompts"].into_iter().collect();
    match members.get(DATATYPES) {
        Some(datatypes) if *datatypes != every => Err(PartProblem::Invalid(DATATYPES)),
        Some(_) | None => Ok(()),
    }
}

const ACTIONS: &str = "actions";
const DATATYPES: &str = "datatypes";
