//! The guides, followed as written: a reader types what they show, in order, and each command must do what it says.
//!
//! A block of `sh` is typed line by line. A block that begins with a comment naming a file is saved as that file.
//! `apr_…`, `task_…`, `dec_…` stand for the last such name that was printed. `# exit code N` says that a command
//! ends with N; where nothing is said, with 0. `# … WORDS` says what it prints, among other things.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use ambit_core::json::{self, Value};
use tempfile::TempDir;

use super::{
    consent::CHROMIUM,
    provider::modules,
    world::{judge, succeed, tool, tools, workspace},
};

/// What no test can type, and why.
const LEFT_OUT: [(&str, &str); 4] = [
    ("cargo run --release -- demo", "the demo's own test runs it"),
    ("cargo xtask test", "it is what runs this test"),
    (
        "sudo -u ben",
        "it needs a second user of the machine; the clients' test has two",
    ),
    ("systemctl daemon-reload", "there is no systemd in a test"),
];

/// The files that a reader writes outside of their home, and the ports of a server: a test has its own.
const ELSEWHERE: [(&str, &str); 10] = [
    // Whoever runs the test is the service's user, too.
    ("sudo -u ambit ", ""),
    ("/run/ambit", "{root}/run"),
    ("/etc/systemd/system", "{root}/systemd"),
    ("/etc/ambit", "{root}/etc"),
    ("/var/lib/ambit", "{root}/state"),
    ("/srv/other-disk", "{root}/other-disk"),
    ("/usr/bin/ambit", "ambit"),
    ("127.0.0.1:7420", "127.0.0.1:0"),
    ("127.0.0.1:7421", "127.0.0.1:0"),
    ("127.0.0.1:7422", "127.0.0.1:0"),
];

/// Somebody who follows guides, at a terminal of their own.
#[derive(Debug)]
struct Reader {
    root: TempDir,
    here: PathBuf,
    said: String,
    server: Option<Beside>,
    agents: Vec<Beside>,
}

/// A command that goes on while the reader types the next ones.
#[derive(Debug)]
struct Beside {
    process: Child,
    output: BufReader<ChildStdout>,
    /// What it says before it ends.
    last_words: &'static str,
}

/// What a guide has its reader do.
#[derive(Debug, PartialEq)]
enum Step {
    Type(String),
    Save { path: String, text: String },
}

#[test]
fn the_guides_of_the_workshop_work_as_written() {
    let mut reader = Reader::new();
    for guide in [
        "docs/guides/try-the-workshop.md",
        "docs/guides/run-an-agent.md",
        "docs/guides/approve-and-revoke.md",
        "docs/guides/verify-the-log.md",
        "README.md",
    ] {
        reader.follow(guide);
    }
}

#[test]
fn the_pages_of_concepts_work_as_written() {
    let mut reader = Reader::new();
    for page in [
        "docs/concepts/task-and-authority.md",
        "docs/concepts/the-one-path.md",
        "docs/concepts/labels.md",
        "docs/concepts/approvals.md",
        "docs/concepts/the-log.md",
        "docs/concepts/containment.md",
    ] {
        reader.follow(page);
    }
}

#[test]
fn the_guide_to_an_estate_works_as_written() {
    Reader::new().follow("docs/guides/write-an-estate.md");
}

#[test]
fn the_guide_to_delegation_works_as_written() {
    let mut reader = Reader::new();
    // Its agents act in a copy of the workshop.
    reader.follow("docs/guides/try-the-workshop.md");
    reader.follow("docs/guides/delegation.md");
}

#[test]
fn the_guide_for_operators_works_as_written() {
    Reader::new().follow("docs/guides/operate-a-server.md");
}

#[test]
fn the_guide_to_identities_works_as_written() {
    let mut reader = Reader::new();
    // Its agents act in the workshop.
    reader.follow("docs/guides/try-the-workshop.md");
    reader.follow("docs/guides/identity.md");
}

#[test]
fn the_guide_to_people_works_as_written() {
    Reader::new().follow("docs/guides/people.md");
}

