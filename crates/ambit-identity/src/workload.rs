//! Processes on this machine, by what the kernel says of them.
//!
//! The door looks at the process while it holds it, so that nobody else can become it meanwhile; here is only
//! decided whose run it is.

use std::{collections::BTreeMap, fmt};

use ambit_core::{
    AgentName, Digest,
    estate::{Agent, Workload},
};

use crate::grounds::run_by_process;

/// What the kernel says of a process. Filled in by the door that holds the process, and by nothing else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProcessAttributes {
    /// The effective user when it connected.
    pub uid: u32,
    /// The effective group when it connected.
    pub gid: u32,
    /// Its number.
    pub pid: u32,
    /// The path of its executable, when it could be read.
    pub path: Option<String>,
    /// The digest over its executable, when it was asked for and could be read.
    pub sha256: Option<Digest>,
    /// The systemd unit that runs it, when one does.
    pub unit: Option<String>,
}

/// A process that is a run of one agent. Which run, and for which task, is not said here.
///
/// Made only by [`identify_workload`].
///
/// ```compile_fail,E0451
/// use ambit_identity::{AttestedWorkload, ProcessAttributes};
///
/// fn forge(agent: ambit_core::AgentName, seen: ProcessAttributes) {
///     let _ = AttestedWorkload { agent, seen, registration: todo!() };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AttestedWorkload {
    agent: AgentName,
    registration: Digest,
    seen: ProcessAttributes,
}

/// A process that is not a run of exactly one agent. For those who operate Ambit: the process itself may hear only
/// what it knows already.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnknownWorkload {
    /// No registration fits.
    #[error("no agent is registered for the process with {seen}; {}", hint(nearest.as_deref()))]
    Nobody {
        /// What was seen.
        seen: ProcessAttributes,
        /// The registration of which most attributes fit, when there is any.
        nearest: Option<Box<Nearest>>,
    },
    /// Registrations of several agents fit.
    #[error(
        "the process with {seen} fits {}; add an attribute to all but one of their registrations",
        names(agents)
    )]
    Several {
        /// What was seen.
        seen: ProcessAttributes,
        /// Whose registrations fit.
        agents: Vec<AgentName>,
    },
}

/// The registration that came nearest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nearest {
    /// Whose it is.
    pub agent: AgentName,
    /// Each attribute that did not fit: its name, what was registered, what was seen.
    pub misses: Vec<(&'static str, String, String)>,
    /// How many fitted.
    pub fitted: usize,
}

impl AttestedWorkload {
    /// Returns the agent of which the process is a run.
    pub const fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// Names the registration that it fits. See [`crate::Grounds`].
    pub const fn registration(&self) -> Digest {
        self.registration
    }

    /// Returns what was seen of it.
    pub const fn seen(&self) -> &ProcessAttributes {
        &self.seen
    }
}

/// Identifies the one agent whose registration the process fits: every attribute that it names is as seen.
///
/// # Errors
/// [`UnknownWorkload`] when no registration fits, or those of several agents do.
pub fn identify_workload(
    seen: ProcessAttributes,
    agents: &BTreeMap<AgentName, Agent>,
) -> Result<AttestedWorkload, UnknownWorkload> {
    let mut fitting: Vec<(AgentName, Digest)> = Vec::new();
    let mut nearest: Option<Nearest> = None;
    for (name, registration) in registrations(agents) {
        let misses = misses(registration, &seen);
        if misses.is_empty() {
            if fitting.last().is_none_or(|it| it.0 != *name) {
                fitting.push((name.clone(), run_by_process(registration, name)));
            }
            continue;
        }
        let fitted = registration.count().saturating_sub(misses.len());
        if nearest.as_ref().is_none_or(|it| it.fitted < fitted) {
            nearest = Some(Nearest {
                agent: name.clone(),
                misses,
                fitted,
            });
        }
    }
    let only = fitting.pop();
    match only {
        Some((agent, registration)) if fitting.is_empty() => Ok(AttestedWorkload {
            agent,
            registration,
            seen,
        }),
        Some(last) => {
            fitting.push(last);
            Err(UnknownWorkload::Several {
                seen,
                agents: fitting.into_iter().map(|it| it.0).collect(),
            })
        }
        None => Err(UnknownWorkload::Nobody {
            seen,
            nearest: nearest.map(Box::new),
        }),
    }
}

/// Whether the digest of the executable would decide anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DigestWanted {
    /// A registration that fits otherwise names one.
    Yes,
    /// No such registration: reading the executable would be for nothing.
    No,
}

/// Says whether the executable must be read to identify a process of which everything else was seen.
pub fn digest_wanted(
    seen: &ProcessAttributes,
    agents: &BTreeMap<AgentName, Agent>,
) -> DigestWanted {
    let decides = |it: &Workload| {
        it.sha256.is_some() && misses(it, seen).iter().all(|(name, ..)| *name == DIGEST)
    };
    if registrations(agents).any(|(_, it)| decides(it)) {
        return DigestWanted::Yes;
    }
    DigestWanted::No
}

fn registrations(
    agents: &BTreeMap<AgentName, Agent>,
) -> impl Iterator<Item = (&AgentName, &Workload)> {
    let of_agent = |(name, agent)| {
        let agent: &Agent = agent;
        agent.workloads.iter().map(move |it| (name, it))
    };
    agents.iter().flat_map(of_agent)
}

/// Returns each attribute that does not fit. One that could not be seen fits nothing.
fn misses(wanted: &Workload, seen: &ProcessAttributes) -> Vec<(&'static str, String, String)> {
    let mut misses = Vec::new();
    let mut compare = |name, wanted: Option<String>, seen: Option<String>| {
        if let Some(wanted) = wanted
            && seen.as_ref() != Some(&wanted)
        {
            misses.push((name, wanted, seen.unwrap_or_else(|| "not seen".to_owned())));
        }
    };
    let number = |it: u32| it.to_string();
    compare("uid", wanted.uid.map(number), Some(number(seen.uid)));
    compare("gid", wanted.gid.map(number), Some(number(seen.gid)));
    compare("path", wanted.path.clone(), seen.path.clone());
    let digest = |it: Digest| it.to_string();
    compare(DIGEST, wanted.sha256.map(digest), seen.sha256.map(digest));
    compare("unit", wanted.unit.clone(), seen.unit.clone());
    misses
}

const DIGEST: &str = "sha256";

/// Writes `uid 1, gid 1, pid 7, path /usr/bin/agent`.
impl fmt::Display for ProcessAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, pid, .. } = self;
        write!(f, "uid {uid}, gid {gid}, pid {pid}, path ")?;
        f.write_str(self.path.as_deref().unwrap_or("not readable"))?;
        if let Some(digest) = self.sha256 {
            write!(f, ", {digest}")?;
        }
        match &self.unit {
            Some(unit) => write!(f, ", unit {unit}"),
            None => Ok(()),
        }
    }
}

fn hint(nearest: Option<&Nearest>) -> String {
    let Some(nearest) = nearest else {
        return "write a `[[workload]]` into the agent's file and apply the estate".to_owned();
    };
    let misses = nearest.misses.iter();
    let misses: Vec<String> = misses
        .map(|(name, wanted, seen)| format!("{name} should be {wanted} and is {seen}"))
        .collect();
    format!(
        "nearest is agent `{}`: {}",
        nearest.agent,
        misses.join(", ")
    )
}

fn names(agents: &[AgentName]) -> String {
    let names: Vec<String> = agents.iter().map(|it| format!("agent `{it}`")).collect();
    names.join(" and ")
}
