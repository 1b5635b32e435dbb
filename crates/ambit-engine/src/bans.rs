//! The bans of a log that is replaced: they outlive it.

use std::collections::{BTreeMap, HashMap};

use ambit_audit::decode;
use ambit_core::{PersonId, RevocationId, act::Target, record::Body};

use crate::{Archive, ArchiveError};

/// A log in whose place another one is opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replaced {
    /// Its name.
    pub origin: String,
    /// The last size known of it.
    pub size: u64,
    /// What was revoked in it and not reinstated.
    pub bans: Vec<Ban>,
}

/// A ban that a log knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ban {
    /// The revocation.
    pub revocation: RevocationId,
    /// An agent, a person or a server.
    pub target: Target,
    /// The place of its record.
    pub leaf: u64,
    /// Who the person is, when it is one and the directory still knows.
    pub alias: Option<String>,
}

/// The bans that stand at the end of a log, and what could not be read of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bans {
    /// What stands, in the order of the records.
    pub standing: Vec<Ban>,
    /// How many records could not be read: a ban among them is lost.
    pub unreadable: u64,
    /// The largest sequence of the trust bundle that a record tells.
    pub bundle_sequence: Option<u64>,
}

/// How many leaves are read at once.
const LEAVES_AT_ONCE: usize = 1024;

/// Reads from the records of a log, damaged or not, which bans stand at its end.
///
/// # Errors
/// The store can't be read at all.
pub fn bans(archive: &dyn Archive) -> Result<Bans, ArchiveError> {
    let size = archive.size()?;
    let (mut standing, mut unreadable, mut bundle_sequence) = (BTreeMap::new(), 0, None);
    let mut next = 0;
    while next < size {
        let leaves = archive.leaves(next, LEAVES_AT_ONCE)?;
        if leaves.is_empty() {
            unreadable += size - next;
            break;
        }
        for (leaf, bytes) in (next..).zip(&leaves) {
            match decode(bytes) {
                Ok(record) => {
                    if let Body::KeysRotated { sequence, .. } = record.body {
                        bundle_sequence = bundle_sequence.max(Some(sequence));
                    }
                    take(&mut standing, leaf, record.body);
                }
                Err(_) => unreadable += 1,
            }
        }
        next += leaves.len() as u64;
    }
    let names: HashMap<PersonId, String> = archive.directory()?.into_iter().collect();
    let ban = |(target, (revocation, leaf))| {
        let alias = match &target {
            Target::Person(person) => names.get(person).cloned(),
            Target::Task(_) | Target::Instance(_) | Target::Agent(_) | Target::Server(_) => None,
        };
        Ban {
            revocation,
            target,
            leaf,
            alias,
        }
    };
    let mut standing: Vec<Ban> = standing.into_iter().map(ban).collect();
    standing.sort_by_key(|it| it.leaf);
    Ok(Bans {
        standing,
        unreadable,
        bundle_sequence,
    })
}

fn take(standing: &mut BTreeMap<Target, (RevocationId, u64)>, leaf: u64, body: Body) {
    if let Body::Reinstated { target, .. } = &body {
        standing.remove(target);
    }
    if let Body::Revoked {
        revocation, target, ..
    }
    | Body::RevocationCarried {
        revocation, target, ..
    } = body
        && !matches!(target, Target::Task(_) | Target::Instance(_))
    {
        standing.insert(target, (revocation, leaf));
    }
}
