//! `Idempotency-Key`: the same request sent twice is done once.
//!
//! Answers are kept in memory, and yet neither a restart nor forgetting can repeat an act: a key is a UUID of version 7
//! (RFC 9562 §5.7), which says when it was made. One that is older than what is remembered is refused, and its sender
//! looks at what happened.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use ambit_core::{Digest, Millis, PersonId, Timestamp};
use ambit_identity::{PeerCredentials, login::ProvedLogin};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, problem::Problem, read_carried};
use crate::locked::locked;

/// How many answers are kept for each local user, and for each person with logins.
pub const IDEMPOTENCY_KEPT_MAX: usize = 256;
/// The longest answer that is kept, in bytes. That a longer one was given is remembered, and the act not repeated.
pub const IDEMPOTENCY_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How far ahead of the server's clock a key may say that it was made.
pub const IDEMPOTENCY_KEY_AHEAD_MAX: Millis = Millis::from_seconds(60);

/// The newest answers.
pub(super) struct Idempotency {
    began: Timestamp,
    users: Mutex<BTreeMap<Sender, User>>,
}

/// Who sent a request, as far as it proves to be the same one that it was before: a new login of a person is no new
/// sender.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Sender {
    Local { unix_uid: u32 },
    Person(PersonId),
}

/// What one sender sent.
struct User {
    /// Keys made before are not known any more, or not yet.
    horizon: Timestamp,
    kept: VecDeque<Kept>,
}

/// The place where the answer of one request will be kept.
struct Place<'a> {
    all: &'a Idempotency,
    sender: Sender,
    /// Taken when the answer is there.
    key: Option<Key>,
}

/// What to do with a request.
enum Turn<'a> {
    /// Do it, and keep the answer there.
    New(Place<'a>),
    /// It was done: this is the answer.
    Done(Bytes),
}

struct Kept {
    key: Key,
    request: Digest,
    answer: Answer,
}

#[derive(Clone, Debug)]
enum Answer {
    UnderWay,
    Given(Bytes),
    TooLong,
    /// It broke off.
    Unknown,
}

/// A key, and when it was made.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Key {
    text: String,
    made_at: Timestamp,
}

/// Has a request with a key done once, whatever it asks for; one without a key is simply done.
pub(super) async fn once(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    // It is carried to its end also when whoever asked has gone ([`crate::carried`]): so there is an answer to keep.
    let done = once_with_key(shared, request, next).await;
    done.unwrap_or_else(IntoResponse::into_response)
}

async fn once_with_key(
    shared: Arc<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (Some(key), Some(sender)) = (Key::of(request.headers())?, Sender::of(&request)) else {
        return Ok(next.run(request).await);
    };
    let (parts, body) = request.into_parts();
    let body = read_carried(body).await?;
    let path = parts.uri.path().as_bytes();
    let digest = Digest::of_parts(&[path, b"\n", &body]);
    let now = (shared.control.clock)().now;
    let place = match shared.idempotency.turn(key, sender, digest, now)? {
        Turn::New(place) => place,
        Turn::Done(answer) => return Ok(json(answer)),
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if response.status().is_client_error() {
        place.free();
        return Ok(response);
    }
    if !response.status().is_success() {
        // The place is dropped: nobody knows how far it came.
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    place.keep(&bytes);
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn json(answer: Bytes) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], answer).into_response()
}

impl Idempotency {
    /// Remembers from `began` on.
    pub(super) fn new(began: Timestamp) -> Self {
        Self {
            began,
            users: Mutex::default(),
        }
    }

    /// Says whether the request is new.
    fn turn(
        &self,
        key: Key,
        sender: Sender,
        request: Digest,
        now: Timestamp,
    ) -> Result<Turn<'_>, Problem> {
        if key.made_at > now.plus(IDEMPOTENCY_KEY_AHEAD_MAX) {
            return Err(Problem::invalid(
                "the `Idempotency-Key` says that it was made later than now; set the clock that made it",
            ));
        }
        let mut users = locked(&self.users);
        let user = users.entry(sender).or_insert_with(|| User {
            horizon: self.began,
            kept: VecDeque::new(),
        });
        if let Some(found) = user.kept.iter().find(|it| it.key == key) {
            return found.again(request).map(Turn::Done);
        }
        if key.made_at < user.horizon {
            return Err(forgotten());
        }
        user.make_room()?;
        user.kept.push_back(Kept {
            key: key.clone(),
            request,
            answer: Answer::UnderWay,
        });
        Ok(Turn::New(Place {
            all: self,
            sender,
            key: Some(key),
        }))
    }
}

