//! The bounds that a client names of a task that it has in mind (RFC 9396), held against what such a task has.
//!
//! A task has all bounds of its template, so nothing that is named can narrow or widen it: what says something else than the
//! template is refused, as section 5 asks.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, TemplateName, ToolName,
    estate::{Estate, Mode, Template},
    json::Value,
};

use crate::{
    PartProblem,
    authority::{
        AUTHORIZATION_DETAIL_TYPE, BOUNDS_OF_SERVER, BOUNDS_OF_TASK, authorization_details,
    },
    parts::{Members, constraints, count, labels, name},
};

/// What a client names of the bounds of one task, each of a form that has a meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedBounds {
    whole: BTreeMap<String, Value>,
    servers: Vec<Value>,
}

/// Bounds are named that a task can't have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WantedProblem {
    /// It is no object of this type.
    #[error("a detail is an object with `type` `{AUTHORIZATION_DETAIL_TYPE}`")]
    NotDetail,
    /// A member is unknown.
    #[error("a wanted task has no member `{0}`; leave it out")]
    Unknown(String),
    /// A member has a value that no task has.
    #[error("no task has such a `{0}`; leave it out, or send what an answer of this server said")]
    Invalid(&'static str),
    /// A constraint is none of those that are known.
    #[error(transparent)]
    Constraint(PartProblem),
    /// The template says something else.
    #[error(
        "`{member}` is not as template `{template}` has it, and a task has all bounds of its template; leave it out: a token \
         that carries less of the task is asked for at the token endpoint"
    )]
    Other {
        /// Which bound.
        member: String,
        /// The template.
        template: TemplateName,
    },
    /// The template gives other servers or tools.
    #[error(
        "the servers and tools that are named are not those of template `{0}`, each as it gives them; leave them out: a token \
         that carries less of the task is asked for at the token endpoint"
    )]
    OtherServers(TemplateName),
}

impl WantedBounds {
    /// Reads the bounds among the members of `task`, but for those of `besides`, and what is named of `servers`.
    ///
    /// # Errors
    /// [`WantedProblem`] for what is unknown, and for values that no task has.
    pub fn read(
        (task, besides): (&BTreeMap<String, Value>, &[&str]),
        servers: &[&Value],
    ) -> Result<Self, WantedProblem> {
        let unknown = |it: &&String| !BOUNDS_OF_TASK.contains(&it.as_str());
        let own = || task.keys().filter(|it| !besides.contains(&it.as_str()));
        if let Some(unknown) = own().find(unknown) {
            return Err(WantedProblem::Unknown(unknown.chars().take(64).collect()));
        }
        typed(task)?;
        check_whole(task)?;
        for server in servers {
            let members = server.as_object().ok_or(WantedProblem::NotDetail)?;
            typed(members)?;
            check_server(members)?;
        }
        // What names the task, and how long it lives, is read by whoever asks.
        let bounds = own().filter(|it| !["type", "template", "ttl_seconds"].contains(&it.as_str()));
        let bounds = bounds.filter_map(|it| Some((it.clone(), task.get(it)?.clone())));
        Ok(Self {
            whole: bounds.collect(),
            servers: servers.iter().map(|it| (*it).clone()).collect(),
        })
    }

    /// Returns how many bytes of text it holds, about.
    pub fn weight(&self) -> usize {
        let whole = self.whole.iter();
        let whole: usize = whole
            .map(|(name, value)| name.len() + value.to_canonical().len())
            .sum();
        let servers = self.servers.iter().map(|it| it.to_canonical().len());
        whole + servers.sum::<usize>()
    }

    /// Holds what is named against what a task of `template` has. What the template leaves to a parameter may have any
    /// value: the person gives it.
    ///
    /// # Errors
    /// [`WantedProblem`] for what is narrower, wider or other.
    pub fn check(&self, template: &Template, estate: &Estate) -> Result<(), WantedProblem> {
        let details = authorization_details(template, estate, &BTreeMap::new());
        let mut own = details.as_array().unwrap_or_default().iter();
        let whole = own.next();
        for (member, value) in &self.whole {
            if whole.and_then(|it| it.get(member)) != Some(value) {
                return Err(WantedProblem::Other {
                    member: member.clone(),
                    template: template.name.clone(),
                });
            }
        }
        let mut left: Vec<&Value> = own.collect();
        if self.servers.is_empty() {
            return Ok(());
        }
        let other = || WantedProblem::OtherServers(template.name.clone());
        for named in &self.servers {
            let found = left.iter().position(|it| says(named, it) == Says::TheSame);
            left.swap_remove(found.ok_or_else(other)?);
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(other())
        }
    }
}

/// Whether one object says what another says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Says {
    TheSame,
    Otherwise,
}

