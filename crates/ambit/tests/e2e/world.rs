//! A whole server as its users run it: `ambit dev` over an estate, in a directory of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use tempfile::TempDir;

/// A server in a process of its own, with its upstream.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) upstream: Upstream,
    /// Where health is told.
    pub(crate) health: SocketAddr,
    server: Child,
    user: Option<u32>,
    /// How many files it may have open, when that is limited.
    files: Option<u32>,
    /// How the server is started, such as `dev DIR`.
    arguments: Vec<String>,
}

/// A small MCP server that counts what reaches it and remembers the headers that came along.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    /// How often its tool was called.
    pub(crate) calls: Arc<AtomicU64>,
    /// Whether it ends the connection instead of answering a call.
    pub(crate) silent: Arc<AtomicBool>,
}

impl World {
    /// Starts a server for the local user `user`, or for whoever runs the tests.
    pub(crate) fn start(user: Option<u32>) -> Self {
        let (directory, upstream) = prepared();
        let root = directory.path();
        if let Some(user) = user {
            hand_over(root, user);
        }
        let estate = root.join("estate").display().to_string();
        Self::start_as(directory, upstream, user, vec!["dev".to_owned(), estate])
    }

    /// Starts a server with a configuration, whose control socket is open to `group`. `prepare` makes the estate fit.
    pub(crate) fn start_shared(group: Option<u32>, prepare: impl FnOnce(&Path)) -> Self {
        let group = group.map_or(String::new(), |it| format!("control_group = {it}\n"));
        Self::start_configured("people.example", &group, prepare)
    }

    /// Starts a server of `trust_domain` with a configuration: `more` goes on within `[doors]`.
    pub(crate) fn start_configured(
        trust_domain: &str,
        more: &str,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let (directory, upstream) = prepared();
        let root = directory.path();
        fs::create_dir(root.join("people")).unwrap();
        prepare(root);
        let settings = format!(
            "trust_domain = \"{trust_domain}\"\nestate = \"{}\"\n\n[doors]\ngateway = \"127.0.0.1:0\"\n\
             health = \"127.0.0.1:0\"\ncontrol = \"{}\"\n{more}",
            root.join("estate").display(),
            root.join("people/control.sock").display(),
        );
        let config = root.join("ambit.toml");
        fs::write(&config, settings).unwrap();
        let arguments = ["serve", "--config", config.to_str().unwrap()];
        let arguments = arguments.map(str::to_owned).to_vec();
        let link = root.join("state/control.sock");
        let world = Self::start_as(directory, upstream, None, arguments);
        let socket = world.directory.path().join("people/control.sock");
        std::os::unix::fs::symlink(socket, link).unwrap();
        world
    }

    fn start_as(
        directory: TempDir,
        upstream: Upstream,
        user: Option<u32>,
        arguments: Vec<String>,
    ) -> Self {
        let (server, health) = serve(directory.path(), (user, None), &arguments).unwrap();
        Self {
            files: None,
            arguments,
            directory,
            upstream,
            health,
            server,
            user,
        }
    }

    /// Stops the server, as an operator would.
    pub(crate) fn stop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.server.wait().unwrap().success());
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts the server again, which may have so many files open.
    pub(crate) fn start_again_with_files(&mut self, files: u32) -> Result<(), String> {
        self.stop();
        self.files = Some(files);
        self.start_again()
    }

    /// Starts the server again, or returns what it said instead.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let limits = (self.user, self.files);
        (self.server, self.health) = serve(self.directory.path(), limits, &self.arguments)?;
        Ok(())
    }

    /// Runs a server that must not come to serve.
    pub(crate) fn serve_once(&self) -> Output {
        let mut command = Command::new("timeout");
        command.arg("30").arg(env!("CARGO_BIN_EXE_ambit"));
        command.arg("--state").arg(self.state());
        command.args(&self.arguments).output().unwrap()
    }

    /// Returns what the server complained of since it was started.
    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(self.directory.path().join("server.err")).unwrap()
    }

    /// Returns the state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Returns `ambit ARGUMENTS`, ready to be run in the working directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = as_user(self.user, Path::new(env!("CARGO_BIN_EXE_ambit")));
        // By the environment, as it is meant for commands that need no state, too.
        command.env("AMBIT_STATE", self.state()).args(arguments);
        // A runner that is killed leaves its directory; this one is removed with the world.
        command.env("TMPDIR", self.directory.path());
        command.current_dir(self.directory.path().join("work"));
        command
    }

    /// Runs `ambit ARGUMENTS`.
    pub(crate) fn ambit(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Returns the command that runs `words` inside a task, with `options` of the runner.
    pub(crate) fn run(&self, options: &[&str], words: &[&str]) -> Command {
        let run = ["run", "--quiet", "--task", "look", "--for", "reader"];
        self.command(&[&run[..], options, &["--"], words].concat())
    }

    /// Seals `secret` under `name`, as an operator would.
    pub(crate) fn seal(&self, name: &str, secret: &str) {
        let mut sealing = self.command(&["secret", "set", name]);
        let mut sealing = sealing
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        sealing
            .stdin
            .take()
            .unwrap()
            .write_all(secret.as_bytes())
            .unwrap();
        assert!(sealing.wait().unwrap().success());
    }

    /// Runs `script` by a shell inside a task, and returns what it printed and its exit code.
    pub(crate) fn inside(&self, script: &str) -> (String, i32) {
        let contained = ["--containment", "namespaces"];
        let output = self
            .run(&contained, &["sh", "-c", script])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            String::from_utf8_lossy(&text).into_owned(),
            output.status.code().unwrap_or(-1),
        )
    }

    /// Returns the identifier of the server's process.
    pub(crate) fn server_process(&self) -> u32 {
        self.server.id()
    }
}

