//! Parts of tasks: their form on the wire, and whether one is within the task that delegates it.
//!
//! The check at issue time is for clear errors. The wall is the evaluation: every act of a child is held against
//! its own part and against every task above it.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    Labels, ServerName, ToolName,
    delegation::Part,
    estate::{ArgumentPath, Bound as Approval, Constraint, Mode, Prefix, ToolGrant},
    json::Value,
    limits::{PART_BYTES_MAX, PART_TOOLS_MAX},
    task::Usage,
};

use crate::{
    AUTHORIZATION_DETAIL_TYPE, TaskScope,
    authority::constraint_value,
    constraints::{clause, is_within, shortened},
    facts::labels_to_value,
    scope::Grant,
};

/// What a delegator asks for, read from authorization details (RFC 9396). What is not named is not asked for; a
/// maximum or a set of labels that is not given is the parent's own.
#[derive(Clone, Debug, PartialEq)]
pub struct PartAsk {
    reads: BTreeSet<ServerName>,
    tools: BTreeMap<(ServerName, ToolName), ToolGrant>,
    calls_max: Option<u32>,
    may_emit: Option<Labels>,
}

/// A part is not written as one must be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PartProblem {
    /// It is no list of objects of this type.
    #[error("a part is a list of objects with `type` `{AUTHORIZATION_DETAIL_TYPE}`")]
    NotDetails,
    /// It gives nothing.
    #[error("the part gives nothing; name a tool, or a server to read")]
    Empty,
    /// It is longer than is taken.
    #[error("a part names at most {PART_TOOLS_MAX} tools in {PART_BYTES_MAX} bytes; ask for less")]
    TooLong,
    /// A member is unknown.
    #[error(
        "`{0}` is no member of a part; a part has `server`, `actions`, `datatypes`, `constraints`, `approval`, `calls_max`, `may_emit`"
    )]
    Unknown(String),
    /// A member has a value that means nothing here.
    #[error("`{0}` of the part has no meaning; see `docs/guides/delegation.md`")]
    Invalid(&'static str),
    /// A constraint is none of those that are known.
    #[error(
        "the constraint on `{0}` is none that Ambit knows; write `equals`, `one_of`, `min`, `max`, `path_under`, `url_under`, `bytes_max` or `absent`"
    )]
    Constraint(String),
    /// A member would narrow a token by more than tools and servers.
    #[error(
        "`{0}` can't narrow a token; name `type`, `server` and `actions` (or `datatypes`), or delegate a part of the task"
    )]
    NotOfToken(String),
    /// It goes beyond the task.
    #[error("{0}")]
    Beyond(String),
    /// A thing is asked for twice.
    #[error("`{0}` stands in the part twice; write it once")]
    Twice(String),
}

impl PartAsk {
    /// Reads authorization details.
    ///
    /// # Errors
    /// An unknown member or constraint is refused, never passed over.
    pub fn from_details(details: &Value) -> Result<Self, PartProblem> {
        let list = details.as_array().ok_or(PartProblem::NotDetails)?;
        if details.to_canonical().len() > PART_BYTES_MAX {
            return Err(PartProblem::TooLong);
        }
        let mut ask = Self {
            reads: BTreeSet::new(),
            tools: BTreeMap::new(),
            calls_max: None,
            may_emit: None,
        };
        let mut whole = None;
        for detail in list {
            let members = detail.as_object().ok_or(PartProblem::NotDetails)?;
            let kind = members.get("type").and_then(Value::as_str);
            if kind != Some(AUTHORIZATION_DETAIL_TYPE) {
                return Err(PartProblem::NotDetails);
            }
            match (
                members.contains_key("server"),
                members.contains_key("datatypes"),
            ) {
                (true, true) => ask.take_reads(members)?,
                (true, false) => ask.take_tools(members)?,
                (false, _) => {
                    if whole.replace(()).is_some() {
                        return Err(PartProblem::Twice("calls_max".to_owned()));
                    }
                    ask.take_whole(members)?;
                }
            }
        }
        if ask.tools.len() > PART_TOOLS_MAX || ask.reads.len() > PART_TOOLS_MAX {
            return Err(PartProblem::TooLong);
        }
        if ask.tools.is_empty() && ask.reads.is_empty() {
            return Err(PartProblem::Empty);
        }
        Ok(ask)
    }

    fn take_whole(&mut self, members: &Members) -> Result<(), PartProblem> {
        known(members, &["type", "calls_max", "may_emit"])?;
        self.calls_max = count(members, "calls_max")?;
        if let Some(value) = members.get("may_emit") {
            self.may_emit = Some(labels(value).ok_or(PartProblem::Invalid("may_emit"))?);
        }
        Ok(())
    }

