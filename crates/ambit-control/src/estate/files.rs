//! The files of an estate: collected from a directory, kept as one canonical archive.

use std::{collections::BTreeMap, io::Read, path::Path};

use ambit_core::{
    estate::PersonRole,
    json::{self, Value},
};

use super::problem::{EstateProblem, Problems, place_of};

/// The most files of an estate.
pub const FILES_MAX: usize = 4096;
/// The longest file of an estate, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The longest archive of an estate, in bytes.
pub const ARCHIVE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The texts of an estate's files by their paths inside it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EstateFiles(BTreeMap<String, String>);

/// What a file of an estate is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Root,
    Agent,
    Client,
    Issuer,
    Federation,
    Server,
    Definitions,
    Template,
    Policy,
    PeoplePolicy,
    Table,
}

/// How the name of a file ends that is proposed and not yet reviewed.
const PROPOSED: &str = ".proposed";

impl EstateFiles {
    /// Collects the files of the estate in the directory `dir`. Hidden files, `README.md` and `files/` are no part of it.
    ///
    /// # Errors
    /// Files that cannot be read, have no place in an estate, are links, or break a maximum.
    pub fn collect(dir: &Path) -> Result<Self, Vec<EstateProblem>> {
        let problems = Problems::default();
        let mut files = Self::default();
        for (name, path) in entries(dir, "estate.toml", &problems) {
            if name == ROOT_FILE {
                files.take(&name, &path, &problems);
            } else if FOLDERS.contains(&name.as_str()) {
                files.take_folder(&name, &path, &problems);
            } else if name != FREE_FOLDER && (path.is_dir() || is_ours(&name)) {
                problems.add_whole(
                    &name,
                    format!(
                        "nothing reads this; an estate has `{ROOT_FILE}` and the folders {}; {}",
                        FOLDERS.join(", "),
                        super::problem::suggest(&name, FOLDERS),
                    ),
                );
            }
        }
        problems.into_result()?;
        Ok(files)
    }

