//! A whole Ambit as its users run it, with upstreams of others, set up by the commands that users type.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use ambit_core::json::{self, Value};
use tempfile::TempDir;

/// The one agent, and the one template, of every world.
pub(crate) const JUDGE: &str = "judge";
/// Stands for the world's data until there is a world.
const DATA: &str = "@data";
/// The local user of the estate's second person.
const SECOND_USER: u32 = 65_534;
/// Stands for the settings of a server that has none: `ambit dev`, whoever runs the tests.
const EMBEDDED: &str = "# of one user\n";

/// A server process over a state and an estate of its own.
#[derive(Debug)]
pub(crate) struct World {
    directory: TempDir,
    server: Child,
    doors: Doors,
}

/// Where a server says that it is.
#[derive(Debug)]
struct Doors {
    public: String,
    health: String,
}

/// An upstream of the estate, known by its transport alone: what it offers is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    name: &'static str,
    transport: String,
}

impl World {
    /// Starts a server, has it inspect each upstream, accepts what it found, and applies `grants`: the lines of the
    /// template that say what its tasks may do.
    pub(crate) fn start(upstreams: &[Upstream], grants: &str) -> Self {
        Self::start_prepared(upstreams, grants, |_| ())
    }

    /// Does the same, and has `prepare` do what the upstreams need before they are asked for their tools.
    pub(crate) fn start_prepared(
        upstreams: &[Upstream],
        grants: &str,
        prepare: impl FnOnce(&Self),
    ) -> Self {
        Self::start_configured("", upstreams, grants, prepare)
    }

    /// Does the same with `ambit dev`, to which its one user gives nothing but the estate.
    pub(crate) fn start_embedded(
        upstreams: &[Upstream],
        grants: &str,
        prepare: impl FnOnce(&Self),
    ) -> Self {
        Self::start_configured(EMBEDDED, upstreams, grants, prepare)
    }

    /// Does the same with more `settings` of the server.
    pub(crate) fn start_configured(
        settings: &str,
        upstreams: &[Upstream],
        grants: &str,
        prepare: impl FnOnce(&Self),
    ) -> Self {
        let directory = tempfile::Builder::new().prefix("ambit-").tempdir().unwrap();
        let root = directory.path();
        // The second person reaches the control socket, which is not in the state directory.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["people", "work", "data"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        write_estate(&root.join("estate"), upstreams);
        fs::write(root.join("settings.toml"), settings).unwrap();
        let (server, doors) = spawn(root);
        let world = Self {
            directory,
            server,
            doors,
        };
        prepare(&world);
        for upstream in upstreams {
            world.accept_tools(upstream.name);
        }
        world.grant(grants);
        world
    }

    /// Adds `grants` to the template and applies the estate.
    pub(crate) fn grant(&self, grants: &str) {
        let path = self.path("estate/templates/judge.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + grants).unwrap();
        self.done(&["apply", "../estate"]);
    }

    /// Returns the path of `name` in this world's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns `ambit ARGUMENTS` of the first person, ready to be run in the working directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
        // The owner's own commands read the state directory; those of others speak to the socket.
        command.arg("--state").arg(self.path("state"));
        command.args(arguments).current_dir(self.path("work"));
        command
    }

