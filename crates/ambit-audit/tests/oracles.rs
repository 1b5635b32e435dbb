//! Independent implementations read what we write, and refuse what was tampered with.

#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ambit_audit::{
    Checkpoint, Commit, Damage, Directory, Durable, DurableError, Log, LogKey, Resume, SourceError,
    TILE_WIDTH, Tile, TilePath, TileSource, Verified, VerifierKey, VerifyError, decode_bundle,
    encode, encode_bundle, export, leaf_hash, partial_tile, prove_consistency, prove_inclusion,
    verify,
};
use ambit_core::{
    Digest, Timestamp,
    id::Id,
    json::Value,
    record::{
        Actor, Answer, Body, Decided, Performed, Record, Sealed, Settlement, Status, Warrant,
    },
};
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Hash, TileHashReader, TileReader};

const ORIGIN: &str = "example.org/log";

/// A log in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Parts>>);

/// Leaves, full tiles, checkpoint.
type Parts = (Vec<Vec<u8>>, Vec<Tile>, String);

impl Durable for Kept {
    fn space(&mut self) -> ambit_audit::Space {
        ambit_audit::Space::Ample
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DurableError> {
        let mut kept = self.0.lock().unwrap();
        kept.0.extend_from_slice(commit.leaves);
        kept.1.extend_from_slice(commit.tiles);
        kept.2 = commit.checkpoint.to_owned();
        Ok(())
    }
}

impl TileSource for Kept {
    fn checkpoint(&self) -> Result<Option<String>, SourceError> {
        Ok(Some(self.0.lock().unwrap().2.clone()))
    }

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, SourceError> {
        let kept = self.0.lock().unwrap();
        let full = |level, index| -> Result<_, SourceError> {
            let mut tiles = kept.1.iter();
            let found = tiles.find(|it| (it.level, it.index) == (level, index));
            Ok(found.map(|it| it.hashes.clone()))
        };
        if width == TILE_WIDTH {
            return full(level, index);
        }
        let leaves = |first: u64, count| -> Result<_, SourceError> {
            Ok(kept
                .0
                .iter()
                .skip(first as usize)
                .take(count)
                .cloned()
                .collect())
        };
        partial_tile(level, index, width, leaves, full)
    }

    fn entries(&self, index: u64, width: u16) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
        let kept = self.0.lock().unwrap();
        let first = index as usize * usize::from(TILE_WIDTH);
        let leaves = kept.0.iter().skip(first).take(width.into());
        Ok(Some(leaves.cloned().collect()))
    }
}

/// A log of `size` records: its opening, then permits and their outcomes in turn.
fn log(size: u64, seed: u8) -> (Kept, VerifierKey, Vec<Checkpoint>) {
    let kept = Kept::default();
    let key = LogKey::from_seed(&[seed; 32]).unwrap();
    let verifier = key.verifier(ORIGIN).unwrap();
    let mut log = Log::open(kept.clone(), key, ORIGIN.to_owned(), Resume::empty()).unwrap();
    let mut checkpoints = Vec::new();
    while log.size() < size {
        let mut batch = log
            .begin(Timestamp::from_millis(1000 + log.size()))
            .unwrap();
        while (batch.len() as u64) < (size - log.size()).min(97) {
            let index = log.size() + batch.len() as u64;
            batch.add(body(index)).unwrap();
        }
        log.commit(batch, Vec::new(), Vec::new()).unwrap();
        checkpoints.push(log.checkpoint());
    }
    (kept, verifier, checkpoints)
}