    /// Returns what an estate is read from, within its directory.
    pub fn places() -> impl Iterator<Item = &'static str> {
        std::iter::once(ROOT_FILE).chain(FOLDERS)
    }

    /// Takes the files that [`EstateFiles::archive`] wrote.
    ///
    /// # Errors
    /// One problem, when the bytes are no archive of this version.
    pub fn from_archive(bytes: &[u8]) -> Result<Self, Vec<EstateProblem>> {
        let refused = |message: String| {
            vec![EstateProblem {
                path: "archive".to_owned(),
                line: 1,
                column: 1,
                message,
            }]
        };
        let value =
            json::parse_bounded(bytes, ARCHIVE_BYTES_MAX).map_err(|it| refused(it.to_string()))?;
        let members = value.as_object().filter(|it| it.len() == 2);
        let files = members
            .filter(|it| it.get("ambit_estate") == Some(&Value::Integer(ARCHIVE_VERSION)))
            .and_then(|it| it.get("files")?.as_object())
            .ok_or_else(|| refused(ARCHIVE_FORM.to_owned()))?;
        files
            .iter()
            .map(|(path, text)| Some((path.clone(), text.as_str()?.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>()
            .map(Self)
            .ok_or_else(|| refused(ARCHIVE_FORM.to_owned()))
            .and_then(Self::bounded)
    }

    /// Takes `files` as an estate: pairs of path inside the estate and text.
    ///
    /// # Errors
    /// Paths that have no place in an estate, and files beyond a maximum.
    pub fn from_texts<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<EstateProblem>> {
        let owned = |(path, text): (&str, &str)| (path.to_owned(), text.to_owned());
        Self(files.into_iter().map(owned).collect()).bounded()
    }

    /// Returns all files in one canonical form (RFC 8785). The estate's digest is over these bytes.
    pub fn archive(&self) -> Vec<u8> {
        let files = self
            .0
            .iter()
            .map(|(path, text)| (path.as_str(), Value::from(text.as_str())));
        Value::object([
            ("ambit_estate", Value::Integer(ARCHIVE_VERSION)),
            ("files", Value::object(files)),
        ])
        .to_canonical()
        .into_bytes()
    }

    /// Adds the person `alias`, proved by the local user `unix_uid`, with `roles`. For an embedded Ambit whose
    /// estate does not name the one who runs it.
    pub fn with_person(mut self, alias: &str, unix_uid: u32, roles: &[PersonRole]) -> Self {
        let roles: Vec<String> = roles
            .iter()
            .map(|it| format!("{:?}", it.as_str()))
            .collect();
        let text = self.0.entry(ROOT_FILE.to_owned()).or_default();
        text.push_str(&format!(
            "\n[people.{alias:?}]\nunix_uid = {unix_uid}\nroles = [{}]\n",
            roles.join(", ")
        ));
        self
    }

    /// Puts `text` at `path`, in place of what was there. Whether the path has a place in an estate is said by
    /// [`EstateFiles::load`].
    pub fn with_file(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.to_owned(), text.to_owned());
        self
    }

    /// Returns the text of the file at `path`.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Iterates over the files of one kind: name without folder and ending, path, text.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().filter_map(move |(path, text)| {
            let (found, stem) = classify(path)?;
            (found == kind).then_some((stem, path.as_str(), text.as_str()))
        })
    }

    fn take_folder(&mut self, name: &str, path: &Path, problems: &Problems) {
        for (inner, inner_path) in entries(path, name, problems) {
            let shown = format!("{name}/{inner}");
            // No link: it could lead out of the estate.
            let is_folder = std::fs::symlink_metadata(&inner_path).is_ok_and(|it| it.is_dir());
            if shown == PEOPLE_POLICIES && is_folder {
                self.take_folder(&shown, &inner_path, problems);
            } else {
                self.take(&shown, &inner_path, problems);
            }
        }
    }

    fn take(&mut self, name: &str, path: &Path, problems: &Problems) {
        // What `ambit server inspect --out` wrote for the owner to review is not in the estate yet.
        if name.starts_with("servers/") && name.ends_with(PROPOSED) {
            return;
        }
        if classify(name).is_none() {
            let (folder, _) = name.split_once('/').unwrap_or((name, ""));
            return problems.add_whole(name, format!("nothing reads this; {}", rule_of(folder)));
        }
        match read_text(path) {
            Ok(text) => {
                self.0.insert(name.to_owned(), text);
            }
            Err((place, message)) => problems.add_at(name, place, message),
        }
    }

    fn bounded(self) -> Result<Self, Vec<EstateProblem>> {
        let problems = Problems::default();
        self.check_bounds(&problems);
        problems.into_result()?;
        Ok(self)
    }

    /// Notes paths that have no place in an estate, and files beyond a maximum.
    pub(super) fn check_bounds(&self, problems: &Problems) {
        if self.0.len() > FILES_MAX {
            problems.add_whole(
                ROOT_FILE,
                format!("an estate has at most {FILES_MAX} files"),
            );
        }
        for (path, text) in &self.0 {
            if classify(path).is_none() {
                let (folder, _) = path.split_once('/').unwrap_or((path, ""));
                problems.add_whole(path, format!("nothing reads this; {}", rule_of(folder)));
            }
            if text.len() > FILE_BYTES_MAX {
                problems.add_whole(path, TOO_LONG);
            }
        }
    }
}

/// Returns the visible entries of a folder by name.
fn entries(dir: &Path, shown: &str, problems: &Problems) -> Vec<(String, std::path::PathBuf)> {
    let listed = match std::fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) => {
            let message = format!(
                "the folder {} cannot be read: {error}; name the folder of an estate",
                dir.display()
            );
            problems.add_whole(shown, message);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for entry in listed.flatten() {
        match entry.file_name().into_string() {
            Ok(name) if name.starts_with('.') || name == "README.md" => {}
            Ok(name) => found.push((name, entry.path())),
            Err(name) => problems.add_whole(
                &name.to_string_lossy(),
                "the file's name is not UTF-8; rename it",
            ),
        }
        if found.len() > FILES_MAX {
            problems.add_whole(shown, format!("an estate has at most {FILES_MAX} files"));
            break;
        }
    }
    found.sort();
    found
}

