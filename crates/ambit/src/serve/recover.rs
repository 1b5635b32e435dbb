//! `ambit recover`: another log in place of one that was rolled back or lost.
//!
//! The old database, mark and signing keys are kept aside. The new log names the old one and its last known
//! size, and begins with no task, so nothing of the old authority lives on; what was revoked stays revoked. What is
//! interrupted is taken up again by running it once more.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use ambit_audit::verify;
use ambit_broker::{KeyFileError, keyfiles};
use ambit_core::json::Value;
use ambit_engine::{Archive, Bans, Replaced, State, TABLES, bans};
use ambit_store::{ArchiveTiles, Mark, open_to_read};
use tokio::time::timeout;

use super::{
    engine::{self, EngineStartError},
    keys::{self, KeysError},
};
use crate::{
    cli::{Session, counted},
    config::{ServeConfig, StateDirectory},
    output::Tone,
    problem::Problem,
};

/// Options of `ambit recover`.
#[derive(clap::Args, Debug)]
pub(crate) struct RecoverArguments {
    /// Why; kept beside the old log
    #[arg(long)]
    reason: String,
    /// The configuration of the server, when it is not one of `ambit dev`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the log although nothing is wrong with it: it verifies and reaches its mark
    #[arg(long)]
    replace_healthy_log: bool,
}

/// Why there is no new log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// A server runs.
    #[error("a server runs on this state; stop it first")]
    Running,
    /// Nothing is wrong with the log.
    #[error(
        "the log is whole and reaches its mark, so there is nothing to recover; start the server, or end all authority of \
         this log with --replace-healthy-log"
    )]
    Healthy,
    /// The records of the old log can't be read.
    #[error("the bans of the old log in {} can't be read", path.display())]
    Bans {
        /// Where it is kept.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ambit_engine::ArchiveError,
    },
    /// Keys are missing or refused.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What to do next can't be written down.
    #[error(transparent)]
    Note(#[from] KeyFileError),
    /// The note of an interrupted recovery makes no sense.
    #[error("{} can't be read; move the state directory aside and ask for help", path.display())]
    WrongNote {
        /// Where.
        path: PathBuf,
    },
    /// A file can't be moved.
    #[error("could not {attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The new log does not open.
    #[error("the new log could not be opened; run `ambit recover` again")]
    Engine(#[from] EngineStartError),
}

/// The log that is replaced.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Lost {
    /// Where it is kept aside, within the state directory.
    directory: String,
    /// Its name.
    origin: String,
    /// The last size known of it.
    size: u64,
}

/// The note that a recovery is under way. As long as it is there, no server starts.
const NOTE: &str = "recovering";
/// How long the sequencer may take to close the store.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a new log in place of the one in the state directory.
pub(crate) async fn recover(
    session: &Session,
    arguments: &RecoverArguments,
) -> Result<(), Problem> {
    let config = arguments
        .config
        .as_deref()
        .map(ServeConfig::read)
        .transpose()?;
    let (state, mark) = match config {
        Some(config) => {
            let given = session.state.clone().or(config.state);
            let state = StateDirectory::at(session.environment.state_directory(given)?);
            let mark = config.mark.unwrap_or_else(|| state.mark());
            (state, mark)
        }
        None => {
            let state = session.state()?;
            let mark = state.mark();
            (state, mark)
        }
    };
    let state = state.of_a_server()?;
    let (lost, bans) = replace(session, &state, &mark, arguments)
        .await
        .map_err(|error| Problem::failed("replace the log", error))?;
    let aside = state.root().join(&lost.directory);
    let answer = Value::object([
        ("replaced", Value::from(lost.origin.as_str())),
        ("size", lost.size.into()),
        ("kept", aside.display().to_string().into()),
        (
            "revoked",
            bans.standing
                .iter()
                .map(|it| it.target.to_string())
                .collect(),
        ),
        ("unreadable", bans.unreadable.into()),
    ]);
    let mut text = format!(
        "{} a new log in place of {} at size {}\n  the old one is kept in {}\n  every task, approval and \
         certificate of it has ended; put an estate in force and seal the credentials again",
        session.output.paint(Tone::Good, "opened"),
        lost.origin,
        lost.size,
        aside.display(),
    );
    for ban in &bans.standing {
        text.push_str(&format!("\n  {} stays revoked", ban.target));
    }
    if bans.unreadable > 0 {
        text.push_str(&format!(
            "\n  {} of the old log could not be read: revoke again what they may have revoked",
            counted(
                usize::try_from(bans.unreadable).unwrap_or(usize::MAX),
                "record"
            ),
        ));
    }
    session.output.thing(&answer, &text)
}

