//! The log: checkpoint and tiles as others' tools read them, records and stories as people do.

use std::sync::Arc;

use ambit_audit::{TilePath, decode, encode_bundle};
use ambit_core::{DecisionId, TaskId, json::Value, record::Body};
use ambit_engine::{Archive, ArchiveError, Inspection};
use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Asked},
    caller::Onlooker,
    problem::Problem,
    tasks::parsed,
};
use crate::story::{self, Entry, Names};

/// The most records in one answer.
pub const RECORDS_PER_ANSWER_MAX: u64 = 1024;

/// How many leaves are read at once where the whole log is told.
const LEAVES_AT_ONCE: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordsAsk {
    #[serde(default)]
    from: u64,
    count: Option<u64>,
}

pub(super) async fn checkpoint(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
) -> Result<Response, Problem> {
    let archive = shared.control.handle.archive(&inspection);
    let note = read(archive, |it| it.checkpoint()).await?;
    let note = note.ok_or_else(|| {
        Problem::not_found(
            "checkpoint yet",
            "the first record makes one; try again in a moment",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Serves `tile/…` as C2SP tlog-tiles names it.
pub(super) async fn tile(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let wanted = tile_path(&path).ok_or_else(|| {
        Problem::not_found(
            "tile of this name",
            "tiles are named `tile/L/N`, as C2SP tlog-tiles has it",
        )
    })?;
    let archive = shared.control.handle.archive(&inspection);
    let found = tile_bytes(archive, wanted).await?;
    let found = found.ok_or_else(|| {
        Problem::not_found("tile so far", "the checkpoint says how long the log is")
    })?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], found).into_response())
}

/// Reads what lies at `path`, when it is there whole.
pub(super) async fn tile_bytes(
    archive: Arc<dyn Archive>,
    path: TilePath,
) -> Result<Option<Vec<u8>>, Problem> {
    match path {
        TilePath::Hashes {
            level,
            index,
            width,
        } => read(archive, move |it| it.tile(level, index, width)).await,
        TilePath::Entries { index, width } => {
            let count = usize::from(width);
            let leaves = read(archive, move |it| {
                it.leaves(index.saturating_mul(256), count)
            });
            let whole = Some(leaves.await?).filter(|it| it.len() == count);
            Ok(whole.and_then(|it| encode_bundle(&it).ok()))
        }
    }
}

pub(super) async fn records(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Asked(asked): Asked<RecordsAsk>,
) -> Result<Answer, Problem> {
    let count = asked.count.unwrap_or(RECORDS_PER_ANSWER_MAX);
    if !(1..=RECORDS_PER_ANSWER_MAX).contains(&count) {
        return Err(Problem::invalid(format!(
            "`count` is 1 to {RECORDS_PER_ANSWER_MAX}; ask several times for more"
        )));
    }
    let archive = shared.control.handle.archive(&inspection);
    let (from, count) = (asked.from, usize::try_from(count).unwrap_or(1));
    let leaves = read(archive.clone(), move |it| it.leaves(from, count)).await?;
    let names = names(&archive).await?;
    let size = read(archive, |it| it.size()).await?;
    let entries = entries(from, &leaves)?;
    let names = names.with_reasons(reasons(&shared, &inspection, &entries)?);
    Ok(Answer(Value::object([
        ("size", size.into()),
        (
            "records",
            entries
                .iter()
                .map(|it| story::to_value(it, &names))
                .collect(),
        ),
    ])))
}

pub(super) async fn trace(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Path(task): Path<String>,
) -> Result<Answer, Problem> {
    let task: TaskId = parsed(&task)?;
    let archive = shared.control.handle.archive(&inspection);
    let names = names(&archive).await?;
    let mut concerns = story::Concerns::of(task);
    let mut entries = sifted(archive.clone(), move |it| concerns.take(it)).await?;
    let starts = story::Starts::above(&entries, task);
    let above = sifted(archive, move |it| starts.wants(it)).await?;
    entries.extend(above);
    entries.sort_by_key(|it| it.index);
    let names = names.with_reasons(reasons(&shared, &inspection, &entries)?);
    let now = (shared.control.clock)().now;
    let told = story::trace(&entries, &names, task, now);
    let told = told.ok_or_else(|| {
        Problem::not_found(
            format!("task {task} in the log"),
            "`ambit task list --all` shows the tasks",
        )
    })?;
    Ok(with_text(told.to_value(), told.to_string()))
}

pub(super) async fn why(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Path(decision): Path<String>,
) -> Result<Answer, Problem> {
    let decision: DecisionId = parsed(&decision)?;
    let archive = shared.control.handle.archive(&inspection);
    let names = names(&archive).await?;
    let entries = sifted(archive, move |it| story::concerns_decision(it, decision)).await?;
    let names = names.with_reasons(reasons(&shared, &inspection, &entries)?);
    let told = story::why(&entries, &names, decision, ambit_policy::explain);
    let told = told.ok_or_else(|| {
        Problem::not_found(
            format!("decision {decision} in the log"),
            "`ambit log trace TASK` shows the decisions of a task, `ambit log tail` the newest",
        )
    })?;
    Ok(with_text(told.to_value(), told.to_string()))
}

/// Adds the text for people to the story for programs.
pub(super) fn with_text(mut value: Value, text: String) -> Answer {
    if let Value::Object(members) = &mut value {
        members.insert("text".to_owned(), text.into());
    }
    Answer(value)
}

/// Reads the store away from the threads that answer others.
pub(super) async fn read<T: Send + 'static>(
    archive: Arc<dyn Archive>,
    ask: impl FnOnce(&dyn Archive) -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(move || ask(archive.as_ref())).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(broken("the reading was broken off")),
    }
}

