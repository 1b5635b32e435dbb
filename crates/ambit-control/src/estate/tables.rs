//! `tests/NAME.toml`: decision tables beside the rules. They gate `apply`.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, Labels, Reason, TemplateName, act::Act, estate::Estate, json::Value, task::Contained,
};

use super::{
    Known,
    agents::parse_endpoint,
    document::{Field, Section, Source},
    files::{EstateFiles, Kind},
    problem::Problems,
};

/// The most cases of one estate.
pub const CASES_MAX: usize = 10_000;

/// The cases of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionTable {
    /// The file inside the estate.
    pub path: String,
    /// The cases, in the order of the file.
    pub cases: Vec<DecisionCase>,
}

/// One act of one task, and the answer that its author expects.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionCase {
    /// What the case shows, in words.
    pub name: String,
    /// Where it stands in its file, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The agent that acts.
    pub agent: AgentName,
    /// The template of its task.
    pub template: TemplateName,
    /// The parameters of its task.
    pub parameters: BTreeMap<String, Value>,
    /// The labels of what the task has read so far.
    pub labels: Labels,
    /// Whether the agent runs contained; when the file says nothing, it does.
    pub contained: Contained,
    /// How the agent proves itself: `mtls`, `dpop` or `bearer`; when the file says nothing, `mtls`.
    pub binding: &'static str,
    /// What it does.
    pub act: Act,
    /// The answer.
    pub expect: Expected,
    /// The reason for a hold or denial, when the author cares.
    pub reason: Option<Reason>,
}

/// An answer that somebody expects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// It may happen.
    Allow,
    /// A human is asked.
    Hold,
    /// It may not happen.
    Deny,
}

impl Expected {
    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

/// Reads the tables in the order of their paths.
pub(super) fn read(
    files: &EstateFiles,
    known: &Known<'_>,
    estate: &Estate,
    problems: &Problems,
) -> Vec<DecisionTable> {
    let mut tables = Vec::new();
    let mut count = 0;
    for (_, path, text) in files.of_kind(Kind::Table) {
        let source = Source::new(path, text, problems);
        let parsed = source.parse();
        let mut root = source.section(parsed.get_ref(), "a decision table");
        let cases = root.required("case", "[[case]]").and_then(|it| it.items());
        root.finish();
        let cases: Vec<DecisionCase> = cases
            .iter()
            .flatten()
            .filter_map(|it| case(it, known, estate))
            .collect();
        count += cases.len();
        if count > CASES_MAX {
            problems.add_whole(path, format!("an estate has at most {CASES_MAX} cases"));
            break;
        }
        tables.push(DecisionTable {
            path: path.to_owned(),
            cases,
        });
    }
    tables
}

fn case(field: &Field<'_>, known: &Known<'_>, estate: &Estate) -> Option<DecisionCase> {
    let mut section = field.section("a case")?;
    let name = section.required("name", r#"name = "what the case shows""#);
    let name = name.and_then(|it| it.words());
    let agent = section.required("agent", r#"agent = "NAME""#);
    let agent = agent.and_then(|it| it.one_of("agent", known.agents.iter().copied()));
    let template = section.required("template", r#"template = "NAME""#);
    let template = template.and_then(|it| it.one_of("template", known.templates.iter().copied()));
    let parameters = members(section.optional("parameters"));
    let labels = section.optional("labels");
    let labels = labels.map_or(Some(Labels::none()), |it| it.labels());
    let contained = section.optional("contained");
    let contained = contained.map_or(Some(Contained::Namespaces), |it| it.word(&CONTAINED));
    let binding = section.optional("binding");
    let binding = binding.map_or(Some("mtls"), |it| it.word(&BINDINGS));
    let act = act(&mut section, known, estate);
    let expect = section.required("expect", r#"expect = "deny""#);
    let expect = expect.and_then(|it| it.word(&EXPECTED));
    let reason = section.optional("reason");
    section.finish();
    let reason = match reason {
        Some(field) => Some(reason_of(&field)?),
        None => None,
    };
    let (line, column) = field.place();
    Some(DecisionCase {
        name: name?,
        line,
        column,
        agent: agent?.parse().ok()?,
        template: template?.parse().ok()?,
        parameters: parameters?,
        labels: labels?,
        contained: contained?,
        binding: binding?,
        act: act?,
        expect: expect?,
        reason,
    })
}

/// Reads `server` with `tool` and `arguments`, `server` with `resource`, or `connect`.
///
/// The tool need not be in the registry: that an unknown tool is denied is worth a case.
fn act(section: &mut Section<'_>, known: &Known<'_>, estate: &Estate) -> Option<Act> {
    let connect = section.optional("connect");
    let server_at = section.optional("server");
    let tool = section.optional("tool");
    let resource = section.optional("resource");
    let arguments = members(section.optional("arguments"));
    if let (Some(field), None, None, None) = (connect, server_at, tool, resource) {
        let Some(endpoint) = parse_endpoint(field.text()?) else {
            field.problem("write a host in lowercase and a port, such as `api.example.com:443`");
            return None;
        };
        return Some(Act::Connect {
            host: endpoint.host,
            port: endpoint.port,
        });
    }
    let (Some(server_at), None) = (server_at, connect) else {
        section.problem(ONE_ACT);
        return None;
    };
    let server = server_at.one_of("server", known.servers.iter().copied())?;
    let server = estate.servers.get(server)?.name.clone();
    match (tool, resource) {
        (Some(tool), None) => Some(Act::CallTool {
            server,
            tool: tool.parsed()?,
            arguments: Value::Object(arguments?),
        }),
        (None, Some(resource)) => Some(Act::ReadResource {
            server,
            uri: resource.text()?.to_owned(),
        }),
        (Some(_), Some(_)) | (None, None) => {
            section.problem(ONE_ACT);
            None
        }
    }
}

fn reason_of(field: &Field<'_>) -> Option<Reason> {
    let words: Vec<_> = Reason::ALL.iter().map(|it| (it.code(), *it)).collect();
    field.word(&words)
}

fn members(field: Option<Field<'_>>) -> Option<BTreeMap<String, Value>> {
    let Some(field) = field else {
        return Some(BTreeMap::new());
    };
    let member = |it: Field<'_>| Some((it.key.to_owned(), it.json()?));
    let section = field.section("these values")?;
    let read: Vec<Option<(String, Value)>> = section.fields().map(member).collect();
    read.into_iter().collect()
}

const EXPECTED: [(&str, Expected); 3] = [
    (Expected::Allow.as_str(), Expected::Allow),
    (Expected::Hold.as_str(), Expected::Hold),
    (Expected::Deny.as_str(), Expected::Deny),
];

const BINDINGS: [(&str, &str); 3] = [("mtls", "mtls"), ("dpop", "dpop"), ("bearer", "bearer")];

const CONTAINED: [(&str, Contained); 2] = [
    (Contained::Namespaces.as_str(), Contained::Namespaces),
    (Contained::None.as_str(), Contained::None),
];

const ONE_ACT: &str = "a case is one act: `server` with `tool` and `arguments`, `server` with `resource`, or `connect`";