/// Whoever writes a guide adds it to the tests above.
#[test]
fn every_guide_is_followed() {
    let this = include_str!("docs.rs");
    for guide in guides() {
        assert!(
            this.contains(&format!("\"{guide}\"")),
            "nobody follows {guide}"
        );
    }
}

/// What the prose calls a command is one: `ambit` and up to two words of it, as far as they are plain.
#[test]
fn every_command_in_prose_exists() {
    let mut documents = guides();
    documents
        .extend(["README.md", "SECURITY.md", "GLOSSARY.md", "CHANGELOG.md"].map(str::to_owned));
    for document in documents {
        let text = fs::read_to_string(workspace().join(&document)).unwrap();
        for quoted in text.split('`').filter_map(|it| it.strip_prefix("ambit ")) {
            let plain = |it: &&str| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
            let words: Vec<&str> = quoted.split(' ').take_while(plain).take(2).collect();
            let words = words.into_iter().take_while(|it| !it.starts_with('-'));
            let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
            command.args(words).arg("--help");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{document}: `ambit {quoted}`");
        }
    }
}

#[test]
fn a_guide_is_read_as_its_reader_reads_it() {
    let guide = "# T\n```sh\nls   # look\n\nrun a \\\n    b\n```\nx\n```toml\n# a/b.toml\nc = 1\n```\n```toml\nd = 2\n```\n";
    let wanted = [
        Step::Type("ls   # look".to_owned()),
        Step::Type("run a     b".to_owned()),
        Step::Save {
            path: "a/b.toml".to_owned(),
            text: "# a/b.toml\nc = 1\n".to_owned(),
        },
    ];
    assert_eq!(steps(guide), wanted);
}

impl Reader {
    fn new() -> Self {
        let root = tempfile::Builder::new().prefix("ambit-").tempdir().unwrap();
        for folder in ["home", "etc", "systemd", "other-disk", "run"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        // A service's state is its own, as StateDirectoryMode=0700 has it.
        let mut builder = fs::DirBuilder::new();
        builder
            .mode(0o700)
            .create(root.path().join("state"))
            .unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path(), mode).unwrap();
        Self {
            root,
            here: workspace(),
            said: String::new(),
            server: None,
            agents: Vec::new(),
        }
    }

