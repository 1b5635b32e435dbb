//! Every target with its seeds and some thousand inputs bred from them. The same in every run: chance is a seed.

#![expect(
    clippy::indexing_slicing,
    reason = "a breeder that leaves its bounds must stop"
)]

use std::panic::catch_unwind;

use ambit_fuzz::{TARGETS, Target};

/// How many inputs each target gets besides its seeds.
const ROUNDS: u64 = 3000;

/// The longest input that is bred, in bytes.
const BYTES_MAX: usize = 8192;

#[test]
fn every_reader_keeps_its_laws() {
    let broken: Vec<String> = TARGETS.iter().filter_map(|it| check(it).err()).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_target_has_a_name_and_seeds_of_its_own() {
    let mut names: Vec<&str> = TARGETS.iter().map(|it| it.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TARGETS.len());
    for target in TARGETS {
        assert!(!(target.seeds)().is_empty(), "{} has no seeds", target.name);
    }
}

/// Feeds one target, and says which input breaks a law first.
fn check(target: &Target) -> Result<(), String> {
    let mut pool = (target.seeds)();
    // Nothing at all is an input too.
    pool.push(Vec::new());
    for seed in &pool {
        attempt(target, seed)?;
    }
    let seeds = pool.len();
    let mut breeder = Breeder(0x5eed);
    for _ in 0..ROUNDS {
        let bred = breeder.breed(&pool, target.words);
        attempt(target, &bred)?;
        // Some of what was bred is bred from again, so that changes add up.
        if pool.len() < 8 * seeds {
            pool.push(bred);
        } else if breeder.below(4) == 0 {
            let place = seeds + breeder.below(pool.len() - seeds);
            pool[place] = bred;
        }
    }
    Ok(())
}

fn attempt(target: &Target, bytes: &[u8]) -> Result<(), String> {
    let run = target.run;
    catch_unwind(|| run(bytes)).map_err(|_| {
        let (name, text) = (target.name, bytes.escape_ascii());
        format!("{name} breaks a law, said above, for b\"{text}\"")
    })
}

/// Breeds inputs. The engine of chance is SplitMix64 (Steele et al., 2014).
struct Breeder(u64);

impl Breeder {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }

    fn breed(&mut self, pool: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut bytes = pool[self.below(pool.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, pool, words);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str]) {
        let at = self.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + self.below(8));
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => bytes.insert(at, self.below(256) as u8),
            4 if !words.is_empty() => {
                let word = words[self.below(words.len())];
                drop(bytes.splice(at..at, word.bytes()));
            }
            5 => {
                let again: Vec<u8> = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            6 => {
                let other = &pool[self.below(pool.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(at),
        }
    }
}