fn body(index: u64) -> Body {
    let decision = Id::from_bits(u128::from(index.div_ceil(2)));
    let task = Id::from_bits(1);
    match index {
        0 => Body::LogOpened {
            origin: ORIGIN.to_owned(),
            recovered: None,
        },
        _ if index % 2 == 1 => Body::Decided(Box::new(Decided {
            decision,
            actor: Actor::Ambit,
            task: Some(task),
            action: "list".to_owned(),
            server: None,
            tool: None,
            pin: None,
            act: None,
            estate: Digest::of(b"estate"),
            facts: Value::Null,
            answer: Answer::Allow {
                act_by: Timestamp::from_millis(index),
                charged: ambit_core::Labels::none(),
                spends: None,
            },
            rules: Vec::new(),
        })),
        _ => Body::Performed(Box::new(Performed {
            decision,
            task,
            status: Status::Done,
            took: ambit_core::Millis::new(1),
            sent_bytes: 1,
            received_bytes: 1,
            labels: ambit_core::Labels::none(),
            result: None,
            failure: None,
        })),
    }
}

/// The tiles of a source, as `tlog_tiles` asks for them.
struct Oracle<'a>(&'a dyn TileSource);

impl TileReader for Oracle<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let (level, index, width) = (tile.level(), tile.level_index(), tile.width() as u16);
            let found = self.0.tile(level, index, width).ok().flatten();
            found.ok_or(tlog_tiles::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Opens the checkpoint with `signed_note` and proves every leaf with `tlog_tiles`.
fn oracle_accepts(source: &dyn TileSource, key: &VerifierKey) -> Result<(), String> {
    let note = source.checkpoint().unwrap().ok_or("no checkpoint")?;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let note = Note::from_bytes(note.as_bytes()).map_err(|error| text(&error))?;
    let oracle_key = StandardVerifier::new(&key.to_string()).map_err(|error| text(&error))?;
    let keys = VerifierList::new(vec![Box::new(oracle_key)]);
    let (verified, _) = note.verify(&keys).map_err(|error| text(&error))?;
    if verified.len() != 1 {
        return Err("not one signature".to_owned());
    }
    let checkpoint =
        tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|error| text(&error))?;
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let oracle = Oracle(source);
    let reader = TileHashReader::new(size, root, &oracle);
    for bundle in 0..size.div_ceil(256) {
        let width = (size - bundle * 256).min(256);
        let leaves = source
            .entries(bundle, width as u16)
            .map_err(|error| text(&error))?;
        let leaves = leaves.ok_or("no bundle")?;
        if leaves.len() as u64 != width {
            return Err(format!("bundle {bundle} has {} leaves", leaves.len()));
        }
        for (leaf, index) in leaves.iter().zip(bundle * 256..) {
            let proof = tlog_tiles::prove_record(size, index, &reader);
            let proof = proof.map_err(|error| format!("{index}: {error}"))?;
            let hash = tlog_tiles::record_hash(leaf);
            tlog_tiles::check_record(&proof, size, root, index, hash)
                .map_err(|error| format!("{index}: {error}"))?;
        }
    }
    Ok(())
}

