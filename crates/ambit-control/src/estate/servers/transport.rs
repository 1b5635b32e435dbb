//! How the gateway reaches a server: `[http]` or `[stdio]`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ambit_core::estate::{
    CredentialPlacement, CredentialUse, Mount, MountAccess, StdioLimits, StdioNetwork, Transport,
};
use axum::http::{HeaderName, Uri};

use super::super::document::{Field, Section};

/// The most words of a command line.
pub(in crate::estate) const COMMAND_WORDS_MAX: usize = 256;
/// The most mounts of a stdio server.
pub(in crate::estate) const MOUNTS_MAX: usize = 64;
/// The most memory that one process of a stdio server may be given, in MiB.
pub(in crate::estate) const STDIO_MEMORY_MIB_MAX: u32 = 1024 * 1024;
/// The most processes and threads that a stdio server may be given.
pub(in crate::estate) const STDIO_TREE_MAX: u32 = 32_768;
/// The most open files that one process of a stdio server may be given.
pub(in crate::estate) const STDIO_OPEN_FILES_MAX: u32 = 65_536;
/// With less than this of each, not even a shell starts.
const STDIO_LIMIT_LEAST: i64 = 16;

/// Reads the transport; exactly one must be there.
pub(super) fn read(root: &mut Section<'_>) -> Option<Transport> {
    match (root.optional("http"), root.optional("stdio")) {
        (Some(field), None) => http(&field),
        (None, Some(field)) => stdio(&field),
        (Some(_), Some(second)) => {
            second.problem("a server is reached in one way; write `[http]` or `[stdio]`");
            None
        }
        (None, None) => {
            root.problem(
                "the transport is missing; write `[http]` with `url = \"https://…\"`, or `[stdio]` with `command = […]`",
            );
            None
        }
    }
}

fn http(field: &Field<'_>) -> Option<Transport> {
    let mut section = field.section("`http`")?;
    let url = section.required("url", r#"url = "https://mcp.example.com/mcp""#);
    let credential = section.optional("credential");
    section.finish();
    let (url, credential_at) = (url?, credential);
    let parsed = http_url(&url)?;
    let credential = match &credential_at {
        Some(field) => Some(credential_use(field)?),
        None => None,
    };
    if credential.is_some() && parsed.scheme_str() == Some("http") && !is_loopback(&parsed) {
        url.problem("a credential would cross the network in clear text; write `https://…`");
        return None;
    }
    Some(Transport::Http {
        url: url.text()?.to_owned(),
        credential,
    })
}

fn http_url(field: &Field<'_>) -> Option<Uri> {
    let text = field.text()?;
    let parsed = text.parse::<Uri>().ok().filter(|it| {
        matches!(it.scheme_str(), Some("http" | "https"))
            && it.authority().is_some_and(|it| !it.as_str().contains('@'))
            && it.query().is_none()
            && !text.contains('#')
    });
    if parsed.is_none() {
        field.problem(
            "this is no address of a server; write `https://HOST/PATH` without user name, `?` or `#`",
        );
    }
    parsed
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or("");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|it: std::net::IpAddr| it.is_loopback())
}

