//! From the log alone: the tables made again, and every decision derived again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ambit_audit::decode;
use ambit_core::{
    Digest,
    record::{Body, Record},
};
use ambit_policy::{PolicyBook, Replay, replay, replay_mandate, replay_warrant};

use crate::{Archive, ArchiveError, CompileEstate, FoldError, State, TABLES};

/// The folded tables, made again from the log.
#[derive(Debug)]
pub struct Rebuilt {
    /// The rows by table and key.
    pub tables: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    /// How many records were folded.
    pub records: u64,
    /// The digest over all rows.
    pub digest: Digest,
}

/// What deriving every decision again found.
#[derive(Debug)]
pub struct ReplayReport {
    /// How many decisions gave the same answer.
    pub same: u64,
    /// The records whose facts give another answer now, or can't be read.
    pub different: Vec<u64>,
}

/// The log can't be folded or derived again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The store could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A leaf is no record.
    #[error("leaf {index} is no record; run `ambit log verify`")]
    Record {
        /// The leaf.
        index: u64,
        /// Why not.
        #[source]
        source: ambit_audit::DecodeError,
    },
    /// A record does not follow from those before it.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The log says that another state followed from it.
    #[error(
        "record {index} says that the state was {recorded}, but this binary folds to {folded}; use the binary that wrote the log"
    )]
    Differs {
        /// The record.
        index: u64,
        /// What it says.
        recorded: Digest,
        /// What follows here.
        folded: Digest,
    },
    /// The files of an estate are gone or do not compile.
    #[error("the estate {digest} can't be read back: {problem}")]
    Estate {
        /// Which version.
        digest: Digest,
        /// Why not.
        problem: String,
    },
}

/// Makes the folded tables again from the log alone.
///
/// # Errors
/// A record that does not follow, or a recorded digest of the state that this binary does not reach.
pub fn rebuild(archive: &dyn Archive) -> Result<Rebuilt, RebuildError> {
    let mut state = State::empty();
    let mut tables: BTreeMap<_, BTreeMap<_, _>> =
        TABLES.iter().map(|name| (*name, BTreeMap::new())).collect();
    let records = each_record(archive, |index, record| {
        if let Body::StateDigest { digest: recorded } = record.body
            && recorded != state.digest()
        {
            return Err(RebuildError::Differs {
                index,
                recorded,
                folded: state.digest(),
            });
        }
        state.apply(index, record)?;
        for row in state.take_rows() {
            let table = tables.entry(row.table).or_default();
            match row.value {
                Some(value) => table.insert(row.key, value),
                None => table.remove(&row.key),
            };
        }
        Ok(())
    })?;
    Ok(Rebuilt {
        tables,
        records,
        digest: state.digest(),
    })
}

/// Derives every decision of the log again from its recorded facts and the estate that it names.
///
/// # Errors
/// The log or an estate can't be read. Another answer is no error but a finding.
pub fn replay_all(
    archive: &dyn Archive,
    compile: &CompileEstate,
) -> Result<ReplayReport, RebuildError> {
    let mut report = ReplayReport {
        same: 0,
        different: Vec::new(),
    };
    let mut books = Books {
        archive,
        compile,
        known: HashMap::new(),
    };
    let mut in_force = None;
    each_record(archive, |index, record| {
        let found = match (&record.body, record.body.warrant()) {
            (Body::Decided(decided), _) => {
                Some(replay(books.get(decided.estate)?.as_ref(), decided))
            }
            (body, Some(warrant)) => {
                let mut judge = in_force;
                if let Body::EstateApplied { estate, .. } = body {
                    // The first estate is judged by its own roles, every other by those before it.
                    judge = judge.or(Some(*estate));
                    in_force = Some(*estate);
                }
                let judge = judge.map(|estate| books.get(estate)).transpose()?;
                judge.map(|book| replay_warrant(&book, warrant))
            }
            (body, None) => match body.mandate() {
                // Delegations are judged under the estate in force, as people's acts are.
                Some(mandate) => {
                    let judge = in_force.map(|estate| books.get(estate)).transpose()?;
                    judge.map(|book| replay_mandate(&book, mandate))
                }
                None => None,
            },
        };
        match found {
            Some(Replay::Same) => report.same += 1,
            Some(Replay::Different { .. }) => report.different.push(index),
            None => {}
        }
        Ok(())
    })?;
    Ok(report)
}

struct Books<'a> {
    archive: &'a dyn Archive,
    compile: &'a CompileEstate,
    known: HashMap<Digest, Arc<PolicyBook>>,
}

impl Books<'_> {
    fn get(&mut self, digest: Digest) -> Result<Arc<PolicyBook>, RebuildError> {
        if let Some(book) = self.known.get(&digest) {
            return Ok(book.clone());
        }
        let broken = |problem: String| RebuildError::Estate { digest, problem };
        let files = self.archive.estate(digest)?;
        let files = files.ok_or_else(|| broken("its files are not in the store".to_owned()))?;
        let book = (self.compile)(&files).map_err(broken)?;
        self.known.insert(digest, book.clone());
        Ok(book)
    }
}

/// Reads every record in order and returns how many there were.
fn each_record(
    archive: &dyn Archive,
    mut take: impl FnMut(u64, &Record) -> Result<(), RebuildError>,
) -> Result<u64, RebuildError> {
    let size = archive.size()?;
    let mut index = 0;
    while index < size {
        let leaves = archive.leaves(index, READ_AHEAD_LEAVES)?;
        if leaves.is_empty() {
            return Err(FoldError::Missing {
                index,
                what: "a leaf".to_owned(),
            }
            .into());
        }
        for leaf in leaves {
            let record = decode(&leaf).map_err(|source| RebuildError::Record { index, source })?;
            take(index, &record)?;
            index += 1;
        }
    }
    Ok(size)
}

/// How many leaves are read at once.
const READ_AHEAD_LEAVES: usize = 1024;
