//! Facts: everything that a decision depends upon, normalised. The same facts give the same answer.
//!
//! No argument value, no secret and no name of a person is among them, so they can be kept for ever.

use std::borrow::Cow;

use ambit_core::{
    ApprovalId, Digest, Label, Labels, Timestamp,
    json::{INTEGER_MAX, Value},
};

use crate::{ApprovalState, entities::Who, vocabulary::ActAction};

/// The names of the facts that are words, in order. The schema lists what each can say.
pub(crate) const WORDS: [&str; 21] = [
    "task",
    "instance",
    "agent",
    "person",
    "server",
    "scope",
    "template",
    "containment",
    "binding",
    "proof",
    "server_grant",
    "environment",
    "registry",
    "grant",
    "pin",
    "arguments",
    "constraints",
    "endpoint",
    "hold",
    "provenance",
    "budget",
];

/// A word that is not written when it says what was always so before there was the word.
const UNWRITTEN: (&str, &str) = ("proof", "enough");

/// What one decision depends upon.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) at: Timestamp,
    pub(crate) action: ActAction,
    pub(crate) resource: Resource,
    pub(crate) who: Who,
    pub(crate) words: Words,
    /// The labels of everything that the task may have read.
    pub(crate) labels: Labels,
    /// The labels of what the act may return.
    pub(crate) charged: Labels,
    /// The labels that may leave with the task.
    pub(crate) may_emit: Labels,
    /// The calls left before this one.
    pub(crate) calls_left: u32,
    /// The bounds that arguments broke.
    pub(crate) broken: Vec<Broken>,
    /// Where in the tool's schema the arguments broke it.
    pub(crate) schema_path: Option<String>,
    /// The tool's definition as its owner accepted it.
    pub(crate) pinned: Option<Digest>,
    /// The tool's definition as the server showed it last.
    pub(crate) seen: Option<Digest>,
    pub(crate) approval: ApprovalState,
    pub(crate) fresh_approval: ApprovalId,
    /// When the task ends by itself.
    pub(crate) expires_at: Timestamp,
    /// The same act as if each task above had asked for it, the parent first.
    pub(crate) above: Vec<Self>,
    /// How long the sealed act is when it was not kept. Nothing is decided by it.
    pub(crate) unkept_bytes: Option<u64>,
}

/// The facts that are words.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Words([Cow<'static, str>; WORDS.len()]);

/// What the act touches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Resource {
    /// `SERVER/TOOL`, and the server.
    Tool(String, String),
    Server(String),
    /// `HOST:PORT`.
    Endpoint(String),
}

/// A bound of the task that an argument broke.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Broken {
    /// The path as the template writes it.
    pub(crate) path: String,
    /// The bound as the template writes it.
    pub(crate) clause: String,
}

impl Words {
    /// Returns the words; each of [`WORDS`] is filled by what `word` says for its name.
    pub(crate) fn by_name(word: impl Fn(&str) -> &'static str) -> Self {
        Self(WORDS.map(|name| Cow::Borrowed(word(name))))
    }

    /// Iterates over names and words.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        WORDS.into_iter().zip(self.0.iter().map(AsRef::as_ref))
    }

    /// Returns the word called `name`; nothing known is the empty word, which no policy accepts.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.iter()
            .find(|(own, _)| *own == name)
            .map_or("", |(_, word)| word)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let mut words = WORDS.map(Cow::Borrowed);
        for (name, word) in WORDS.into_iter().zip(words.iter_mut()) {
            *word = match members.get(name) {
                Some(written) => Cow::Owned(written.as_str()?.to_owned()),
                None if name == UNWRITTEN.0 => Cow::Borrowed(UNWRITTEN.1),
                None => return None,
            };
        }
        Some(Self(words))
    }
}

