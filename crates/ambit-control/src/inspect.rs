//! Proposing a server's registry files from what the running server offers.
//!
//! Modes, effects and roles are guesses from names and annotations, each marked as such: annotations are the
//! server's own words, and only the owner's review makes them facts.

mod guess;

use ambit_core::{
    ToolName,
    estate::{
        CredentialPlacement, Mount, MountAccess, Role, Server, StdioLimits, StdioNetwork, Tool,
        Transport,
    },
    json::Value,
    limits::TOOLS_PER_SERVER_MAX,
};

use self::guess::{guess_effect, guess_mode, guess_role};

/// The files that the owner of a server reviews.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// `servers/NAME.toml`.
    pub toml: String,
    /// `servers/NAME.tools.json`.
    pub tools_json: String,
}

/// What a server offers can't be put in a registry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposeError {
    /// There are too many.
    #[error(
        "the server offers {0} tools, and a registry has at most {TOOLS_PER_SERVER_MAX}; split the server"
    )]
    TooMany(usize),
    /// A tool has no name, or one that MCP does not allow.
    #[error("the server offers a tool without a proper name: {0}")]
    Name(String),
    /// A tool has no schema of its arguments.
    #[error("the server offers `{0}` without an `inputSchema` object")]
    Schema(String),
    /// Two tools have one name.
    #[error("the server offers `{0}` twice")]
    Twice(String),
}

/// Proposes the registry files of `server` with `tools` as MCP `tools/list` returned them. What its owner said of
/// a tool whose definition is still the accepted one stays said.
pub fn propose(server: &Server, tools: &[Value]) -> Result<Proposal, ProposeError> {
    if tools.len() > TOOLS_PER_SERVER_MAX {
        return Err(ProposeError::TooMany(tools.len()));
    }
    let mut sorted: Vec<(&str, &Value)> = Vec::new();
    for tool in tools {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or("");
        let parsed: Result<ToolName, _> = name.parse();
        parsed.map_err(|it| ProposeError::Name(it.to_string()))?;
        if tool.get("inputSchema").and_then(Value::as_object).is_none() {
            return Err(ProposeError::Schema(name.to_owned()));
        }
        if sorted.iter().any(|(it, _)| *it == name) {
            return Err(ProposeError::Twice(name.to_owned()));
        }
        sorted.push((name, tool));
    }
    sorted.sort_by_key(|(name, _)| *name);
    let mut toml = head(server);
    for (name, definition) in &sorted {
        let accepted = server.tools.get(*name);
        toml.push_str(
            &match accepted.filter(|it| it.pin == Tool::pin_of(definition)) {
                Some(tool) => said(tool),
                None => guessed(name, definition, accepted.is_some()),
            },
        );
    }
    let definitions = sorted.into_iter().map(|(_, tool)| tool.clone());
    let all = Value::object([("tools", Value::Array(definitions.collect()))]);
    Ok(Proposal {
        toml,
        tools_json: pretty(&all),
    })
}

fn head(server: &Server) -> String {
    let mut text = format!(
        "owner = {}\nenvironment = {}\ncontent_labels = {}\ncontent_trust = \"{}\"\n",
        quoted(&server.owner),
        quoted(&server.environment),
        labels(&server.content_labels),
        server.content_trust.as_str()
    );
    match &server.transport {
        Transport::Http { url, credential } => {
            text.push_str(&format!("\n[http]\nurl = {}\n", quoted(url)));
            if let Some(credential) = credential {
                let header = match &credential.placement {
                    CredentialPlacement::Bearer => String::new(),
                    CredentialPlacement::Header(name) => format!(", header = {}", quoted(name)),
                };
                let secret = quoted(&credential.reference);
                text.push_str(&format!("credential = {{ secret = {secret}{header} }}\n"));
            }
        }
        Transport::Stdio {
            command,
            environment,
            mounts,
            network,
            limits,
        } => {
            let command: Vec<String> = command.iter().map(|it| quoted(it)).collect();
            let network = match network {
                StdioNetwork::None => "none",
                StdioNetwork::Host => "host",
            };
            text.push_str(&format!(
                "\n[stdio]\ncommand = [{}]\nnetwork = \"{network}\"\n",
                command.join(", ")
            ));
            let pair = |(name, it): (&String, &String)| format!("{} = {}", key(name), quoted(it));
            let pairs: Vec<String> = environment.iter().map(pair).collect();
            if !pairs.is_empty() {
                text.push_str(&format!("environment = {{ {} }}\n", pairs.join(", ")));
            }
            if *limits != StdioLimits::USUAL {
                text.push_str(&format!(
                    "limits = {{ memory_mib = {}, processes = {}, open_files = {} }}\n",
                    limits.memory_mib, limits.processes, limits.open_files
                ));
            }
            mounts.iter().for_each(|it| text.push_str(&mount(it)));
        }
    }
    text
}