async fn names(archive: &Arc<dyn Archive>) -> Result<Names, Problem> {
    Ok(Names::new(
        read(archive.clone(), |it| it.directory()).await?,
    ))
}

/// Opens the words that people gave with what stands in `entries`.
fn reasons(
    shared: &Shared,
    inspection: &Inspection,
    entries: &[Entry],
) -> Result<Vec<(DecisionId, String)>, Problem> {
    let mut opened = Vec::new();
    for entry in entries {
        let Some((decision, sealed)) = story::sealed_reason(&entry.record.body) else {
            continue;
        };
        let handle = &shared.control.handle;
        let words = handle.reason(inspection, (entry.index, decision), &sealed)?;
        opened.extend(words.map(|it| (decision, it)));
    }
    Ok(opened)
}

/// Goes through the whole log and keeps what a story needs.
async fn sifted(
    archive: Arc<dyn Archive>,
    mut concerns: impl FnMut(&Body) -> bool + Send + 'static,
) -> Result<Vec<Entry>, Problem> {
    let sift = move || -> Result<Vec<Entry>, Problem> {
        let (mut kept, mut next) = (Vec::new(), 0);
        loop {
            let leaves = archive.leaves(next, LEAVES_AT_ONCE)?;
            if leaves.is_empty() {
                return Ok(kept);
            }
            let found = entries(next, &leaves)?;
            next += leaves.len() as u64;
            kept.extend(found.into_iter().filter(|it| concerns(&it.record.body)));
        }
    };
    match tokio::task::spawn_blocking(sift).await {
        Ok(found) => found,
        Err(_) => Err(broken("the reading was broken off")),
    }
}

fn entries(from: u64, leaves: &[Vec<u8>]) -> Result<Vec<Entry>, Problem> {
    let entry = |(index, leaf): (u64, &Vec<u8>)| match decode(leaf) {
        Ok(record) => Ok(Entry { index, record }),
        Err(error) => Err(broken(format!(
            "record {index} can't be read: {error}; run `ambit log verify`"
        ))),
    };
    (from..).zip(leaves).map(entry).collect()
}

fn broken(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "failed",
        "the log can't be told",
    )
    .because(detail)
}

/// Reads a tile's name: only the one that C2SP tlog-tiles gives it.
pub(super) fn tile_path(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.split_once('/')?;
    let (groups, width) = match rest.split_once(".p/") {
        Some((groups, width)) => (
            groups,
            width.parse().ok().filter(|it| (1..256).contains(it))?,
        ),
        None => (rest, 256),
    };
    let index = groups.split('/').try_fold(0u64, |index, group| {
        let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index.checked_mul(1000)?.checked_add(digits)
    })?;
    let path = match kind {
        "entries" => TilePath::Entries { index, width },
        level => TilePath::Hashes {
            level: level.parse().ok()?,
            index,
            width,
        },
    };
    (path.to_string() == format!("tile/{text}")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_name_of_a_tile_is_read() {
        for text in [
            "0/000",
            "3/x001/x234/067",
            "entries/000.p/7",
            "0/255.p/255",
            "63/000",
        ] {
            assert!(tile_path(text).is_some(), "{text}");
        }
        for text in [
            "",
            "0",
            "0/0",
            "0/1000",
            "x/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/x000/001",
            "0/-01",
            "00/000",
            "0/000/",
            "entries",
            "0/000.p/007",
            "256/000",
        ] {
            assert!(tile_path(text).is_none(), "{text}");
        }
    }
}