impl Facts {
    /// Returns the form that is recorded.
    pub(crate) fn to_value(&self) -> Value {
        let words = self.words.iter().filter(|it| *it != UNWRITTEN);
        let words = words.map(|(name, word)| (name, word.into()));
        let mut members = vec![
            ("kind", "act".into()),
            ("at", self.at.as_millis().into()),
            ("action", self.action.as_str().into()),
            ("resource", self.resource.to_value()),
            ("who", who_to_value(&self.who)),
            ("words", Value::object(words)),
            ("labels", labels_to_value(&self.labels)),
            ("charged", labels_to_value(&self.charged)),
            ("may_emit", labels_to_value(&self.may_emit)),
            ("calls_left", u64::from(self.calls_left).into()),
            ("approval", approval_to_value(self.approval)),
            ("fresh_approval", self.fresh_approval.to_string().into()),
            ("expires_at", self.expires_at.as_millis().into()),
        ];
        if !self.broken.is_empty() {
            members.push(("broken", self.broken.iter().map(Broken::to_value).collect()));
        }
        if let Some(bytes) = self.unkept_bytes {
            members.push(("unkept_bytes", bytes.into()));
        }
        if let Some(path) = &self.schema_path {
            members.push(("schema_path", path.as_str().into()));
        }
        if !self.above.is_empty() {
            members.push(("above", self.above.iter().map(Self::to_value).collect()));
        }
        for (name, digest) in [("pinned", self.pinned), ("seen", self.seen)] {
            if let Some(digest) = digest {
                members.push((name, digest.to_string().into()));
            }
        }
        Value::object(members)
    }

    /// Reads the recorded form; none when it is not exactly that.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        if value.get("kind")?.as_str()? != "act" {
            return None;
        }
        let facts = Self {
            at: time(value.get("at")?)?,
            action: ActAction::parse(value.get("action")?.as_str()?)?,
            resource: Resource::from_value(value.get("resource")?)?,
            who: who_from_value(value.get("who")?)?,
            words: Words::from_value(value.get("words")?)?,
            labels: labels(value.get("labels")?)?,
            charged: labels(value.get("charged")?)?,
            may_emit: labels(value.get("may_emit")?)?,
            calls_left: u32::try_from(value.get("calls_left")?.as_integer()?).ok()?,
            broken: match value.get("broken") {
                Some(list) => list
                    .as_array()?
                    .iter()
                    .map(Broken::from_value)
                    .collect::<Option<_>>()?,
                None => Vec::new(),
            },
            schema_path: value.get("schema_path").and_then(text),
            pinned: parsed(value.get("pinned"))?,
            seen: parsed(value.get("seen"))?,
            approval: approval_from_value(value.get("approval")?)?,
            fresh_approval: value.get("fresh_approval")?.as_str()?.parse().ok()?,
            expires_at: time(value.get("expires_at")?)?,
            above: match value.get("above") {
                Some(list) => list
                    .as_array()?
                    .iter()
                    .map(|it| Self::from_value(it).filter(|it| it.above.is_empty()))
                    .collect::<Option<_>>()?,
                None => Vec::new(),
            },
            unkept_bytes: match value.get("unkept_bytes") {
                Some(bytes) => Some(u64::try_from(bytes.as_integer()?).ok()?),
                None => None,
            },
        };
        // Whatever was not understood is missing here: refuse it rather than pass over it.
        (facts.to_value() == *value).then_some(facts)
    }
}

impl Resource {
    /// Returns the name as policies spell it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Tool(name, _) | Self::Server(name) | Self::Endpoint(name) => name,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Tool(tool, server) => Value::object([
                ("tool", tool.as_str().into()),
                ("server", server.as_str().into()),
            ]),
            Self::Server(server) => Value::object([("server", server.as_str().into())]),
            Self::Endpoint(endpoint) => Value::object([("endpoint", endpoint.as_str().into())]),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        let member = |name| value.get(name).and_then(text);
        match (member("tool"), member("server"), member("endpoint")) {
            (Some(tool), Some(server), None) => Some(Self::Tool(tool, server)),
            (None, Some(server), None) => Some(Self::Server(server)),
            (None, None, Some(endpoint)) => Some(Self::Endpoint(endpoint)),
            _ => None,
        }
    }
}