fn mount(mount: &Mount) -> String {
    let access = match mount.access {
        MountAccess::ReadOnly => "read_only",
        MountAccess::ReadWrite => "read_write",
    };
    format!(
        "\n[[stdio.mounts]]\nsource = {}\ntarget = {}\naccess = \"{access}\"\n",
        quoted(&mount.source),
        quoted(&mount.target)
    )
}

/// Writes what the owner said of a tool that is still what it was.
fn said(tool: &Tool) -> String {
    let mut text = format!(
        "\n[tools.{}]\nmode = {:?}\neffect = {:?}\nresult_labels = {}\nresult_trust = {:?}\ndigest = \"{}\"\n",
        key(tool.name.as_str()),
        tool.mode.as_str(),
        tool.effect.as_str(),
        labels(&tool.result_labels),
        tool.result_trust.as_str(),
        tool.pin
    );
    text.push_str(&roles(
        tool.roles.iter().map(|(name, role)| (name.as_str(), *role)),
        "",
    ));
    text
}

/// Writes guesses for a tool that nobody has accepted in this form.
fn guessed(name: &str, definition: &Value, changed: bool) -> String {
    let mode = guess_mode(name, definition);
    let effect = guess_effect(mode, definition);
    let state = if changed {
        "changed since it was accepted"
    } else {
        "new"
    };
    let mut text = format!(
        "\n# {state}; guessed: review every line\n[tools.{}]\nmode = {:?} # guessed: review\neffect = {:?} # guessed: review\nresult_labels = [] # review: what may its results hold?\nresult_trust = \"third_party\"\ndigest = \"{}\"\n",
        key(name),
        mode.as_str(),
        effect.as_str(),
        Tool::pin_of(definition)
    );
    let properties = definition
        .get("inputSchema")
        .and_then(|it| it.get("properties")?.as_object());
    let guesses = properties
        .into_iter()
        .flatten()
        .filter_map(|(name, schema)| Some((name.as_str(), guess_role(name, schema, mode)?)));
    text.push_str(&roles(guesses, " # guessed: review"));
    text
}

fn roles<'a>(roles: impl Iterator<Item = (&'a str, Role)>, note: &str) -> String {
    let pairs: Vec<String> = roles
        .map(|(name, role)| format!("{} = {:?}", key(name), role.as_str()))
        .collect();
    if pairs.is_empty() {
        return String::new();
    }
    format!("roles = {{ {} }}{note}\n", pairs.join(", "))
}

fn labels(labels: &ambit_core::Labels) -> String {
    let texts: Vec<String> = labels
        .iter()
        .map(|it| format!("{:?}", it.as_str()))
        .collect();
    format!("[{}]", texts.join(", "))
}

