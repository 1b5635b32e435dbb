//! The log for anybody, as C2SP tlog-tiles lays it out. Leaves are pseudonymous, yet only hashes are served unless the
//! operator says otherwise.

use std::{fmt, sync::Arc};

use ambit_audit::TilePath;
use ambit_core::Digest;
use ambit_engine::Archive;
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use super::{
    Shared,
    log::{read, tile_bytes, tile_path},
    problem::Problem,
};

/// How many requests of strangers read the store at once; further ones wait.
pub const PUBLISHED_READS_MAX: usize = 4;

/// What anybody may read of the log.
#[derive(Clone, Debug)]
pub enum Published {
    /// Nothing.
    Nothing,
    /// This log.
    Log(PublishedLog),
}

/// A log that anybody may read.
#[derive(Clone)]
pub struct PublishedLog {
    archive: Arc<dyn Archive>,
    prefix: String,
    parts: Parts,
    pub(super) reads: Arc<Semaphore>,
}

/// Which parts of a log anybody may read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parts {
    /// Checkpoint and hash tiles: enough to prove that the log only grows, and that it holds a record somebody has.
    Hashes,
    /// The records as well: who did what when, under pseudonyms.
    Entries,
}

impl PublishedLog {
    /// Publishes `parts` of the log named `origin`, which `archive` reads.
    ///
    /// A log that a recovery opened has a number at the end of its name, and is served below that number: caches keep
    /// tiles for ever, and those of the lost log are others.
    pub fn new(archive: Arc<dyn Archive>, origin: &str, parts: Parts) -> Self {
        let number = origin.rsplit_once("/log/").map(|(_, number)| number);
        let prefix = number.map_or_else(String::new, |it| format!("{it}/"));
        let reads = Arc::new(Semaphore::new(PUBLISHED_READS_MAX));
        Self {
            archive,
            prefix,
            parts,
            reads,
        }
    }
}

/// Serves one resource of the log.
pub(super) async fn log(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let Published::Log(log) = &shared.control.published else {
        return Err(Problem::not_found(
            "log on this port",
            "an operator can publish it with `log = true` under `[public]` in ambit.toml",
        ));
    };
    let Some(name) = path.strip_prefix(log.prefix.as_str()) else {
        return Err(moved(log));
    };
    // Closed it never is: the place is given back at the end.
    let _reading = log.reads.acquire().await;
    if name == "checkpoint" {
        return checkpoint(log, &headers).await;
    }
    let wanted = name.strip_prefix("tile/").and_then(tile_path);
    let wanted = wanted.ok_or_else(|| {
        Problem::not_found(
            "resource of this name in the log",
            "there are `checkpoint` and `tile/L/N`, as C2SP tlog-tiles names them",
        )
    })?;
    if matches!(wanted, TilePath::Entries { .. }) && log.parts == Parts::Hashes {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "entries_not_published",
            "the records of this log are not published",
        )
        .because("auditors read them with `ambit log export`; hash tiles are at tile/L/N"));
    }
    let found = tile_bytes(Arc::clone(&log.archive), wanted).await?;
    let found = found.ok_or_else(|| {
        Problem::not_found("tile so far", "`checkpoint` says how long the log is")
    })?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    Ok((headers, found).into_response())
}

async fn checkpoint(log: &PublishedLog, headers: &HeaderMap) -> Result<Response, Problem> {
    let note = read(Arc::clone(&log.archive), |it| it.checkpoint()).await?;
    let note = note.ok_or_else(|| {
        Problem::not_found(
            "checkpoint yet",
            "the first record makes one; try again in a moment",
        )
    })?;
    let digest = Digest::of(note.as_bytes()).to_string();
    let tag = HeaderValue::from_str(&format!("\"{digest}\"")).ok();
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|it| Some(it) == tag.as_ref());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response(),
    };
    let answered = response.headers_mut();
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_SECONDS));
    if let Some(tag) = tag {
        answered.insert(header::ETAG, tag);
    }
    Ok(response)
}

fn moved(log: &PublishedLog) -> Problem {
    let place = log.prefix.trim_end_matches('/');
    Problem::not_found(
        "log of this number here",
        format!(
            "a recovery opened another log, whose checkpoint is at /log/{place}/checkpoint; ask its operator why, and for its key"
        ),
    )
}

/// A tile never changes, a partial one of one width neither.
const FOR_EVER: &str = "public, max-age=604800, immutable";
/// A checkpoint is followed by another with the next record.
const FOR_SECONDS: &str = "public, max-age=2";

impl fmt::Debug for PublishedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublishedLog({}{:?})", self.prefix, self.parts)
    }
}