    fn follow(&mut self, guide: &str) {
        let text = fs::read_to_string(workspace().join(guide)).unwrap();
        self.here = workspace();
        for step in steps(&text) {
            match step {
                Step::Type(line) => self.type_in(guide, &line),
                Step::Save { path, text } => {
                    let path = self.here.join(self.own(&path));
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, self.own(&text)).unwrap();
                }
            }
        }
        assert!(self.agents.is_empty(), "{guide} leaves an agent waiting");
    }

    fn type_in(&mut self, guide: &str, line: &str) {
        if LEFT_OUT.iter().any(|(begin, _)| line.starts_with(begin)) {
            return;
        }
        let line = self.own(&self.filled(guide, line));
        let (command, comment) = line.split_once(" # ").unwrap_or((&line, ""));
        let code = comment
            .split_once("exit code ")
            .map_or(0, |(_, code)| code.trim().parse().unwrap());
        if command.starts_with("ambit recover") {
            // What its guide says has come about: the mark is lost.
            fs::remove_file(self.root.path().join("other-disk/ambit-mark")).unwrap();
        }
        match command.split_whitespace().collect::<Vec<_>>()[..] {
            ["ambit", "dev" | "serve", ..] => self.serve(guide, command),
            ["systemctl", "start", "ambit"] => self.serve(guide, &self.service()),
            ["systemctl", "stop", "ambit"] => self.server = None,
            ["ambit", "run", ..] => self.run_agent(guide, command, code),
            _ if command.contains(" browser.py ") => self.consent(guide, command),
            _ => {
                let output = self.shell(command).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(output.status.code(), Some(code), "{guide}: {line}\n{text}");
                if let Some(words) = comment.trim().strip_prefix("… ") {
                    assert!(text.contains(words), "{guide}: {line}\n{text}");
                }
                self.said.push_str(&text);
                self.here = PathBuf::from(self.read(".here").trim());
            }
        }
        let frees = [
            "ambit approvals approve",
            "ambit approvals deny",
            "ambit revoke",
            "ambit task end",
        ];
        if code == 0 && frees.iter().any(|it| command.starts_with(it)) {
            self.see_agents_end(guide);
        }
    }

    /// Starts a server in the terminal where the last one ran.
    fn serve(&mut self, guide: &str, command: &str) {
        self.server = None;
        let mut server = Beside::start(self.shell(&format!("exec {command}")));
        let text = server.read_until("Ambit serves.");
        assert!(text.contains("Ambit serves."), "{guide}: {command}\n{text}");
        self.server = Some(server);
    }

    /// Runs an agent to its end, or until it waits for a person.
    fn run_agent(&mut self, guide: &str, command: &str, code: i32) {
        let mut agent = Beside::start(self.shell(&format!("exec {command}")));
        let text = agent.read_until("approval_required");
        self.said.push_str(&text);
        if text.contains("approval_required") {
            self.agents.push(agent);
            return;
        }
        let status = agent.process.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{guide}: {command}\n{text}");
    }

    /// Starts a client that sends its person to a browser, and is that person: with the last link that was printed they
    /// register a passkey, sign in, and start the task.
    fn consent(&mut self, guide: &str, command: &str) {
        let mut client = Beside::start(self.shell(&format!("exec env {command}")));
        let text = client.read_until("/oauth/authorize?");
        let word = |text: &str, part: &str| {
            let mut words = text.split_whitespace().rev();
            let found = words.find(|it| it.contains(part)).map(str::to_owned);
            found.unwrap_or_else(|| panic!("{guide}: nothing printed {part}: {text}"))
        };
        let link = word(&self.said, "/enroll?code=");
        let asked = Value::object([
            ("modules", modules().to_str().unwrap().into()),
            ("chromium", CHROMIUM.into()),
            (
                "shots",
                workspace().join("target/guide").to_str().unwrap().into(),
            ),
            ("issuer", link.split("/enroll").next().unwrap().into()),
            ("address", word(&text, "/oauth/authorize?").into()),
            ("link", link.into()),
        ]);
        let path = self.root.path().join("asked.json");
        fs::write(&path, asked.to_canonical()).unwrap();
        let mut node = Command::new(tool("node"));
        let output = node.arg(judge("browser/guide.mjs")).arg(path).output();
        let told = succeed(&output.unwrap(), &["guide.mjs"]);
        let told = json::parse(told.trim().as_bytes()).unwrap();
        assert!(told.get("error").is_none(), "{guide}: {told:?}");
        for name in ["violations", "strangers", "complaints"] {
            assert_eq!(told.get(name).unwrap().to_canonical(), "[]", "{name}");
        }
        // It is of use until its task ends, and no longer.
        let listed = client.read_until("[FILE]");
        assert!(listed.contains("[FILE]"), "{guide}: {command}: {listed}");
        client.last_words = "task_ended";
        self.agents.push(client);
    }

    fn see_agents_end(&mut self, guide: &str) {
        for mut agent in self.agents.drain(..) {
            let text = agent.read_until("no line has this");
            let status = agent.process.wait().unwrap();
            assert!(status.success(), "{guide}: the agent ended badly: {text}");
            let last_words = agent.last_words;
            assert!(text.contains(last_words), "{guide}: {last_words}: {text}");
            self.said.push_str(&text);
        }
    }

    /// Returns `command` for the reader's shell, which remembers where it is and what was exported.
    fn shell(&self, command: &str) -> Command {
        let here = self.here.display();
        let program = Path::new(env!("CARGO_BIN_EXE_ambit")).parent().unwrap();
        let program = program.display();
        let script = format!(
            "set -eu -o pipefail\nexec 2>&1\n[ ! -f ~/.exported ] || . ~/.exported\nPATH='{program}':$PATH\ncd '{here}'\n\
             {{ {command}\n}} || exit $?\nexport -p > ~/.exported\npwd > ~/.here\n"
        );
        let (kept, go) = (tools().join("cache"), tools().join("go-cache"));
        let mut bash = Command::new("bash");
        bash.args(["-c", &script])
            .env("HOME", self.root.path().join("home"))
            .env("npm_config_cache", kept.join("npm"))
            .env("PIP_CACHE_DIR", kept.join("pip"))
            .env("GOCACHE", go)
            .stdin(Stdio::null());
        for name in [
            "AMBIT_STATE",
            "AMBIT_CONTROL",
            "AMBIT_CONFIG",
            "XDG_STATE_HOME",
        ] {
            bash.env_remove(name);
        }
        bash
    }

    /// Puts the last name of each kind that was printed in the place of `KIND_…`.
    fn filled(&self, guide: &str, line: &str) -> String {
        let mut line = line.to_owned();
        for kind in ["apr_", "task_", "dec_", "inst_", "dlg_"] {
            let place = format!("{kind}…");
            if !line.contains(&place) {
                continue;
            }
            // A name begins with a digit; `task_ended` is a word.
            let printed = self.said.rmatch_indices(kind).find_map(|(at, _)| {
                let (_, rest) = self.said.split_at(at + kind.len());
                rest.starts_with(|it: char| it.is_ascii_digit())
                    .then_some(rest)
            });
            assert!(
                printed.is_some(),
                "{guide}: nothing printed a name for: {line}"
            );
            let rest = printed.unwrap();
            let end = rest.find(|it: char| !it.is_ascii_alphanumeric());
            let name = rest.split_at(end.unwrap_or(rest.len())).0;
            line = line.replace(&place, &format!("{kind}{name}"));
        }
        line
    }

    /// Returns `text` with the test's own places in it, and the test's own user.
    fn own(&self, text: &str) -> String {
        let root = self.root.path().display().to_string();
        let mut text = text.to_owned();
        for (there, here) in ELSEWHERE {
            text = text.replace(there, &here.replace("{root}", &root));
        }
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        text.replace("unix_uid = 1000", &format!("unix_uid = {uid}"))
            .replace("unix_uid = 1001", &format!("unix_uid = {}", uid + 1))
            .replace("control_group = 1004", &format!("control_group = {gid}"))
    }

    /// Returns the command of the service that the guide has its reader write.
    fn service(&self) -> String {
        let path = self.root.path().join("systemd/ambit.service");
        let text = fs::read_to_string(path).unwrap();
        let command = text.lines().find_map(|it| it.strip_prefix("ExecStart="));
        command.unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.path().join("home").join(name)).unwrap()
    }
}