/// Returns `name` as a TOML key.
pub(crate) fn key(name: &str) -> String {
    let is_bare = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Returns `text` as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns `value` as JSON with nothing hidden, as people keep it in git.
fn pretty(value: &Value) -> String {
    let mut text = crate::visible::visible_json(value);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ambit_core::json;

    use super::*;
    use crate::estate::EstateFiles;

    fn demo() -> EstateFiles {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        EstateFiles::collect(Path::new(dir)).unwrap()
    }

    fn tools(files: &EstateFiles, server: &str) -> Vec<Value> {
        let text = files.text(&format!("servers/{server}.tools.json")).unwrap();
        json::parse(text.as_bytes())
            .unwrap()
            .get("tools")
            .unwrap()
            .as_array()
            .unwrap()
            .to_vec()
    }

    #[test]
    fn a_proposal_is_a_sound_registry() {
        let files = demo();
        let mut server = files.load().unwrap().estate.servers["tickets"].clone();
        let kept = propose(&server, &tools(&files, "tickets")).unwrap();
        assert!(
            !kept.toml.contains("guessed"),
            "what was accepted stays: {}",
            kept.toml
        );
        server.tools.clear();
        let proposal = propose(&server, &tools(&files, "tickets")).unwrap();
        insta::assert_snapshot!(proposal.toml, @r#"
        owner = "ada"
        environment = "demo"
        content_labels = ["customer"]
        content_trust = "third_party"

        [http]
        url = "http://127.0.0.1:8931/mcp"

        # new; guessed: review every line
        [tools.close_ticket]
        mode = "write" # guessed: review
        effect = "reversible" # guessed: review
        result_labels = [] # review: what may its results hold?
        result_trust = "third_party"
        digest = "sha256:574105ca74695a01e405d66aa8aacb3eae2f3b830e24bc8d86ce3bbf91203496"
        roles = { id = "sel" } # guessed: review

        # new; guessed: review every line
        [tools.get_ticket]
        mode = "read" # guessed: review
        effect = "none" # guessed: review
        result_labels = [] # review: what may its results hold?
        result_trust = "third_party"
        digest = "sha256:7c4564a5113ac47b24cbbc6d53d86df509a55266a078a1e7283306dd05afafea"
        roles = { id = "sel" } # guessed: review

        # new; guessed: review every line
        [tools.list_tickets]
        mode = "read" # guessed: review
        effect = "none" # guessed: review
        result_labels = [] # review: what may its results hold?
        result_trust = "third_party"
        digest = "sha256:baf5473c9db59a98127aedb29ebc623691dc8a6079e89fa0193670f368369c16"

        # new; guessed: review every line
        [tools.refund]
        mode = "send" # guessed: review
        effect = "irreversible" # guessed: review
        result_labels = [] # review: what may its results hold?
        result_trust = "third_party"
        digest = "sha256:332ae3dbf22a6364743ba3ffad2a9e47b8df066a75e2359692cb6dabc9e1a2b7"
        roles = { amount_cents = "amt", ticket = "sel" } # guessed: review
        "#);
        for proposal in [kept, proposal] {
            let files = demo()
                .with_file("servers/tickets.toml", &proposal.toml)
                .with_file("servers/tickets.tools.json", &proposal.tools_json);
            assert_eq!(files.load().map(|_| ()), Ok(()));
        }
    }

    #[test]
    fn what_can_not_be_kept_is_refused() {
        let server = demo().load().unwrap().estate.servers["tickets"].clone();
        let tool = |name: &str| {
            json::parse(format!(r#"{{"name":"{name}","inputSchema":{{}}}}"#).as_bytes()).unwrap()
        };
        assert_eq!(
            propose(&server, &[tool("a"), tool("a")]),
            Err(ProposeError::Twice("a".to_owned()))
        );
        assert!(matches!(
            propose(&server, &[tool("a b")]),
            Err(ProposeError::Name(_))
        ));
        assert!(matches!(
            propose(&server, &[Value::object([("name", "a".into())])]),
            Err(ProposeError::Schema(_))
        ));
        let many: Vec<Value> = (0..=TOOLS_PER_SERVER_MAX)
            .map(|it| tool(&format!("t{it}")))
            .collect();
        assert!(propose(&server, &many[1..]).is_ok());
        assert_eq!(
            propose(&server, &many),
            Err(ProposeError::TooMany(TOOLS_PER_SERVER_MAX + 1))
        );
    }
}