impl Broken {
    /// Returns the same bound without its words: those of a part are made of the delegator's values.
    pub(crate) fn of_part(self) -> Self {
        Self {
            clause: "within what was delegated".to_owned(),
            ..self
        }
    }

    fn to_value(&self) -> Value {
        Value::object([
            ("path", self.path.as_str().into()),
            ("clause", self.clause.as_str().into()),
        ])
    }

    fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            path: text(value.get("path")?)?,
            clause: text(value.get("clause")?)?,
        })
    }
}

fn who_to_value(who: &Who) -> Value {
    Value::object([
        ("task", who.task.to_string().into()),
        ("agent", who.agent.as_str().into()),
        ("template", who.template.as_str().into()),
        ("subject", who.subject.to_string().into()),
        ("contained", who.contained.as_str().into()),
    ])
}

fn who_from_value(value: &Value) -> Option<Who> {
    Some(Who {
        task: value.get("task")?.as_str()?.parse().ok()?,
        agent: value.get("agent")?.as_str()?.parse().ok()?,
        template: value.get("template")?.as_str()?.parse().ok()?,
        subject: value.get("subject")?.as_str()?.parse().ok()?,
        contained: text(value.get("contained")?)?,
    })
}

fn approval_to_value(approval: ApprovalState) -> Value {
    let state = |word: &'static str| ("state", Value::from(word));
    let id = |approval: ApprovalId| ("approval", Value::from(approval.to_string()));
    match approval {
        ApprovalState::None => Value::object([state("none")]),
        ApprovalState::Pending {
            approval,
            expires_at,
        } => {
            let until = ("until", expires_at.as_millis().into());
            Value::object([state("pending"), id(approval), until])
        }
        ApprovalState::Approved { approval, until } => {
            let until = ("until", until.as_millis().into());
            Value::object([state("approved"), id(approval), until])
        }
        ApprovalState::Refused { approval } => Value::object([state("refused"), id(approval)]),
        ApprovalState::Void { approval } => Value::object([state("void"), id(approval)]),
        ApprovalState::TooMany => Value::object([state("too_many")]),
    }
}

fn approval_from_value(value: &Value) -> Option<ApprovalState> {
    let approval = || value.get("approval")?.as_str()?.parse().ok();
    let until = || time(value.get("until")?);
    Some(match value.get("state")?.as_str()? {
        "none" => ApprovalState::None,
        "pending" => ApprovalState::Pending {
            approval: approval()?,
            expires_at: until()?,
        },
        "approved" => ApprovalState::Approved {
            approval: approval()?,
            until: until()?,
        },
        "refused" => ApprovalState::Refused {
            approval: approval()?,
        },
        "void" => ApprovalState::Void {
            approval: approval()?,
        },
        "too_many" => ApprovalState::TooMany,
        _ => return None,
    })
}

pub(crate) fn labels_to_value(labels: &Labels) -> Value {
    labels.iter().map(Label::as_str).collect()
}

fn labels(value: &Value) -> Option<Labels> {
    let read = value.as_array()?.iter().map(|it| it.as_str()?.parse().ok());
    Labels::new(read.collect::<Option<Vec<Label>>>()?).ok()
}

fn time(value: &Value) -> Option<Timestamp> {
    let millis = value
        .as_integer()
        .filter(|it| (0..=INTEGER_MAX).contains(it))?;
    Some(Timestamp::from_millis(u64::try_from(millis).ok()?))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Returns what is written: nothing is nothing, and nonsense is no reading at all.
fn parsed(value: Option<&Value>) -> Option<Option<Digest>> {
    match value {
        None => Some(None),
        Some(value) => value.as_str()?.parse().ok().map(Some),
    }
}