fn credential_use(field: &Field<'_>) -> Option<CredentialUse> {
    let mut section = field.section("`credential`")?;
    let secret = section.required("secret", r#"secret = "NAME""#);
    let header = section.optional("header");
    section.finish();
    let reference = secret?.parsed::<ambit_core::ServerName>()?;
    let placement = match header {
        Some(header) => {
            let text = header.text()?;
            let forbidden = ["host", "content-length", "connection", "transfer-encoding"];
            let name = HeaderName::from_bytes(text.as_bytes()).ok();
            if name.is_none_or(|it| forbidden.contains(&it.as_str())) {
                header.problem(format!(
                    "`{text}` is no header for a credential; write its name, such as `X-Api-Key`"
                ));
                return None;
            }
            CredentialPlacement::Header(text.to_owned())
        }
        None => CredentialPlacement::Bearer,
    };
    Some(CredentialUse {
        reference: reference.as_str().to_owned(),
        placement,
    })
}

fn stdio(field: &Field<'_>) -> Option<Transport> {
    let mut section = field.section("`stdio`")?;
    let command = section.required("command", r#"command = ["PROGRAM", "ARGUMENT"]"#);
    let environment = section.optional("environment");
    let mounts = section.optional("mounts");
    let network = section.optional("network");
    let limits = section.optional("limits");
    section.finish();
    let command = command.and_then(|it| words_of(&it));
    let environment = environment.map_or(Some(BTreeMap::new()), |it| variables(&it));
    let mounts = mounts.map_or(Some(Vec::new()), |it| mounts_of(&it));
    let network = network.map_or(Some(StdioNetwork::None), |it| {
        it.word(&[("none", StdioNetwork::None), ("host", StdioNetwork::Host)])
    });
    let limits = limits.map_or(Some(StdioLimits::USUAL), |it| limits_of(&it));
    Some(Transport::Stdio {
        command: command?,
        environment: environment?,
        mounts: mounts?,
        network: network?,
        limits: limits?,
    })
}

fn limits_of(field: &Field<'_>) -> Option<StdioLimits> {
    let mut section = field.section("`limits`")?;
    let memory = section.optional("memory_mib");
    let processes = section.optional("processes");
    let files = section.optional("open_files");
    section.finish();
    let read = |field: Option<Field<'_>>, usual: u32, most: u32| match field {
        None => Some(usual),
        Some(it) => u32::try_from(it.integer(STDIO_LIMIT_LEAST, most.into())?).ok(),
    };
    let usual = StdioLimits::USUAL;
    let memory_mib = read(memory, usual.memory_mib, STDIO_MEMORY_MIB_MAX);
    let processes = read(processes, usual.processes, STDIO_TREE_MAX);
    let open_files = read(files, usual.open_files, STDIO_OPEN_FILES_MAX);
    Some(StdioLimits {
        memory_mib: memory_mib?,
        processes: processes?,
        open_files: open_files?,
    })
}

fn words_of(field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.items()?;
    let words: Vec<&str> = items.iter().map(Field::text).collect::<Option<_>>()?;
    let fits = (1..=COMMAND_WORDS_MAX).contains(&words.len());
    if !fits
        || words.first().is_none_or(|it| it.is_empty())
        || words.iter().any(|it| it.contains('\0'))
    {
        field.problem(format!(
            "a command is a program and its arguments, at most {COMMAND_WORDS_MAX} words"
        ));
        return None;
    }
    Some(words.into_iter().map(str::to_owned).collect())
}

fn variables(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let section = field.section("`environment`")?;
    let variable = |it: Field<'_>| {
        let text = it.text()?;
        if it.key.is_empty() || it.key.contains(['=', '\0']) || text.contains('\0') {
            it.problem("this is no environment variable; write `NAME = \"value\"`");
            return None;
        }
        Some((it.key.to_owned(), text.to_owned()))
    };
    section.fields().map(variable).collect()
}

fn mounts_of(field: &Field<'_>) -> Option<Vec<Mount>> {
    let items = field.items()?;
    if items.len() > MOUNTS_MAX {
        field.problem(format!("a server has at most {MOUNTS_MAX} mounts"));
        return None;
    }
    let mounts: Vec<Option<Mount>> = items.iter().map(mount).collect();
    mounts.into_iter().collect()
}

fn mount(field: &Field<'_>) -> Option<Mount> {
    let mut section = field.section("a mount")?;
    let source = section.required("source", r#"source = "/srv/data""#);
    let target = section.required("target", r#"target = "/data""#);
    let access = section.required("access", r#"access = "read_only""#);
    section.finish();
    let source = source.and_then(|it| mount_source(&it));
    let target_at = target;
    let target = target_at.and_then(|it| path(&it, "absolute"));
    let access = access.and_then(|it| {
        it.word(&[
            ("read_only", MountAccess::ReadOnly),
            ("read_write", MountAccess::ReadWrite),
        ])
    });
    let target = target?;
    if !target.starts_with('/') || target == "/" {
        target_at?.problem("the target is an absolute path inside the sandbox, such as `/data`");
        return None;
    }
    Some(Mount {
        source: source?,
        target,
        access: access?,
    })
}

/// Reads what is mounted. Overlaps with Ambit's own files are found at the start, where those are known.
fn mount_source(field: &Field<'_>) -> Option<String> {
    let text = path(field, "relative to the estate's folder, or absolute")?;
    // Components leave out `.` and doubled slashes.
    let plain: PathBuf = Path::new(&text).components().collect();
    let whole = NEVER_MOUNTED_WHOLE.iter().any(|it| plain == Path::new(it));
    let below = NEVER_MOUNTED.iter().any(|it| plain.starts_with(it));
    if whole || below {
        field.problem(format!(
            "`{text}` holds what belongs to the machine or to its users; mount the one folder that the server needs"
        ));
        return None;
    }
    Some(text)
}

/// What the kernel shows of the machine; nor is anything below mounted.
const NEVER_MOUNTED: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Folders too wide to be mounted; one folder below may be.
const NEVER_MOUNTED_WHOLE: [&str; 6] = ["/", "/run", "/var/run", "/home", "/root", "/etc"];

fn path(field: &Field<'_>, rule: &str) -> Option<String> {
    let text = field.text()?;
    if text.is_empty() || text.contains('\0') || text.split('/').any(|it| it == "..") {
        field.problem(format!(
            "`{text}` is no path here; write it {rule}, without `..`"
        ));
        return None;
    }
    Some(text.to_owned())
}