/// Says whether a recovery of `state` was begun and not finished.
pub(crate) fn is_under_way(state: &StateDirectory) -> bool {
    state.keys().join(NOTE).exists()
}

async fn replace(
    session: &Session,
    state: &StateDirectory,
    mark: &Path,
    arguments: &RecoverArguments,
) -> Result<(Lost, Bans), RecoverError> {
    let lock = lock(state)?;
    let now = session.clock.now();
    let note = state.keys().join(NOTE);
    let lost = if note.exists() {
        read_note(&note)?
    } else {
        if !arguments.replace_healthy_log && is_healthy(state, mark) {
            return Err(RecoverError::Healthy);
        }
        let lost = look(state, mark, now.as_millis())?;
        let text = format!("{}\n{}\n{}\n", lost.directory, lost.origin, lost.size);
        keyfiles::create_text(&note, &text)?;
        lost
    };
    put_aside(state, mark, &lost, &arguments.reason)?;
    let bans = read_bans(state, &lost)?;
    let aside = StateDirectory::at(state.root().join(&lost.directory));
    let old = (lost.origin.as_str(), bans.bundle_sequence);
    keys::rotate(state, &aside, old, now)?;
    drop(lock);
    let instead = Some(Replaced {
        origin: lost.origin.clone(),
        size: lost.size,
        bans: bans.standing.clone(),
    });
    let (running, ended) = engine::open(state, mark, None, &session.clock, instead)?;
    drop(running);
    // The first record is durable already.
    let _ = timeout(STOP_TIMEOUT, ended).await;
    fs::remove_file(&note).map_err(failed("remove", &note))?;
    Ok((lost, bans))
}