impl User {
    /// Forgets the oldest key when there is no room, and all that were made before it.
    fn make_room(&mut self) -> Result<(), Problem> {
        if self.kept.len() < IDEMPOTENCY_KEPT_MAX {
            return Ok(());
        }
        let settled = |it: &Kept| !matches!(it.answer, Answer::UnderWay);
        let oldest = self.kept.iter().enumerate().filter(|(_, it)| settled(it));
        let oldest = oldest.min_by_key(|(_, it)| it.key.made_at);
        let Some(forgotten) = oldest.map(|(place, _)| place) else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many requests with a key are under way",
            )
            .because("wait for some of them to end"));
        };
        if let Some(forgotten) = self.kept.remove(forgotten) {
            let after = forgotten.key.made_at.plus(Millis::new(1));
            self.horizon = self.horizon.max(after);
        }
        Ok(())
    }
}

impl Kept {
    fn again(&self, request: Digest) -> Result<Bytes, Problem> {
        if self.request != request {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "the `Idempotency-Key` belongs to another request",
            )
            .because("send a new key with a new request"));
        }
        match &self.answer {
            Answer::Given(answer) => Ok(answer.clone()),
            Answer::TooLong => Err(Problem::new(
                StatusCode::CONFLICT,
                "already_done",
                "the request was done, and its answer was too long to keep",
            )
            .because("look at what it made, or send a new key to do it again")),
            Answer::Unknown => Err(unknown()),
            Answer::UnderWay => Err(Problem::new(
                StatusCode::CONFLICT,
                "in_progress",
                "the same request is under way",
            )
            .because("ask again in a moment")),
        }
    }
}

impl Sender {
    fn of(request: &Request) -> Option<Self> {
        let login = request.extensions().get::<ProvedLogin>();
        let local = request.extensions().get::<PeerCredentials>();
        let person = login.map(|it| Self::Person(it.login().person));
        person.or(local.map(|it| Self::Local { unix_uid: it.uid }))
    }
}

impl Key {
    /// Reads the header, when there is one.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else {
            return Ok(None);
        };
        let key = value.to_str().ok().and_then(Self::parse);
        key.map(Some).ok_or_else(|| {
            Problem::invalid(
                "an `Idempotency-Key` is a UUID of version 7, such as 01943c5e-8f00-7b3a-9c1d-5e2f60718293: it says when \
                 it was made",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let groups: Vec<&str> = text.split('-').collect();
        let lengths = groups.iter().map(|it| it.len());
        let hex = groups
            .iter()
            .all(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
        let [high, low, version, variant, _] = groups.as_slice() else {
            return None;
        };
        let marked = version.starts_with('7') && variant.starts_with(['8', '9', 'a', 'b']);
        if !lengths.eq([8, 4, 4, 4, 12]) || !hex || !marked {
            return None;
        }
        let millis = u64::from_str_radix(&format!("{high}{low}"), 16).ok()?;
        Some(Self {
            made_at: Timestamp::from_millis(millis),
            text,
        })
    }
}

impl Place<'_> {
    /// Keeps the answer for whoever sends the request again.
    fn keep(mut self, answer: &Bytes) {
        self.settle(match answer.len() {
            0..=IDEMPOTENCY_ANSWER_BYTES_MAX => Answer::Given(answer.clone()),
            _ => Answer::TooLong,
        });
    }

    fn settle(&mut self, answer: Answer) {
        let Some(key) = self.key.take() else {
            return;
        };
        let mut users = locked(&self.all.users);
        let all = users.get_mut(&self.sender).into_iter();
        if let Some(found) = all
            .flat_map(|it| it.kept.iter_mut())
            .find(|it| it.key == key)
        {
            found.answer = answer;
        }
    }

    /// Leaves the key free: the request came to nothing.
    fn free(mut self) {
        let Some(key) = self.key.take() else {
            return;
        };
        let mut users = locked(&self.all.users);
        if let Some(user) = users.get_mut(&self.sender) {
            user.kept.retain(|it| it.key != key);
            if user.kept.is_empty() && user.horizon <= self.all.began {
                users.remove(&self.sender);
            }
        }
    }
}

/// Of a request that broke off nobody knows what it did.
impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.settle(Answer::Unknown);
    }
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "idempotency_unknown",
        "the request with this `Idempotency-Key` broke off, and may have been done",
    )
    .because("look at what happened (`ambit log tail`), and send a new key if it was not")
}

fn forgotten() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "idempotency_key_too_old",
        "the `Idempotency-Key` is older than what the server remembers",
    )
    .because(
        "whether its request was done is not known here; look (`ambit log tail`, `ambit task list --all`), and send a new \
         key if it was not",
    )
}

#[cfg(test)]
mod tests;