fn read_text(path: &Path) -> Result<String, ((u32, u32), String)> {
    let start = |message: String| ((1, 1), message);
    let failed = |error: std::io::Error| start(format!("the file cannot be read: {error}"));
    // A link could lead out of the estate, and would be followed by whoever applies it.
    if !std::fs::symlink_metadata(path).map_err(failed)?.is_file() {
        return Err(start(
            "this is no plain file; put the text itself here".to_owned(),
        ));
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path).map_err(failed)?;
    file.by_ref()
        .take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(start(TOO_LONG.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        let good = bytes.get(..error.utf8_error().valid_up_to()).unwrap_or(&[]);
        let good = String::from_utf8_lossy(good);
        (
            place_of(&good, good.len()),
            "the text is not UTF-8; save the file as UTF-8".to_owned(),
        )
    })
}

/// Says what the file at `path` is and its name, when it has a place in an estate.
fn classify(path: &str) -> Option<(Kind, &str)> {
    if path == ROOT_FILE {
        return Some((Kind::Root, "estate"));
    }
    let (folder, name) = path.split_once('/')?;
    let (kind, stem) = match folder {
        "agents" => (Kind::Agent, name.strip_suffix(".toml")?),
        "clients" => (Kind::Client, name.strip_suffix(".toml")?),
        "issuers" => (Kind::Issuer, name.strip_suffix(".toml")?),
        "trust" => (Kind::Federation, name.strip_suffix(".toml")?),
        "servers" => match name.strip_suffix(".tools.json") {
            Some(stem) => (Kind::Definitions, stem),
            None => (Kind::Server, name.strip_suffix(".toml")?),
        },
        "templates" => (Kind::Template, name.strip_suffix(".toml")?),
        "policies" => match name.strip_prefix("people/") {
            Some(name) => (Kind::PeoplePolicy, name.strip_suffix(".cedar")?),
            None => (Kind::Policy, name.strip_suffix(".cedar")?),
        },
        "tests" => (Kind::Table, name.strip_suffix(".toml")?),
        _ => return None,
    };
    (!stem.is_empty() && !stem.contains(['/', '\\', '\0'])).then_some((kind, stem))
}

fn rule_of(folder: &str) -> &'static str {
    match folder {
        "agents" => "write `agents/NAME.toml`",
        "clients" => "write `clients/NAME.toml`",
        "issuers" => "write `issuers/NAME.toml`",
        "servers" => "write `servers/NAME.toml` and `servers/NAME.tools.json`",
        "templates" => "write `templates/NAME.toml`",
        "policies" => "write `policies/NAME.cedar` or `policies/people/NAME.cedar`",
        "tests" => "write `tests/NAME.toml`",
        "trust" => "write `trust/NAME.toml`",
        _ => {
            "write `estate.toml`, `agents/`, `clients/`, `issuers/`, `servers/`, `templates/`, `policies/`, `tests/` or `trust/`"
        }
    }
}

/// Says whether a stray file looks as if somebody meant it to count.
fn is_ours(name: &str) -> bool {
    [".toml", ".cedar", ".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

const ROOT_FILE: &str = "estate.toml";
const FOLDERS: [&str; 8] = [
    "agents",
    "clients",
    "issuers",
    "servers",
    "templates",
    "policies",
    "tests",
    "trust",
];
/// The folder within a folder that there is.
const PEOPLE_POLICIES: &str = "policies/people";
const FREE_FOLDER: &str = "files";
const ARCHIVE_VERSION: i64 = 1;
const ARCHIVE_FORM: &str =
    "this is no estate archive; send `{\"ambit_estate\":1,\"files\":{PATH:TEXT}}`";
const TOO_LONG: &str = "the file has more than 1048576 bytes; split it";