/// Holds the lock that a server would hold.
fn lock(state: &StateDirectory) -> Result<File, RecoverError> {
    if UnixStream::connect(state.control_socket()).is_ok() {
        return Err(RecoverError::Running);
    }
    let path = state.root().join("db.sqlite.lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed("open", &path))?;
    file.try_lock().map_err(|_| RecoverError::Running)?;
    Ok(file)
}

/// Finds out what is known of the old log: the larger of what the database has and what the mark knows.
fn look(state: &StateDirectory, mark: &Path, now: u64) -> Result<Lost, RecoverError> {
    let origin = keys::origin(state)?;
    let database = open_to_read(&state.database(), TABLES)
        .ok()
        .and_then(|it| it.size().ok());
    let marked = keys::verifier(state)
        .ok()
        .and_then(|key| Mark::at(mark).read(&key).ok().flatten());
    let size = database.unwrap_or(0).max(marked.map_or(0, |it| it.size));
    Ok(Lost {
        directory: format!("lost-{now}"),
        origin,
        size,
    })
}

/// Says whether the log verifies and reaches its mark, and its tables and estates are there: a server would start on it.
fn is_healthy(state: &StateDirectory, mark: &Path) -> bool {
    let Ok(key) = keys::verifier(state) else {
        return false;
    };
    let (Ok(Some(mark)), Ok(archive)) = (
        Mark::at(mark).read(&key),
        open_to_read(&state.database(), TABLES),
    ) else {
        return false;
    };
    let Ok(folded) = State::load(&archive) else {
        return false;
    };
    let estates = folded
        .tasks()
        .map(|it| it.task.estate)
        .chain(folded.estate());
    if !estates
        .into_iter()
        .all(|it| matches!(archive.estate(it), Ok(Some(_))))
    {
        return false;
    }
    let known = (mark.size > 0).then_some(mark);
    verify(&ArchiveTiles(&archive), &key, known.as_ref()).is_ok()
}

/// Reads which bans stand in the old log. A log that is gone altogether has none that anybody knows.
fn read_bans(state: &StateDirectory, lost: &Lost) -> Result<Bans, RecoverError> {
    let path = StateDirectory::at(state.root().join(&lost.directory)).database();
    match open_to_read(&path, TABLES) {
        Ok(archive) => bans(&archive).map_err(|source| RecoverError::Bans { path, source }),
        Err(_) => Ok(Bans {
            standing: Vec::new(),
            unreadable: lost.size,
            bundle_sequence: None,
        }),
    }
}

fn read_note(path: &Path) -> Result<Lost, RecoverError> {
    let text = keyfiles::read_text(path)?;
    let mut lines = text.lines();
    let mut line = || lines.next().filter(|it| !it.is_empty());
    let wrong = || RecoverError::WrongNote {
        path: path.to_owned(),
    };
    let directory = line().filter(|it| it.starts_with("lost-") && !it.contains('/'));
    let directory = directory.ok_or_else(wrong)?.to_owned();
    let origin = line().ok_or_else(wrong)?.to_owned();
    let size = line().and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    Ok(Lost {
        directory,
        origin,
        size,
    })
}

/// Moves the old files aside. A file that was moved by an earlier attempt is never moved over.
fn put_aside(
    state: &StateDirectory,
    mark: &Path,
    lost: &Lost,
    reason: &str,
) -> Result<(), RecoverError> {
    let aside = StateDirectory::at(state.root().join(&lost.directory));
    for directory in [aside.root().to_owned(), aside.keys()] {
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
    }
    let mut moves = vec![(mark.to_owned(), aside.mark())];
    for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
        moves.push((state.root().join(name), aside.root().join(name)));
    }
    moves.extend(keys::ROTATED.map(|name| (state.keys().join(name), aside.keys().join(name))));
    for (from, to) in moves {
        if !from.exists() {
            continue;
        }
        if to.exists() {
            fs::remove_file(&from).map_err(failed("remove the half-made", &from))?;
        } else {
            move_file(&from, &to).map_err(failed("move aside", &from))?;
        }
    }
    let path = aside.root().join("reason");
    fs::write(&path, format!("{reason}\n")).map_err(failed("write", &path))
}

/// Moves a file, also to another disk, where the mark may be.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()?;
            fs::remove_file(from)
        }
        other => other,
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecoverError {
    let path = path.to_owned();
    move |source| RecoverError::File {
        attempt,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_once_is_never_moved_over() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(parent.path().join("state"));
        state.prepare().unwrap();
        let lost = Lost {
            directory: "lost-1".to_owned(),
            origin: "a/log".to_owned(),
            size: 7,
        };
        fs::write(state.database(), "old").unwrap();
        fs::write(state.mark(), "old mark").unwrap();
        put_aside(&state, &state.mark(), &lost, "x").unwrap();
        fs::write(state.database(), "half-made").unwrap();
        put_aside(&state, &state.mark(), &lost, "x").unwrap();
        assert!(!state.database().exists());
        let aside = state.root().join("lost-1");
        assert_eq!(fs::read_to_string(aside.join("db.sqlite")).unwrap(), "old");
        assert_eq!(fs::read_to_string(aside.join("mark")).unwrap(), "old mark");
    }

    #[test]
    fn a_note_is_believed_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let check = |name: &str, text: &str, wanted: Option<u64>| {
            let path = parent.path().join(name);
            keyfiles::create_text(&path, text).unwrap();
            assert_eq!(read_note(&path).ok().map(|it| it.size), wanted, "{text}");
        };
        check("1", "lost-1\na/log\n7\n", Some(7));
        check("2", "lost-1\na/log\n", None);
        check("3", "lost-1\na/log\nx\n", None);
        check("4", "../x\na/log\n7\n", None);
        check("5", "lost-/../x\na/log\n7\n", None);
    }
}
