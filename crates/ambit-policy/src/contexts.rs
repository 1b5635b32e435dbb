//! What policies see of an act besides who and on what: facts as Cedar's context.
//!
//! To build one costs as much as to evaluate most policies, and most acts of most tasks have the same facts. So
//! contexts are kept and shared. What differs from act to act, the time and the calls left, is shown to policies only
//! when one of them reads it; then contexts are built anew for each act.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use ambit_core::Labels;
use cedar_policy::{Context, RestrictedExpression};

use crate::{
    entities::text,
    facts::{Facts, Words},
};

/// The most contexts that are kept. Beyond it all are dropped: they cost little to build again.
pub(crate) const CONTEXTS_MAX: usize = 256;

/// Whether policies read something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reading {
    /// Some may.
    Read,
    /// None does.
    Unread,
}

/// Which of the facts that differ from act to act are read by policies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Readings {
    /// Cedar parses a time anew at each use, at the price of several policies.
    pub(crate) time: Reading,
    pub(crate) calls_left: Reading,
}

/// The contexts of the acts that were decided of late.
pub(crate) struct Contexts {
    readings: Readings,
    known: Mutex<HashMap<Seen, Context>>,
}

/// All that a context is made of, when it can be shared.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Seen {
    words: Words,
    labels: Labels,
    charged: Labels,
    may_emit: Labels,
}

impl Contexts {
    /// Makes an empty collection for policies that read `readings`.
    pub(crate) fn new(readings: Readings) -> Self {
        Self {
            readings,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// Returns the context of `facts`; none when Cedar can't hold it.
    pub(crate) fn of(&self, facts: &Facts) -> Option<Context> {
        if self.readings != Readings::NOTHING {
            return context(facts, self.readings);
        }
        let seen = Seen {
            words: facts.words.clone(),
            labels: facts.labels.clone(),
            charged: facts.charged.clone(),
            may_emit: facts.may_emit.clone(),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = known.get(&seen) {
            return Some(context.clone());
        }
        let context = context(facts, self.readings)?;
        if known.len() >= CONTEXTS_MAX {
            known.clear();
        }
        known.insert(seen, context.clone());
        Some(context)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

impl Readings {
    /// Everything.
    #[cfg(test)]
    pub(crate) const EVERYTHING: Self = Self {
        time: Reading::Read,
        calls_left: Reading::Read,
    };
    /// Nothing.
    pub(crate) const NOTHING: Self = Self {
        time: Reading::Unread,
        calls_left: Reading::Unread,
    };
}

/// Builds the context of `facts` for policies that read `readings`.
pub(crate) fn context(facts: &Facts, readings: Readings) -> Option<Context> {
    let words = facts
        .words
        .iter()
        .map(|(name, word)| (name.to_owned(), text(word)));
    let sets = [
        ("labels", &facts.labels),
        ("charged", &facts.charged),
        ("may_emit", &facts.may_emit),
    ]
    .map(|(name, labels)| {
        let items = labels.iter().map(|it| text(it.as_str()));
        (name.to_owned(), RestrictedExpression::new_set(items))
    });
    let calls_left = (readings.calls_left == Reading::Read).then(|| {
        let calls_left = RestrictedExpression::new_long(facts.calls_left.into());
        ("calls_left".to_owned(), calls_left)
    });
    let now = (readings.time == Reading::Read).then(|| {
        let now = RestrictedExpression::new_datetime(facts.at.to_string());
        ("now".to_owned(), now)
    });
    Context::from_pairs(words.chain(sets).chain(calls_left).chain(now)).ok()
}