    /// Runs `ambit ARGUMENTS`, which must succeed, and returns what it printed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        succeed(&self.command(arguments).output().unwrap(), arguments)
    }

    /// Approves `approval` as another person than the one who started the task. Only root can be two people.
    pub(crate) fn approve(&self, approval: &str) {
        self.decide(&["approvals", "approve", approval]);
    }

    /// Refuses `approval`, and says why, as another person than the one who started the task.
    pub(crate) fn refuse(&self, approval: &str, reason: &str) {
        self.decide(&["approvals", "deny", approval, "--reason", reason]);
    }

    fn decide(&self, arguments: &[&str]) {
        let mut command = self.command(arguments);
        if is_root() {
            command = Command::new(env!("CARGO_BIN_EXE_ambit"));
            command.uid(SECOND_USER).gid(SECOND_USER);
            command
                .arg("--state")
                .arg(self.path("people"))
                .args(arguments);
        }
        succeed(&command.output().unwrap(), arguments);
    }

    /// Returns `ambit run … -- sh -c SCRIPT sh ARGUMENTS`, contained, with the judges in its sight.
    pub(crate) fn run(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&["run", "--quiet", "--task", JUDGE, "--for", JUDGE]);
        command.args(["--containment", "namespaces"]);
        for path in shown_to_judges() {
            command.arg("--readable").arg(path);
        }
        command
            .args(["--", "sh", "-c", script, "sh"])
            .args(arguments);
        command
    }

    /// Returns the identifier of the only task that is still active.
    pub(crate) fn active_task(&self) -> String {
        let tasks = json::parse(self.done(&["task", "list", "-o", "json"]).as_bytes()).unwrap();
        let member =
            |task: &Value, name| task.get(name).and_then(Value::as_str).unwrap().to_owned();
        let tasks = tasks.as_array().unwrap().iter();
        let mut active = tasks.filter(|it| member(it, "state") == "active");
        let task = member(active.next().unwrap(), "task");
        assert!(active.next().is_none(), "one task at a time");
        task
    }

    /// Stops the server, as an operator does.
    pub(crate) fn stop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.server);
        // It may have stopped already.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        self.server.wait().unwrap();
    }

    /// Starts the server again, on whatever is in the state directory now.
    pub(crate) fn start_again(&mut self) {
        (self.server, self.doors) = spawn(self.directory.path());
    }

    /// Returns how anybody names the public port.
    pub(crate) fn public(&self) -> &str {
        &self.doors.public
    }

    /// Returns how those who operate the server name the port for numbers and health.
    pub(crate) fn health(&self) -> &str {
        &self.doors.health
    }

    /// Returns the value of a text in the server's settings, whose name stands there once.
    pub(crate) fn setting(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path("ambit.toml")).unwrap();
        let (_, rest) = text.split_once(&format!("\n{name} = \"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// Writes the roots of the world's trust domain into a file, and returns its path.
    pub(crate) fn roots(&self) -> PathBuf {
        let keys = fs::read_to_string(self.path("state/keys/authority.pem")).unwrap();
        let begin = "-----BEGIN CERTIFICATE-----";
        let end = "-----END CERTIFICATE-----\n";
        let blocks = keys.split(begin).skip(1);
        let blocks = blocks.map(|it| format!("{begin}{}{end}", it.split(end).next().unwrap()));
        let path = self.path("roots.pem");
        fs::write(&path, blocks.collect::<String>()).unwrap();
        path
    }

    /// Returns what the server wrote to its standard error.
    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(self.path("server.err")).unwrap()
    }

    fn accept_tools(&self, name: &str) {
        self.done(&["server", "inspect", name, "--out", "../estate"]);
        for ending in ["toml", "tools.json"] {
            let accepted = self.path(&format!("estate/servers/{name}.{ending}"));
            let proposed = self.path(&format!("estate/servers/{name}.{ending}.proposed"));
            fs::rename(proposed, accepted).unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("the server said: {}", self.complaints());
        }
    }
}

impl Upstream {
    /// Names an upstream at `url`.
    pub(crate) fn http(name: &'static str, url: &str) -> Self {
        let transport = format!("[http]\nurl = \"{url}\"\n");
        Self { name, transport }
    }

    /// Names an upstream at `url` that wants the credential `secret`.
    pub(crate) fn http_with_secret(name: &'static str, url: &str, secret: &str) -> Self {
        let transport =
            format!("[http]\nurl = \"{url}\"\ncredential = {{ secret = \"{secret}\" }}\n");
        Self { name, transport }
    }

    /// Names a server of the judges' that speaks over standard input and output. It sees `data` as `/data`.
    pub(crate) fn stdio(name: &'static str, arguments: &[&str], environment: &str) -> Self {
        let program = tool(&format!("mcp-server-{name}"));
        let words: Vec<String> = [program.to_str().unwrap()]
            .iter()
            .chain(arguments)
            .map(|it| format!("\"{it}\""))
            .collect();
        let command = words.join(", ");
        let mut transport = format!(
            "[stdio]\ncommand = [{command}]\nenvironment = {{ {environment} }}\n\
             [[stdio.mounts]]\nsource = \"{DATA}\"\ntarget = \"/data\"\naccess = \"read_write\"\n"
        );
        for path in shown_to_judges() {
            let path = path.display();
            transport.push_str(&format!(
                "[[stdio.mounts]]\nsource = \"{path}\"\ntarget = \"{path}\"\naccess = \"read_only\"\n"
            ));
        }
        Self { name, transport }
    }
}

/// A program of the judges' that runs beside the world, until it is dropped.
#[derive(Debug)]
pub(crate) struct Beside(Child);

impl Beside {
    /// Starts `command` and returns it with the first line that it prints.
    pub(crate) fn start(mut command: Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the program `name` of the judges.
pub(crate) fn tool(name: &str) -> PathBuf {
    tools().join("bin").join(name)
}

/// Returns the file `name` of the folder `judges`.
pub(crate) fn judge(name: &str) -> PathBuf {
    workspace().join("judges").join(name)
}

/// Returns the workspace.
pub(crate) fn workspace() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    path.canonicalize().unwrap()
}

/// Says whether the tests are run by root, who alone can act as two users.
pub(crate) fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Returns what `output` printed; it must have succeeded.
pub(crate) fn succeed(output: &Output, what: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what:?}: {text}{errors}");
    text
}

/// Returns where the judges are installed.
pub(crate) fn tools() -> PathBuf {
    let told = std::env::var_os("AMBIT_TOOLS").map(PathBuf::from);
    let tools = told.unwrap_or_else(|| workspace().join("target/tools"));
    assert!(
        tools.join("bin/python").exists(),
        "no judges in {}; run `cargo xtask tools`",
        tools.display()
    );
    tools
}

