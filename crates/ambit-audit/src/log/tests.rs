use std::sync::{Arc, Mutex};

use ambit_core::{
    Digest,
    id::Id,
    json::Value,
    record::{Body, Decided},
};
use proptest::prelude::*;

use super::*;
use crate::{
    CheckpointError, ResumeError, TILE_WIDTH, Tile, draft::FACTS_DEPTH_MAX, encode,
    prove_consistency, prove_inclusion,
};

/// The leaves and full tiles of a log, and a way to fail.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    leaves: Vec<Vec<u8>>,
    tiles: Vec<Tile>,
    checkpoint: Option<String>,
    fails: bool,
}

impl Durable for Kept {
    fn space(&mut self) -> crate::Space {
        crate::Space::Ample
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DurableError> {
        let mut inner = self.0.lock().unwrap();
        if inner.fails {
            return Err(DurableError::new("the disk is gone"));
        }
        assert_eq!(inner.leaves.len() as u64, commit.first_index);
        inner.leaves.extend_from_slice(commit.leaves);
        inner.tiles.extend_from_slice(commit.tiles);
        inner.checkpoint = Some(commit.checkpoint.to_owned());
        Ok(())
    }
}

impl Kept {
    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, std::io::Error> {
        let inner = self.0.lock().unwrap();
        let rest = inner.leaves.iter().skip(first as usize);
        Ok(rest.take(count).cloned().collect())
    }