    fn take_reads(&mut self, members: &Members) -> Result<(), PartProblem> {
        known(members, &["type", "server", "mode", "actions", "datatypes"])?;
        let read = members
            .get("mode")
            .is_none_or(|it| it.as_str() == Some("read"));
        if !read {
            return Err(PartProblem::Invalid("mode"));
        }
        let server: ServerName = name(members, "server")?;
        if !self.reads.insert(server.clone()) {
            return Err(PartProblem::Twice(server.to_string()));
        }
        Ok(())
    }

    fn take_tools(&mut self, members: &Members) -> Result<(), PartProblem> {
        let all = [
            "type",
            "server",
            "actions",
            "constraints",
            "approval",
            "calls_max",
        ];
        known(members, &all)?;
        let server: ServerName = name(members, "server")?;
        let actions = members.get("actions").and_then(Value::as_array);
        let actions = actions.filter(|it| !it.is_empty());
        let grant = ToolGrant {
            arguments: match members.get("constraints") {
                None => BTreeMap::new(),
                Some(value) => constraints(value)?,
            },
            calls_max: count(members, "calls_max")?,
            approval: match members.get("approval").map(Value::as_str) {
                None | Some(Some("free")) => Approval::Free,
                Some(Some("held")) => Approval::Held,
                Some(_) => return Err(PartProblem::Invalid("approval")),
            },
        };
        for action in actions.ok_or(PartProblem::Invalid("actions"))? {
            let tool: Option<ToolName> = action.as_str().and_then(|it| it.parse().ok());
            let tool = tool.ok_or(PartProblem::Invalid("actions"))?;
            let key = (server.clone(), tool);
            if self.tools.insert(key.clone(), grant.clone()).is_some() {
                return Err(PartProblem::Twice(format!("{}/{}", key.0, key.1)));
            }
        }
        Ok(())
    }

    /// Returns the part when it names everything, as [`part_details`] writes it.
    pub fn whole(self) -> Option<Part> {
        Some(Part {
            reads: self.reads,
            tools: self.tools,
            calls_max: self.calls_max?,
            may_emit: self.may_emit?,
        })
    }

    /// Returns the part that is asked for, with the parent's own bounds where none were given.
    pub fn of(self, parent: &TaskScope, usage: &Usage) -> Part {
        let left = parent.calls_max().saturating_sub(usage.calls);
        Part {
            reads: self.reads,
            tools: self.tools,
            calls_max: self.calls_max.unwrap_or(left),
            may_emit: self.may_emit.unwrap_or_else(|| parent.may_emit()),
        }
    }
}

/// Returns `part` as authorization details (RFC 9396). [`PartAsk::from_details`] reads it back.
pub fn part_details(part: &Part) -> Value {
    let kind = || ("type", Value::from(AUTHORIZATION_DETAIL_TYPE));
    let whole = Value::object([
        kind(),
        ("calls_max", u64::from(part.calls_max).into()),
        ("may_emit", labels_to_value(&part.may_emit)),
    ]);
    let datatypes = || ["tools", "resources", "prompts"].into_iter().collect();
    let reads = part.reads.iter().map(|server| {
        Value::object([
            kind(),
            ("server", server.as_str().into()),
            ("mode", Mode::Read.as_str().into()),
            ("datatypes", datatypes()),
        ])
    });
    let tools = part.tools.iter().map(|((server, tool), grant)| {
        let none = BTreeMap::new();
        let constraints = grant.arguments.iter();
        let constraints =
            constraints.map(|(path, it)| (path.to_string(), constraint_value(it, &none)));
        let mut members = vec![
            kind(),
            ("server", server.as_str().into()),
            ("actions", [tool.as_str()].into_iter().collect()),
            ("constraints", Value::Object(constraints.collect())),
            (
                "approval",
                match grant.approval {
                    Approval::Free => "free".into(),
                    Approval::Held => "held".into(),
                },
            ),
        ];
        if let Some(max) = grant.calls_max {
            members.push(("calls_max", u64::from(max).into()));
        }
        Value::object(members)
    });
    [whole].into_iter().chain(reads).chain(tools).collect()
}

/// Returns in words where `part` goes beyond the task that delegates it: nothing when it is within.
///
/// No value of an argument is among the words, so they can be kept for ever.
pub(crate) fn excesses(part: &Part, parent: &TaskScope, usage: &Usage) -> Vec<String> {
    let mut found = Vec::new();
    for server in &part.reads {
        if !parent.reads_server(server) {
            found.push(format!("reads of `{server}`: the task was not given them"));
        }
    }
    for ((server, tool), grant) in &part.tools {
        of_tool(parent, (server, tool), grant, &mut found);
    }
    let left = parent.calls_max().saturating_sub(usage.calls);
    if part.calls_max > left {
        found.push(format!("calls: {} asked for, {left} left", part.calls_max));
    }
    for label in part.may_emit.without(&parent.may_emit()) {
        found.push(format!("label `{label}`: the task may not emit it"));
    }
    found.truncate(EXCESSES_MAX);
    found.into_iter().map(|it| shortened(&it)).collect()
}