impl Beside {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            output,
            last_words: "",
        }
    }

    /// Returns what the command prints, up to a line with `word` or to its end.
    fn read_until(&mut self, word: &str) -> String {
        let mut text = String::new();
        let mut line = Vec::new();
        while self.output.read_until(b'\n', &mut line).unwrap() > 0 {
            text.push_str(&String::from_utf8_lossy(&line));
            if text.contains(word) {
                break;
            }
            line.clear();
        }
        text
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.process);
        // It may have ended already.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let mut rest = Vec::new();
        let _ = self.output.read_to_end(&mut rest);
        let _ = self.process.wait();
    }
}

/// Returns the guides and the pages of concepts by their paths.
fn guides() -> Vec<String> {
    let pages = |folder: &'static str| {
        let listed = fs::read_dir(workspace().join(folder)).unwrap();
        let names = listed.map(|it| it.unwrap().file_name().into_string().unwrap());
        let pages = names.filter(|it| it.ends_with(".md"));
        pages.map(move |it| format!("{folder}/{it}"))
    };
    pages("docs/guides").chain(pages("docs/concepts")).collect()
}

/// Returns what `guide` has its reader do, in order.
fn steps(guide: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    // Every second part is the inside of a fence.
    for block in guide.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap();
        if language == "sh" {
            let joined = text.replace("\\\n", "");
            let lines = joined.lines().filter(|it| !it.trim().is_empty());
            steps.extend(lines.map(|it| Step::Type(it.to_owned())));
            continue;
        }
        let first = text.lines().next().unwrap_or_default();
        let comment = first.strip_prefix("# ").or(first.strip_prefix("// "));
        if let Some(path) = comment.filter(|it| it.contains('.') && !it.contains(' ')) {
            steps.push(Step::Save {
                path: path.to_owned(),
                text: format!("{text}\n"),
            });
        }
    }
    steps
}