    fn full(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, std::io::Error> {
        let inner = self.0.lock().unwrap();
        let mut tiles = inner.tiles.iter();
        let found = tiles.find(|it| (it.level, it.index) == (level, index));
        Ok(found.map(|it| it.hashes.clone()))
    }

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, std::io::Error> {
        if width == TILE_WIDTH {
            return self.full(level, index);
        }
        let leaves = |first, count| self.leaves(first, count);
        crate::partial_tile(level, index, width, leaves, |level, index| {
            self.full(level, index)
        })
    }

    fn resume(&self) -> Result<Resume, ResumeError> {
        let (size, checkpoint) = {
            let inner = self.0.lock().unwrap();
            (inner.leaves.len() as u64, inner.checkpoint.clone())
        };
        let leaves = |first, count| self.leaves(first, count);
        Resume::from_archive(size, checkpoint, leaves, |level, index| {
            self.full(level, index)
        })
    }
}

fn key() -> LogKey {
    LogKey::from_seed(&[3; 32]).unwrap()
}

fn open(kept: &Kept) -> Result<Log<Kept>, LogError> {
    let resume = kept.resume().unwrap();
    Log::open(kept.clone(), key(), ORIGIN.to_owned(), resume)
}

fn fact(number: u64) -> Body {
    Body::PersonKnown {
        person: Id::from_bits(number.into()),
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn append(log: &mut Log<Kept>, count: u64) -> Committed {
    let mut batch = log.begin(at(1)).unwrap();
    for number in 0..count {
        batch.add(fact(number)).unwrap();
    }
    log.commit(batch, Vec::new(), Vec::new()).unwrap()
}

const ORIGIN: &str = "example.org/log";

#[test]
fn evidence_comes_only_from_the_commit_of_its_batch() {
    let mut log = open(&Kept::default()).unwrap();
    let mut first = log.begin(at(1)).unwrap();
    let mut second = log.begin(at(1)).unwrap();
    let one = first.add(fact(1)).unwrap();
    let two = second.add(fact(2)).unwrap();
    assert_eq!((one.index(), two.index()), (0, 0));
    let committed = log.commit(first, Vec::new(), Vec::new()).unwrap();
    assert!(matches!(two.settle(&committed), Err(LogError::OtherBatch)));
    let recorded = one.settle(&committed).unwrap();
    assert_eq!((recorded.index(), recorded.at()), (0, at(1)));
    assert_eq!(recorded.spend(), fact(1));
    let stale = log.commit(second, Vec::new(), Vec::new());
    assert!(matches!(stale, Err(LogError::BatchStale)));
    let empty = log.begin(at(1)).unwrap();
    let empty = log.commit(empty, Vec::new(), Vec::new());
    assert!(matches!(empty, Err(LogError::BatchEmpty)));
    assert_eq!(log.size(), 1, "neither stopped the log");
    assert_eq!(append(&mut log, 1).size(), 2);
}

#[test]
fn a_failed_commit_stops_the_log_for_good() {
    let kept = Kept::default();
    let mut log = open(&kept).unwrap();
    append(&mut log, 3);
    kept.0.lock().unwrap().fails = true;
    let mut batch = log.begin(at(1)).unwrap();
    batch.add(fact(1)).unwrap();
    let failed = log.commit(batch, Vec::new(), Vec::new());
    assert!(matches!(failed, Err(LogError::Durable(_))));
    kept.0.lock().unwrap().fails = false;
    assert!(matches!(log.begin(at(1)), Err(LogError::Stopped)));
    let log = open(&kept).unwrap();
    assert_eq!(log.size(), 3, "what was durable is read anew");
}

#[test]
fn time_never_decreases_and_never_leaps() {
    let mut log = open(&Kept::default()).unwrap();
    let mut batch = log.begin(at(1000)).unwrap();
    batch.add(fact(1)).unwrap();
    log.commit(batch, Vec::new(), Vec::new()).unwrap();
    assert_eq!(log.begin(at(5)).unwrap().at(), at(1000));
    let edge = at(1000).plus(CLOCK_JUMP_MAX);
    assert_eq!(log.begin(edge).unwrap().at(), edge);
    let beyond = edge.plus(Millis::new(1));
    assert!(matches!(log.begin(beyond), Err(LogError::ClockJump { .. })));
    log.accept_gap(beyond);
    assert_eq!(log.begin(beyond).unwrap().at(), beyond);
    assert_eq!(log.begin(at(5)).unwrap().at(), beyond);
}

#[test]
fn a_batch_and_a_leaf_end_at_their_maximum() {
    let log = open(&Kept::default()).unwrap();
    let mut batch = log.begin(at(1)).unwrap();
    for number in 0..BATCH_RECORDS_MAX as u64 {
        batch.add(fact(number)).unwrap();
    }
    assert!(matches!(batch.add(fact(0)), Err(LogError::BatchFull)));
    assert_eq!(batch.len(), BATCH_RECORDS_MAX);

    let opened = |bytes: usize| Body::LogOpened {
        origin: "x".repeat(bytes),
        recovered: None,
    };
    let record = Record {
        at: at(1),
        body: opened(0),
    };
    let room = LEAF_BYTES_MAX - encode(&record).len();
    let mut batch = log.begin(at(1)).unwrap();
    batch.add(opened(room)).unwrap();
    let beyond = batch.add(opened(room + 1));
    assert!(matches!(beyond, Err(LogError::LeafTooLong { .. })));
    assert_eq!(batch.len(), 1, "nothing was added");
}

#[test]
fn facts_that_could_not_be_read_back_are_refused() {
    let log = open(&Kept::default()).unwrap();
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    let decided = |facts| {
        Body::Decided(Box::new(Decided {
            decision: Id::from_bits(1),
            actor: ambit_core::record::Actor::Ambit,
            task: None,
            action: "inspect".to_owned(),
            server: None,
            tool: None,
            pin: None,
            act: None,
            estate: Digest::of(b""),
            facts,
            answer: ambit_core::record::Answer::Deny {
                reason: ambit_core::Reason::NotFound,
            },
            rules: Vec::new(),
        }))
    };
    let mut batch = log.begin(at(1)).unwrap();
    batch.add(decided(nested(FACTS_DEPTH_MAX))).unwrap();
    for facts in [nested(FACTS_DEPTH_MAX + 1), Value::Number(f64::NAN)] {
        let refused = batch.add(decided(facts));
        assert!(matches!(refused, Err(LogError::FactsUnreadable)));
    }
    let leaf = batch.leaves.first().unwrap();
    assert!(crate::decode(leaf).is_ok());
}

#[test]
fn a_log_resumes_only_where_its_checkpoint_says() {
    let kept = Kept::default();
    let mut log = open(&kept).unwrap();
    append(&mut log, 300);
    let good = kept.0.lock().unwrap().checkpoint.clone();
    open(&kept).unwrap();

    let refused = |kept: &Kept| open(kept).unwrap_err();
    kept.0.lock().unwrap().checkpoint = good.clone().map(|it| it.replace("300", "301"));
    let found = refused(&kept);
    assert!(matches!(
        found,
        LogError::Checkpoint(CheckpointError::Forged)
    ));
    kept.0.lock().unwrap().checkpoint = good;
    let leaf = kept.0.lock().unwrap().leaves.pop().unwrap();
    assert!(matches!(refused(&kept), LogError::CheckpointDiffers));
    kept.0.lock().unwrap().leaves.push(encode(&Record {
        at: at(1),
        body: fact(1),
    }));
    assert!(matches!(refused(&kept), LogError::CheckpointDiffers));
    kept.0.lock().unwrap().leaves.pop();
    kept.0.lock().unwrap().leaves.push(leaf);
    open(&kept).unwrap();
    kept.0.lock().unwrap().tiles.clear();
    assert!(matches!(
        kept.resume(),
        Err(ResumeError::Missing { size: 300 })
    ));
}

#[test]
fn an_origin_that_is_no_name_is_refused() {
    let opened = Log::open(
        Kept::default(),
        key(),
        "two words".to_owned(),
        Resume::empty(),
    );
    assert!(matches!(opened, Err(LogError::Origin(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_resumed_log_continues_the_same_tree(batches in prop::collection::vec(1u64..400, 1..8)) {
        let (steady, halting) = (Kept::default(), Kept::default());
        let mut log = open(&steady).unwrap();
        for count in batches {
            append(&mut log, count);
            let mut again = open(&halting).unwrap();
            append(&mut again, count);
            prop_assert_eq!(again.checkpoint(), log.checkpoint());
        }
        prop_assert_eq!(&steady.0.lock().unwrap().tiles, &halting.0.lock().unwrap().tiles);
    }

    #[test]
    fn proofs_hold_for_what_they_prove_and_nothing_else(
        old in 1u64..700,
        more in 0u64..700,
        pick: prop::sample::Index,
    ) {
        let kept = Kept::default();
        let mut log = open(&kept).unwrap();
        append(&mut log, old);
        let before = log.checkpoint();
        if more > 0 {
            append(&mut log, more);
        }
        let after = log.checkpoint();
        let index = pick.index(after.size as usize) as u64;
        let leaf = leaf_hash(&kept.leaves(index, 1).unwrap()[0]);
        let tile = |level, index, width| kept.tile(level, index, width);
        let proof = prove_inclusion(index, after.size, tile).unwrap();
        proof.check_inclusion(&leaf, index, after.size, &after.root).unwrap();
        prop_assert!(proof.check_inclusion(&Digest::of(b"x"), index, after.size, &after.root).is_err());
        prop_assert!(proof.check_inclusion(&leaf, index, after.size, &Digest::of(b"x")).is_err());
        let proof = prove_consistency(old, after.size, tile).unwrap();
        proof.check_consistency(old, &before.root, after.size, &after.root).unwrap();
        prop_assert!(proof.check_consistency(old, &Digest::of(b"x"), after.size, &after.root).is_err());
        prop_assert!(proof.check_consistency(old, &before.root, after.size, &Digest::of(b"x")).is_err());
    }
}