fn of_tool(
    parent: &TaskScope,
    (server, tool): (&ServerName, &ToolName),
    grant: &ToolGrant,
    found: &mut Vec<String>,
) {
    let grants = parent.grants(server, tool);
    let granted = |it: &Grant<'_>| matches!(it, Grant::Named(_) | Grant::FreeRead);
    if grants.is_empty() || !grants.iter().all(granted) {
        found.push(format!("tool `{server}/{tool}`: the task was not given it"));
        return;
    }
    if let (Some(asked), Some(max)) = (grant.calls_max, parent.tool_calls_max(server, tool))
        && asked > max
    {
        found.push(format!(
            "calls of `{server}/{tool}`: {asked} asked for, {max} given"
        ));
    }
    for above in grants.iter().filter_map(|it| it.named()) {
        for (path, narrower) in &grant.arguments {
            let Some(wider) = above.arguments.get(path) else {
                continue;
            };
            if !is_within(narrower, wider, &parent.parameters) {
                let bound = match wider {
                    Constraint::EqualsParameter(_) => clause(wider),
                    Constraint::PathUnder(Prefix::Parameter(_))
                    | Constraint::UrlUnder(Prefix::Parameter(_)) => clause(wider),
                    Constraint::OneOf(_)
                    | Constraint::Between { .. }
                    | Constraint::PathUnder(Prefix::Literal(_))
                    | Constraint::UrlUnder(Prefix::Literal(_))
                    | Constraint::BytesMax(_)
                    | Constraint::Absent => "narrower than the task's own bound".to_owned(),
                };
                found.push(format!(
                    "argument `{path}` of `{server}/{tool}`: must be {bound}"
                ));
            }
        }
    }
}

pub(crate) type Members = BTreeMap<String, Value>;

fn known(members: &Members, names: &[&str]) -> Result<(), PartProblem> {
    let unknown = members.keys().find(|it| !names.contains(&it.as_str()));
    unknown.map_or(Ok(()), |it| {
        Err(PartProblem::Unknown(it.chars().take(64).collect()))
    })
}

pub(crate) fn name<T: std::str::FromStr>(
    members: &Members,
    key: &'static str,
) -> Result<T, PartProblem> {
    let text = members.get(key).and_then(Value::as_str);
    text.and_then(|it| it.parse().ok())
        .ok_or(PartProblem::Invalid(key))
}

pub(crate) fn count(members: &Members, key: &'static str) -> Result<Option<u32>, PartProblem> {
    let Some(value) = members.get(key) else {
        return Ok(None);
    };
    let count = value.as_integer().and_then(|it| u32::try_from(it).ok());
    count.map(Some).ok_or(PartProblem::Invalid(key))
}

pub(crate) fn labels(value: &Value) -> Option<Labels> {
    let read = value.as_array()?.iter().map(|it| it.as_str()?.parse().ok());
    Labels::new(read.collect::<Option<Vec<_>>>()?).ok()
}

pub(crate) fn constraints(
    value: &Value,
) -> Result<BTreeMap<ArgumentPath, Constraint>, PartProblem> {
    let members = value
        .as_object()
        .ok_or(PartProblem::Invalid("constraints"))?;
    let read = members.iter().map(|(path, value)| {
        let unknown = || PartProblem::Constraint(path.chars().take(64).collect());
        Ok((
            ArgumentPath::parse(path),
            constraint(value).ok_or_else(unknown)?,
        ))
    });
    read.collect()
}

/// Reads the one JSON form of a constraint. A parameter can't be named: a part is made of values.
fn constraint(value: &Value) -> Option<Constraint> {
    let members = value.as_object()?;
    let bound = |name: &str| match members.get(name) {
        None => Some(None),
        Some(value) => number(value).map(Some),
    };
    if !members.is_empty() && members.keys().all(|it| it == "min" || it == "max") {
        return Some(Constraint::Between {
            min: bound("min")?,
            max: bound("max")?,
        });
    }
    let mut all = members.iter();
    let (Some((name, value)), None) = (all.next(), all.next()) else {
        return None;
    };
    let literal = || value.as_str().map(|it| Prefix::Literal(it.to_owned()));
    Some(match name.as_str() {
        "equals" => Constraint::OneOf(vec![value.clone()]),
        "one_of" => Constraint::OneOf(value.as_array().filter(|it| !it.is_empty())?.to_vec()),
        "path_under" => Constraint::PathUnder(literal()?),
        "url_under" => Constraint::UrlUnder(literal()?),
        "bytes_max" => {
            Constraint::BytesMax(value.as_integer().and_then(|it| usize::try_from(it).ok())?)
        }
        "absent" if *value == Value::Bool(true) => Constraint::Absent,
        _ => return None,
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "integers of a JSON value lie within 2^53, where f64 is exact"
)]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

pub(crate) const TYPE: &str = "type";
pub(crate) const SERVER: &str = "server";
/// The most excesses that one denial names.
const EXCESSES_MAX: usize = 16;
