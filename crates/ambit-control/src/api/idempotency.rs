//! `Idempotency-Key`: the same request sent twice is done once.
//!
//! Kept in memory, for the newest requests: a client that retries does so within seconds. After a restart the
//! retry is a new request.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use ambit_core::{Digest, json::Value};
use axum::http::{HeaderMap, StatusCode};

use super::problem::Problem;

/// How many answers are kept.
pub const IDEMPOTENCY_KEPT_MAX: usize = 256;
/// The longest key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// The newest answers.
#[derive(Default)]
pub(super) struct Idempotency(Mutex<VecDeque<Kept>>);

/// The place where the answer of one request will be kept.
pub(super) struct Place<'a> {
    all: &'a Idempotency,
    key: Option<Key>,
}

/// What to do with a request.
pub(super) enum Turn<'a> {
    /// Do it, and keep the answer there.
    New(Place<'a>),
    /// It was done: this is the answer.
    Done(Value),
}

struct Kept {
    key: Key,
    request: Digest,
    answer: Option<Value>,
}

#[derive(Clone, Eq, PartialEq)]
struct Key {
    person: String,
    text: String,
}

impl Idempotency {
    /// Says whether the request is new. Without a key, every request is.
    pub(super) fn turn(
        &self,
        headers: &HeaderMap,
        person: &str,
        request: &Value,
    ) -> Result<Turn<'_>, Problem> {
        let Some(text) = headers.get("idempotency-key") else {
            return Ok(Turn::New(Place {
                all: self,
                key: None,
            }));
        };
        let text = text
            .to_str()
            .ok()
            .filter(|it| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&it.len()));
        let Some(text) = text else {
            return Err(Problem::invalid(format!(
                "an `Idempotency-Key` has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
            )));
        };
        let key = Key {
            person: person.to_owned(),
            text: text.to_owned(),
        };
        let request = Digest::of(request.to_canonical().as_bytes());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.iter().find(|it| it.key == key) {
            return found.again(request).map(Turn::Done);
        }
        while kept.len() >= IDEMPOTENCY_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept {
            key: key.clone(),
            request,
            answer: None,
        });
        Ok(Turn::New(Place {
            all: self,
            key: Some(key),
        }))
    }
}

impl Kept {
    fn again(&self, request: Digest) -> Result<Value, Problem> {
        if self.request != request {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "the `Idempotency-Key` belongs to another request",
            )
            .because("send a new key with a new request"));
        }
        self.answer.clone().ok_or_else(|| {
            Problem::new(
                StatusCode::CONFLICT,
                "in_progress",
                "the same request is under way",
            )
            .because("ask again in a moment")
        })
    }
}

impl Place<'_> {
    /// Keeps the answer for whoever sends the request again.
    pub(super) fn keep(mut self, answer: &Value) {
        let Some(key) = self.key.take() else {
            return;
        };
        let mut kept = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.iter_mut().find(|it| it.key == key) {
            found.answer = Some(answer.clone());
        }
    }
}

/// A request that came to nothing leaves its key free.
impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut kept = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|it| it.key != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> HeaderMap {
        [("idempotency-key".parse().unwrap(), text.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn the_same_request_is_done_once() {
        let all = Idempotency::default();
        let (one, other) = (Value::from("one"), Value::from("other"));
        let Turn::New(place) = all.turn(&key("k"), "ada", &one).unwrap() else {
            panic!("the first is new");
        };
        let code = |it: Result<Turn<'_>, Problem>| it.err().unwrap().code().to_owned();
        assert_eq!(code(all.turn(&key("k"), "ada", &one)), "in_progress");
        place.keep(&Value::from(true));
        assert!(matches!(
            all.turn(&key("k"), "ada", &one),
            Ok(Turn::Done(Value::Bool(true)))
        ));
        assert_eq!(
            code(all.turn(&key("k"), "ada", &other)),
            "idempotency_key_reused"
        );
        assert!(matches!(all.turn(&key("k"), "bob", &one), Ok(Turn::New(_))));
        // What came to nothing may be tried again.
        assert!(matches!(all.turn(&key("k"), "bob", &one), Ok(Turn::New(_))));
    }

    #[test]
    fn what_is_kept_ends_at_its_maximum() {
        let all = Idempotency::default();
        let ask = |key_text: &str| match all.turn(&key(key_text), "ada", &Value::Null).unwrap() {
            Turn::New(place) => {
                place.keep(&Value::Null);
                true
            }
            Turn::Done(_) => false,
        };
        for number in 0..IDEMPOTENCY_KEPT_MAX {
            assert!(ask(&number.to_string()));
        }
        assert!(!ask("0"), "the maximum is kept");
        assert!(ask("one more"));
        assert!(ask("0"), "the oldest is forgotten");
        let longest = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX);
        assert!(ask(&longest));
        assert!(
            all.turn(&key(&format!("{longest}k")), "ada", &Value::Null)
                .is_err()
        );
    }
}