fn hash(digest: &Digest) -> Hash {
    Hash(*digest.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn others_read_what_we_write(size in 1u64..1400, pick: prop::sample::Index) {
        let (kept, key, checkpoints) = log(size, 5);
        oracle_accepts(&kept, &key).unwrap();
        let last = checkpoints.last().unwrap();
        let index = pick.index(size as usize) as u64;
        let tile = |level, index, width| kept.tile(level, index, width);
        let leaf = kept.0.lock().unwrap().0[index as usize].clone();

        let ours = prove_inclusion(index, size, tile).unwrap();
        let theirs: Vec<_> = ours.path.iter().map(hash).collect();
        let found = tlog_tiles::check_record(
            &theirs, size, hash(&last.root), index, tlog_tiles::record_hash(&leaf));
        prop_assert!(found.is_ok());
        prop_assert_eq!(hash(&leaf_hash(&leaf)), tlog_tiles::record_hash(&leaf));

        for old in &checkpoints {
            let ours = prove_consistency(old.size, size, tile).unwrap();
            let theirs: Vec<_> = ours.path.iter().map(hash).collect();
            let found = tlog_tiles::check_tree(
                &theirs, size, hash(&last.root), old.size, hash(&old.root));
            prop_assert!(found.is_ok(), "{} in {}", old.size, size);
        }
    }

    #[test]
    fn others_spell_paths_as_we_do(level in 0u8..6, index in 0u64..1 << 40, width in 1u16..=256) {
        let theirs = tlog_tiles::Tile::new(8, level, index, width.into(), false).path();
        let ours = TilePath::Hashes { level, index, width }.to_string();
        // `tlog_tiles` names the height too, as Go's sumdb does.
        prop_assert_eq!(theirs.replacen("tile/8/", "tile/", 1), ours);
    }
}

/// Exports a log of 700 records, lets `tamper` loose on the files, and returns what our verifier says. The oracle must
/// refuse it too.
fn tampered(tamper: impl FnOnce(&Path)) -> VerifyError {
    let (kept, key, _) = log(700, 5);
    let directory = tempfile::tempdir().unwrap();
    export(&kept, directory.path()).unwrap();
    let source = Directory::new(directory.path());
    oracle_accepts(&source, &key).unwrap();
    assert_eq!(whole(&source, &key).checkpoint.size, 700);
    tamper(directory.path());
    let refused = verify(&source, &key, None).unwrap_err();
    oracle_accepts(&source, &key).unwrap_err();
    refused
}

fn whole(source: &impl TileSource, key: &VerifierKey) -> Verified {
    verify(source, key, None).unwrap()
}

fn bundle_path(root: &Path, index: u64) -> PathBuf {
    let width = if index == 2 { 700 - 512 } else { TILE_WIDTH };
    root.join(TilePath::Entries { index, width }.to_string())
}

/// Rewrites the leaves of an entry bundle.
fn rewrite(root: &Path, bundle: u64, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let path = bundle_path(root, bundle);
    let mut leaves = decode_bundle(&fs::read(&path).unwrap()).unwrap();
    change(&mut leaves);
    leaves.truncate(256);
    fs::write(&path, encode_bundle(&leaves).unwrap()).unwrap();
}

#[test]
fn tampering_is_refused_and_located() {
    let check = |name: &str, index: u64, tamper: &dyn Fn(&Path)| {
        let refused = tampered(tamper).to_string();
        assert!(
            refused.contains(&format!("record {index} ")) && !refused.contains("itself"),
            "{name}: {refused}"
        );
        assert!(refused.contains("`ambit recover`"), "{name}: {refused}");
    };
    let other = encode(&Record {
        at: Timestamp::from_millis(1300),
        body: body(300),
    });
    check("edit", 300, &|root| {
        rewrite(root, 1, |it| it[44] = other.clone())
    });
    check("edit the last", 699, &|root| {
        rewrite(root, 2, |it| it[187] = other.clone());
    });
    check("delete", 300, &|root| {
        rewrite(root, 1, |it| drop(it.remove(44)))
    });
    check("insert", 301, &|root| {
        rewrite(root, 1, |it| it.insert(45, other.clone()))
    });
    check("reorder", 257, &|root| rewrite(root, 1, |it| it.swap(1, 2)));
    check("truncate", 650, &|root| {
        rewrite(root, 2, |it| it.truncate(138))
    });
    check("lose a bundle", 512, &|root| {
        fs::remove_file(bundle_path(root, 2)).unwrap()
    });
    check("append", 700, &|root| {
        rewrite(root, 2, |it| it.push(other.clone()))
    });
    check("cut a leaf", 511, &|root| {
        let path = bundle_path(root, 1);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    });
}

#[test]
fn tampering_with_tiles_is_located() {
    let path = |level, index, width| {
        TilePath::Hashes {
            level,
            index,
            width,
        }
        .to_string()
    };
    let refused = tampered(|root| {
        let path = root.join(path(0, 1, 256));
        let mut bytes = fs::read(&path).unwrap();
        bytes[32 * 7] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    let told = refused.to_string();
    assert!(
        told.contains("hash tile 1 of level 0 is not the one"),
        "{told}"
    );
    assert!(told.contains("record 263 itself is as it was"), "{told}");
    let refused = tampered(|root| {
        let path = root.join(path(0, 2, 700 - 512));
        let mut bytes = fs::read(&path).unwrap();
        bytes[32 * 7] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    let told = refused.to_string();
    assert!(
        told.contains("hash tile 2 of level 0 is not the one"),
        "{told}"
    );
    assert!(told.contains("record 519 itself is as it was"), "{told}");
    let refused = tampered(|root| {
        let path = root.join(path(1, 0, 2));
        let mut bytes = fs::read(&path).unwrap();
        bytes[32] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    assert!(
        refused.to_string().contains("records 256 to 511"),
        "{refused}"
    );
    let refused = tampered(|root| fs::remove_file(root.join(path(0, 1, 256))).unwrap());
    assert!(
        refused.to_string().contains("hash tile 1 of level 0"),
        "{refused}"
    );
}

#[test]
fn a_rewritten_history_is_refused_however_well_it_is_made() {
    // Somebody without the key rewrites a record with every tile above it: only the root differs.
    let (mut kept, key, checkpoints) = log(700, 5);
    let genuine = kept.checkpoint().unwrap().unwrap();
    let (forged, ..) = {
        kept = Kept::default();
        let other_key = LogKey::from_seed(&[6; 32]).unwrap();
        let mut log =
            Log::open(kept.clone(), other_key, ORIGIN.to_owned(), Resume::empty()).unwrap();
        let mut batch = log.begin(Timestamp::from_millis(1000)).unwrap();
        for index in 0..700 {
            batch.add(body(index)).unwrap();
        }
        log.commit(batch, Vec::new(), Vec::new()).unwrap();
        (kept, ())
    };
    oracle_accepts(&forged, &key).unwrap_err();
    let refused = verify(&forged, &key, None).unwrap_err();
    assert!(
        matches!(refused, VerifyError::Checkpoint(_)),
        "another key: {refused}"
    );
    forged.0.lock().unwrap().2 = genuine;
    oracle_accepts(&forged, &key).unwrap_err();
    let refused = verify(&forged, &key, None).unwrap_err().to_string();
    assert!(
        refused.contains("from there on") && refused.contains("512"),
        "{refused}"
    );

    // Somebody with the key forks the log: a checkpoint known before shows it.
    let (fork, ..) = log(700, 5);
    let known = checkpoints.get(3).unwrap();
    verify(&fork, &key, Some(known)).unwrap();
    let fork = Kept::default();
    let log_key = LogKey::from_seed(&[5; 32]).unwrap();
    let mut log = Log::open(fork.clone(), log_key, ORIGIN.to_owned(), Resume::empty()).unwrap();
    let mut batch = log.begin(Timestamp::from_millis(9)).unwrap();
    for index in 0..700 {
        batch.add(body(index)).unwrap();
    }
    log.commit(batch, Vec::new(), Vec::new()).unwrap();
    verify(&fork, &key, None).unwrap();
    let refused = verify(&fork, &key, Some(known)).unwrap_err();
    let size = known.size;
    assert!(
        matches!(refused, VerifyError::Damage(Damage::Forked { size: found }) if found == size),
        "{refused}"
    );
    let longer = Checkpoint {
        size: 701,
        ..known.clone()
    };
    let refused = verify(&fork, &key, Some(&longer)).unwrap_err();
    let rolled_back = Damage::RolledBack {
        size: 700,
        known: 701,
    };
    assert_eq!(
        refused.to_string(),
        VerifyError::from(rolled_back).to_string()
    );
}

/// Writes a log of these bodies and times, and returns what the verifier says.
fn verdict(records: &[(u64, Body)]) -> Result<Verified, VerifyError> {
    let kept = Kept::default();
    let key = LogKey::from_seed(&[5; 32]).unwrap();
    let verifier = key.verifier(ORIGIN).unwrap();
    let leaves = records.iter().map(|(at, body)| {
        let at = Timestamp::from_millis(*at);
        encode(&Record {
            at,
            body: body.clone(),
        })
    });
    let leaves: Vec<_> = leaves.collect();
    let mut frontier = ambit_audit::Frontier::new();
    for leaf in &leaves {
        frontier.push(leaf_hash(leaf), &mut Vec::new());
    }
    let note = key.sign(&Checkpoint {
        origin: ORIGIN.to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    });
    *kept.0.lock().unwrap() = (leaves, Vec::new(), note);
    verify(&kept, &verifier, None)
}

#[test]
fn a_signed_log_with_a_wrong_story_is_refused() {
    let check = |message: &str, records: &[(u64, Body)]| {
        let refused = verdict(records).unwrap_err().to_string();
        assert!(refused.contains(message), "{refused}");
    };
    let outcome = |status| {
        let Body::Performed(it) = body(2) else {
            unreachable!("an even index is an outcome");
        };
        Body::Performed(Box::new(Performed { status, ..*it }))
    };
    let other_origin = Body::LogOpened {
        origin: "example.org/other".to_owned(),
        recovered: None,
    };
    let good = [(1, body(0)), (1, body(1)), (2, body(2)), (3, body(3))];
    assert_eq!(verdict(&good).unwrap().open_acts.len(), 1);
    let late = [
        (1, body(0)),
        (1, body(1)),
        (1, outcome(Status::Unknown)),
        (2, body(2)),
    ];
    assert_eq!(
        verdict(&late).unwrap().open_acts.len(),
        0,
        "an unknown outcome became known"
    );
    check(
        "record 2 is of",
        &[(1, body(0)), (5, body(1)), (4, body(2))],
    );
    check(
        "record 1 is the outcome",
        &[(1, body(0)), (1, body(2)), (1, body(1))],
    );
    let twice = [(1, body(0)), (1, body(1)), (1, body(2)), (1, body(2))];
    check("record 3 is the outcome", &twice);
    check("record 0 breaks", &[(1, body(1))]);
    check("record 1 breaks", &[(1, body(0)), (1, body(0))]);
    check("record 0 breaks", &[(1, other_origin)]);
}

#[test]
fn only_an_unknown_outcome_is_settled_and_once() {
    let check = |message: &str, records: &[(u64, Body)]| {
        let refused = verdict(records).unwrap_err().to_string();
        assert!(refused.contains(message), "{refused}");
    };
    let Body::Performed(of) = body(2) else {
        unreachable!("an even index is an outcome");
    };
    let lost = Body::Performed(Box::new(Performed {
        status: Status::Unknown,
        ..(*of).clone()
    }));
    let settled = |task| Body::ActSettled {
        decision: of.decision,
        task,
        settlement: Settlement::Happened,
        reason: Sealed {
            commitment: Digest::of(b"words"),
            blob: None,
        },
        warrant: Warrant {
            decision: Id::from_bits(7),
            by: Id::from_bits(8),
            rules: Vec::new(),
            facts: Value::Null,
        },
    };
    let unknown = [(1, body(0)), (1, body(1)), (1, lost)];
    let then = |more: &[Body]| {
        let more = more.iter().map(|it| (2, it.clone()));
        unknown.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    let told = verdict(&then(&[settled(of.task)])).unwrap();
    assert_eq!((told.open_acts.len(), told.settled_acts), (0, 1));
    check("record 3 settles", &then(&[settled(Id::from_bits(99))]));
    check(
        "record 4 settles",
        &then(&[settled(of.task), settled(of.task)]),
    );
    check(
        "record 4 is the outcome",
        &then(&[settled(of.task), body(2)]),
    );
    check(
        "record 2 settles",
        &[(1, body(0)), (1, body(1)), (2, settled(of.task))],
    );
}