/// Starts the server in `root` and waits until all of its doors are open.
fn serve(
    root: &Path,
    (user, files): (Option<u32>, Option<u32>),
    arguments: &[String],
) -> Result<(Child, SocketAddr), String> {
    let program = Path::new(env!("CARGO_BIN_EXE_ambit"));
    let mut command = match files {
        None => as_user(user, program),
        Some(files) => {
            let mut command = as_user(user, Path::new("sh"));
            command.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]);
            command.arg(files.to_string()).arg(program);
            command
        }
    };
    command
        .arg("--state")
        .arg(root.join("state"))
        .args(arguments);
    let complaints = root.join("server.err");
    let mut server = command
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&complaints).unwrap())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let health = lines.filter_map(|line| line.trim().strip_prefix("health").map(str::to_owned));
    let health = health.map(|line| line.trim().replace("http://", "").replace("/healthz", ""));
    if let Some(health) = health.take(1).last() {
        return Ok((server, health.parse().unwrap()));
    }
    server.wait().unwrap();
    Err(fs::read_to_string(complaints).unwrap())
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self {
            address,
            heads: Arc::default(),
            calls: Arc::default(),
            silent: Arc::default(),
        };
        let kept = upstream.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                thread::spawn(move || talk(&mut stream.unwrap(), &kept));
            }
        });
        upstream
    }
}

/// The one tool's definition, as the server shows it and the estate pins it.
pub(crate) const TOOL: &str = r#"{"description":"Returns a note.","inputSchema":{"additionalProperties":false,"properties":{},"type":"object"},"name":"note"}"#;

fn talk(stream: &mut std::net::TcpStream, upstream: &Upstream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:")?
                .trim()
                .parse::<usize>()
                .ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        upstream.heads.lock().unwrap().push(head);
        let body = String::from_utf8(body).unwrap();
        let is_call = body.contains("\"tools/call\"");
        upstream.calls.fetch_add(is_call.into(), Ordering::SeqCst);
        if is_call && upstream.silent.load(Ordering::SeqCst) {
            return;
        }
        let answer = answer(&body);
        let status = if answer.is_empty() {
            "202 Accepted"
        } else {
            "200 OK"
        };
        let length = answer.len();
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        stream.write_all(text.as_bytes()).unwrap();
    }
}

fn answer(body: &str) -> String {
    let message = ambit_core::json::parse(body.as_bytes()).unwrap();
    let Some(id) = message.get("id") else {
        return String::new();
    };
    let id = id.to_canonical();
    let result = match message.get("method").and_then(ambit_core::json::Value::as_str) {
        Some("initialize") => r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"notes","version":"1"}}"#.to_owned(),
        Some("tools/list") => format!("{{\"tools\":[{TOOL}]}}"),
        Some("tools/call") => r#"{"content":[{"type":"text","text":"the note itself"}]}"#.to_owned(),
        _ => {
            return format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"no\"}}}}"
            );
        }
    };
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

/// Returns a directory with an estate and a place to work, and the server that the estate names.
fn prepared() -> (tempfile::TempDir, Upstream) {
    let directory = tempfile::Builder::new()
        .prefix("ambit-test-")
        .tempdir()
        .unwrap();
    let upstream = Upstream::start();
    write_estate(&directory.path().join("estate"), &upstream);
    fs::create_dir(directory.path().join("work")).unwrap();
    (directory, upstream)
}

fn write_estate(root: &Path, upstream: &Upstream) {
    let tool = ambit_core::json::parse(TOOL.as_bytes()).unwrap();
    let pin = ambit_core::estate::Tool::pin_of(&tool);
    let files = [
        (
            "estate.toml",
            "[people.ada]\nroles = [\"starter\", \"administrator\"]\n".to_owned(),
        ),
        (
            "agents/reader.toml",
            "owner = \"ada\"\npurpose = \"Reads notes\"\nrisk = \"low\"\nenvironment = \"test\"\n\
             review_by = \"2030-01-01\"\ntemplates = [\"look\"]\n"
                .to_owned(),
        ),
        (
            "servers/notes.toml",
            format!(
                "owner = \"ada\"\nenvironment = \"test\"\n\n[http]\nurl = \"http://{}/mcp\"\n\
                 credential = {{ secret = \"notes-token\" }}\n\n\
                 [tools.note]\nmode = \"read\"\neffect = \"none\"\nresult_trust = \"owner_record\"\n\
                 digest = \"{pin}\"\n",
                upstream.address
            ),
        ),
        (
            "servers/notes.tools.json",
            format!("{{\"tools\":[{TOOL}]}}"),
        ),
        (
            "templates/look.toml",
            "version = 1\nowner = \"ada\"\npurpose = \"Look at notes\"\nreads = [\"notes\"]\n\
             calls_max = 20\nttl = \"10m\"\nstarters = \"any_starter\"\napprover = \"anyone\"\n\
             containment = \"required\"\n"
                .to_owned(),
        ),
    ];
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn hand_over(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            hand_over(&entry.unwrap().path(), user);
        }
    }
}

fn as_user(user: Option<u32>, program: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user).gid(user).env("HOME", "/nonexistent");
    }
    command
}