/// Holds one object that names a server against one of the template.
fn says(named: &Value, own: &Value) -> Says {
    let (Some(named), Some(own)) = (named.as_object(), own.as_object()) else {
        return Says::Otherwise;
    };
    let same = |(name, value): (&String, &Value)| match (name.as_str(), own.get(name)) {
        ("constraints", Some(own)) => same_constraints(value, own),
        (_, own) => own == Some(value),
    };
    if named.len() == own.len() && named.iter().all(same) {
        Says::TheSame
    } else {
        Says::Otherwise
    }
}

fn same_constraints(named: &Value, own: &Value) -> bool {
    let (Some(named), Some(own)) = (named.as_object(), own.as_object()) else {
        return false;
    };
    let same = |(path, value): (&String, &Value)| {
        own.get(path)
            .is_some_and(|own| own == value || is_filled(value, own))
    };
    named.len() == own.len() && named.iter().all(same)
}

/// Says whether `named` is the constraint `own`, in which a parameter stands that nobody gave, with some value in its place.
fn is_filled(named: &Value, own: &Value) -> bool {
    let (Some(named), Some(own)) = (named.as_object(), own.as_object()) else {
        return false;
    };
    let open = |(name, value): (&String, &Value)| *value == Value::Null && named.contains_key(name);
    named.len() == own.len() && own.len() == 1 && own.iter().all(open)
}

fn typed(members: &Members) -> Result<(), WantedProblem> {
    let kind = members.get("type").and_then(Value::as_str);
    match kind == Some(AUTHORIZATION_DETAIL_TYPE) {
        true => Ok(()),
        false => Err(WantedProblem::NotDetail),
    }
}

/// Refuses values that bound no task.
fn check_whole(members: &Members) -> Result<(), WantedProblem> {
    for number in ["version", "calls_max", "form"] {
        count(members, number)?;
    }
    one_of(members, "containment", &["required", "optional"])?;
    one_of(members, "approver", &["anyone", "another_person"])?;
    one_of(members, "binding", &["mtls", "dpop", "bearer"])?;
    one_of(members, "bearer", &["nothing", "reads", "acts"])?;
    given(members, "purpose", |it| it.as_str().map(drop))?;
    given(members, "may_emit", |it| labels(it).map(drop))?;
    given(members, "delegation", |it| {
        let members = it.as_object()?;
        let known = |it: &String| ["agents", "depth_max"].contains(&it.as_str());
        let depth = members.get("depth_max")?.as_integer()?;
        u8::try_from(depth).ok()?;
        let agents = members.get("agents")?.as_array()?;
        names::<AgentName>(agents)?;
        members.keys().all(known).then_some(())
    })
}

/// Refuses values that bound nothing at a server.
fn check_server(members: &Members) -> Result<(), WantedProblem> {
    let unknown = |it: &&String| !BOUNDS_OF_SERVER.contains(&it.as_str());
    if let Some(unknown) = members.keys().find(unknown) {
        return Err(WantedProblem::Unknown(unknown.chars().take(64).collect()));
    }
    name::<ambit_core::ServerName>(members, "server")?;
    count(members, "calls_max")?;
    one_of(members, "mode", &Mode::ALL.map(Mode::as_str))?;
    one_of(members, "approval", &["free", "held"])?;
    given(members, "actions", |it| names::<ToolName>(it.as_array()?))?;
    given(members, "datatypes", |it| {
        let known = |it: &Value| {
            ["tools", "resources", "prompts"]
                .map(Value::from)
                .contains(it)
        };
        it.as_array()?.iter().all(known).then_some(())
    })?;
    match members.get("constraints") {
        None => Ok(()),
        Some(value) => Ok(constraints(value).map(drop)?),
    }
}

fn one_of(members: &Members, key: &'static str, words: &[&str]) -> Result<(), WantedProblem> {
    given(members, key, |it| {
        let word = it.as_str()?;
        words.contains(&word).then_some(())
    })
}

/// Reads a member where it is given.
fn given(
    members: &Members,
    key: &'static str,
    read: impl Fn(&Value) -> Option<()>,
) -> Result<(), WantedProblem> {
    match members.get(key) {
        None => Ok(()),
        Some(value) => read(value).ok_or(WantedProblem::Invalid(key)),
    }
}

fn names<T: std::str::FromStr>(list: &[Value]) -> Option<()> {
    let is_name = |it: &Value| it.as_str().is_some_and(|it| it.parse::<T>().is_ok());
    list.iter().all(is_name).then_some(())
}

impl From<PartProblem> for WantedProblem {
    fn from(problem: PartProblem) -> Self {
        match problem {
            PartProblem::Invalid(member) => Self::Invalid(member),
            other @ (PartProblem::NotDetails
            | PartProblem::Empty
            | PartProblem::TooLong
            | PartProblem::Unknown(_)
            | PartProblem::Constraint(_)
            | PartProblem::NotOfToken(_)
            | PartProblem::Beyond(_)
            | PartProblem::Twice(_)) => Self::Constraint(other),
        }
    }
}