/// What the judges' programs need to see: themselves, our drivers, and the Python that they were made with.
fn shown_to_judges() -> Vec<PathBuf> {
    let settings = fs::read_to_string(tools().join("python/pyvenv.cfg")).unwrap();
    let home = settings.lines().find_map(|it| it.strip_prefix("home = "));
    let python = Path::new(home.unwrap()).parent().unwrap().to_owned();
    let mut shown = vec![tools(), workspace().join("judges"), python];
    // Everybody sees what the system installed.
    shown.retain(|it| !it.starts_with("/usr"));
    shown
}

/// As root two people share a server that `ambit serve` runs; otherwise there is one, with `ambit dev` where there are no
/// settings, and whenever it shall be embedded.
fn spawn(root: &Path) -> (Child, Doors) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    command.arg("--state").arg(root.join("state"));
    let more = fs::read_to_string(root.join("settings.toml")).unwrap();
    let is_configured = more != EMBEDDED && (is_root() || !more.is_empty());
    if is_configured {
        let (public, bundle) = (free_address(), free_address());
        let group = if is_root() {
            format!("control_group = {SECOND_USER}\n")
        } else {
            String::new()
        };
        let settings = format!(
            "trust_domain = \"judges.example\"\nestate = \"{}\"\n\n[doors]\ngateway = \"127.0.0.1:0\"\n\
             bundle = \"{bundle}\"\nhealth = \"127.0.0.1:0\"\ncontrol = \"{}\"\n{group}\n\
             [public]\nlisten = \"{public}\"\nurl = \"https://localhost:{}\"\n{more}",
            root.join("estate").display(),
            root.join("people/control.sock").display(),
            public.port(),
        );
        fs::write(root.join("ambit.toml"), settings).unwrap();
        command
            .arg("serve")
            .arg("--config")
            .arg(root.join("ambit.toml"));
    } else {
        command.arg("dev").arg(root.join("estate"));
    }
    let errors = fs::File::create(root.join("server.err")).unwrap();
    let mut server = command
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .unwrap();
    // The server prints where it serves once all of its doors are open, the public one last.
    let door = if is_configured {
        "  anybody"
    } else {
        "  browser"
    };
    let mut told = String::new();
    let mut output = BufReader::new(server.stdout.as_mut().unwrap());
    while !told.contains(door) && output.read_line(&mut told).unwrap() > 0 {}
    let complaints = fs::read_to_string(root.join("server.err")).unwrap();
    assert!(told.contains("Ambit serves"), "{told}{complaints}");
    let after = |door| {
        let (_, rest) = told.rsplit_once(door).unwrap();
        rest.split_whitespace().next().unwrap()
    };
    let doors = Doors {
        public: after(door).trim_end_matches("/account").to_owned(),
        health: after("  health").trim_end_matches("/healthz").to_owned(),
    };
    if is_configured {
        let socket = root.join("state/control.sock");
        let _ = fs::remove_file(&socket);
        std::os::unix::fs::symlink(root.join("people/control.sock"), socket).unwrap();
    }
    (server, doors)
}

/// Returns an address of the loopback that nobody listens at.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn write_estate(root: &Path, upstreams: &[Upstream]) {
    let uid = rustix::process::getuid().as_raw();
    let all = "roles = [\"starter\", \"approver\", \"operator\", \"auditor\", \"administrator\"]";
    let mut people = format!("[people.ada]\nunix_uid = {uid}\n{all}\n");
    if is_root() {
        people += &format!("\n[people.ben]\nunix_uid = {SECOND_USER}\nroles = [\"approver\"]\n");
    }
    let approver = if is_root() {
        "another_person"
    } else {
        "anyone"
    };
    let mut files = vec![
        ("estate.toml".to_owned(), people),
        (
            "agents/judge.toml".to_owned(),
            "owner = \"ada\"\npurpose = \"Judges Ambit\"\nrisk = \"low\"\nenvironment = \"test\"\n\
             review_by = \"2030-01-01\"\ntemplates = [\"judge\"]\n"
                .to_owned(),
        ),
        (
            "templates/judge.toml".to_owned(),
            format!(
                "version = 1\nowner = \"ada\"\npurpose = \"Judge Ambit\"\ncalls_max = 2000\nttl = \"10m\"\n\
                 starters = \"any_starter\"\napprover = \"{approver}\"\ncontainment = \"required\"\n"
            ),
        ),
    ];
    let data = root.parent().unwrap().join("data");
    for upstream in upstreams {
        let transport = upstream.transport.replace(DATA, data.to_str().unwrap());
        let text = format!("owner = \"ada\"\nenvironment = \"test\"\n{transport}");
        files.push((format!("servers/{}.toml", upstream.name), text));
    }
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
