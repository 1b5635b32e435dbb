//! Real MCP servers, sandboxed, behind Ambit: what they may do is done, and nothing else.

use std::{fs, path::Path, process::Command};

use crate::{
    clients::Report,
    world::{Upstream, World, judge, succeed, tool},
};

/// One server: a call within its grant, one beyond, and a tool that the grant leaves out.
struct Case {
    server: &'static str,
    arguments: &'static [&'static str],
    environment: &'static str,
    grants: &'static str,
    tool: &'static str,
    within: &'static str,
    /// What it says, in the first era and in the second.
    says: [&'static str; 2],
    beyond: &'static str,
    left_out: &'static str,
}

#[test]
fn the_filesystem_server_writes_where_it_may() {
    let world = check(&Case {
        server: "filesystem",
        arguments: &["/data"],
        environment: "",
        grants: "[tools.filesystem.write_file]\narguments = { path = { path_under = \"/data/out\" } }\n",
        tool: "write_file",
        within: r#"{"path":"/data/out/new.txt","content":"written"}"#,
        says: ["Successfully wrote"; 2],
        beyond: r#"{"path":"/data/out/../note.txt","content":"overwritten"}"#,
        left_out: "move_file",
    });
    let read = |name: &str| fs::read_to_string(world.path("data").join(name)).unwrap();
    assert_eq!(read("out/new.txt"), "written");
    assert_eq!(read("note.txt"), "a note\n");
}

#[test]
fn the_git_server_stages_what_it_may() {
    let world = check(&Case {
        server: "git",
        arguments: &["--repository", "/data/repo"],
        environment: "",
        grants: "[tools.git.git_add.arguments]\nrepo_path = { one_of = [\"/data/repo\"] }\n\
            \"files[]\" = { one_of = [\"note.txt\"] }\n",
        tool: "git_add",
        within: r#"{"repo_path":"/data/repo","files":["note.txt"]}"#,
        // In the second era it is staged already.
        says: ["Files staged successfully", "No changes were staged"],
        beyond: r#"{"repo_path":"/data/repo","files":["note.txt","other.txt"]}"#,
        left_out: "git_commit",
    });
    let staged = git(
        &world.path("data/repo"),
        &["diff", "--cached", "--name-only"],
    );
    assert_eq!(staged, "note.txt\n");
}

#[test]
fn the_memory_server_remembers_what_it_may() {
    let world = check(&Case {
        server: "memory",
        arguments: &[],
        environment: "MEMORY_FILE_PATH = \"/data/memory.json\"",
        grants: "[tools.memory.create_entities.arguments]\n\"entities[].entityType\" = { one_of = [\"host\"] }\n",
        tool: "create_entities",
        within: r#"{"entities":[{"name":"alpha","entityType":"host","observations":["up"]}]}"#,
        // In the second era it is there already: nothing was created.
        says: ["\"name\": \"alpha\"", "[]"],
        beyond: r#"{"entities":[{"name":"beta","entityType":"key","observations":["kept"]}]}"#,
        left_out: "delete_entities",
    });
    let memory = fs::read_to_string(world.path("data/memory.json")).unwrap();
    assert!(
        memory.contains("alpha") && !memory.contains("beta"),
        "{memory}"
    );
}

#[test]
fn the_server_everything_says_what_it_may() {
    check(&Case {
        server: "everything",
        arguments: &["stdio"],
        environment: "",
        grants: "[tools.everything.echo]\narguments = { message = { one_of = [\"hello\"] } }\n",
        tool: "echo",
        within: r#"{"message":"hello"}"#,
        says: ["Echo: hello"; 2],
        beyond: r#"{"message":"goodbye"}"#,
        left_out: "get-env",
    });
}

/// Has the Python client make the three calls, in each era.
fn check(case: &Case) -> World {
    let upstream = Upstream::stdio(case.server, case.arguments, case.environment);
    let world = World::start_prepared(&[upstream], case.grants, |it| prepare(&it.path("data")));
    let (python, client) = (tool("python"), judge("clients/mcp_client.py"));
    for (era, says) in ["auto", "legacy"].into_iter().zip(case.says) {
        let arguments = [
            case.server,
            python.to_str().unwrap(),
            client.to_str().unwrap(),
            era,
            "allow",
            case.tool,
            case.within,
            "deny",
            case.tool,
            case.beyond,
            "allow",
            case.left_out,
            "{}",
        ];
        let output = world.run(CALLS, &arguments).output().unwrap();
        let text = succeed(&output, &arguments);
        let reports: Vec<Report> = text.lines().map(Report::read).collect();
        let [within, beyond, left_out] = reports.as_slice() else {
            panic!(
                "three reports: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        within.check(&[&[says]]);
        beyond.check(&[&["argument_out_of_bounds", "dec_"]]);
        let unlisted = left_out.error.as_deref().unwrap_or_default();
        assert!(
            unlisted.contains("tools/list lacks"),
            "{} in era {era}: {left_out:?}",
            case.left_out
        );
    }
    world
}

/// Makes several calls in one task, so that one server process sees them all.
const CALLS: &str = "url=${AMBIT_MCP_URL%/mcp}/s/$1/mcp; python=$2; client=$3; era=$4; shift 4; \
    while [ $# -gt 0 ]; do \
    \"$python\" \"$client\" \"$url\" \"$1\" --tool \"$2\" --arguments \"$3\" --era \"$era\" 2>/dev/null; \
    shift 3; done; true";

/// Puts files and a repository where the servers find them.
fn prepare(data: &Path) {
    fs::create_dir_all(data.join("out")).unwrap();
    fs::create_dir_all(data.join("repo")).unwrap();
    fs::write(data.join("note.txt"), "a note\n").unwrap();
    git(&data.join("repo"), &["init", "--quiet"]);
    for name in ["note.txt", "other.txt"] {
        fs::write(data.join("repo").join(name), name).unwrap();
    }
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(repository)
        .args(arguments)
        .output();
    succeed(&output.unwrap(), arguments)
}
