//! Tokens: no live task, no token; what was shown twice ends.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use ambit_core::{
    Digest, Millis, Timestamp, TokenId,
    act::Target,
    limits::{
        ACCESS_TOKEN_TTL, REFRESH_FAMILIES_PER_TASK_MAX, REFRESH_TOKEN_TTL, SPENT_PER_FAMILY_MAX,
        TASK_TTL_MAX, TOKENS_PER_TASK_MAX,
    },
    record::Body,
    task::End,
    token::{Grant, KeyBinding, Reach, RestsOn, TokenEnd, TokenKind},
};
use ambit_engine::{
    ClientShown, Ender, RefreshAsk, Refreshable, State, TokenAsk, TokenBy, TokenGrant,
    TokenRefusal, TokenStanding, rebuild,
};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};

const CLIENT: &str = "https://client.example.org/metadata.json";
const PLACE: &str = "https://127.0.0.1:1/mcp";

fn key(seed: &[u8]) -> KeyBinding {
    KeyBinding::Dpop {
        thumbprint: Digest::of(seed),
    }
}

/// Asks for a token of the whole task, for a client of one's own.
pub(crate) fn asking() -> TokenAsk {
    TokenAsk {
        client: Some(CLIENT.to_owned()),
        audience: PLACE.to_owned(),
        binding: key(b"own"),
        ttl: ACCESS_TOKEN_TTL,
        refreshable: Refreshable::No,
        grant: Grant::ClientCredentials,
        parent: None,
        details: None,
        rests_on: RestsOn::default(),
    }
}

/// Shows a refresh token, as whoever got it does.
pub(crate) fn refreshing(text: &str) -> RefreshAsk {
    RefreshAsk {
        text: text.to_owned(),
        client: CLIENT.to_owned(),
        shown: ClientShown::Named,
        binding: key(b"own"),
        ttl: ACCESS_TOKEN_TTL,
        audience: None,
        client_proof: None,
    }
}

fn issue(
    world: &mut World,
    caller: &InstanceCaller,
    refreshable: Refreshable,
) -> Result<TokenGrant, TokenRefusal> {
    let ask = TokenAsk {
        refreshable,
        ..asking()
    };
    let (handle, caller, moment) = (world.handle.clone(), caller.clone(), world.clock.moment());
    world.run(async move {
        handle
            .issue_token(TokenBy::Instance(&caller), ask, moment)
            .await
    })
}

fn refresh(world: &mut World, text: &str, change: impl FnOnce(&mut RefreshAsk)) -> String {
    let mut ask = refreshing(text);
    change(&mut ask);
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    match world.run(async move { handle.refresh_token(ask, moment).await }) {
        Ok(granted) => granted.refresh().expect("another one").to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

fn is_live(world: &World, id: TokenId) -> bool {
    let standing = world.handle.token(id, world.clock.now()).expect("running");
    matches!(standing, TokenStanding::Live(..))
}

fn end(world: &mut World, caller: &InstanceCaller, grant: &TokenGrant) {
    let (handle, caller, moment) = (world.handle.clone(), caller.clone(), world.clock.moment());
    let task = grant.task().id;
    let ended = world.run(async move {
        let by = Ender::Instance(&caller);
        handle.end_task(by, task, End::Completed, moment).await
    });
    ended.expect("ended");
}

/// Promise 1: with the task ends every token, also after a start; nothing is issued afterwards.
#[test]
fn asi03_a_token_ends_with_its_task() {
    let mut world = World::new(office(&[]), 3);
    let (_, caller) = world.start();
    let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
    let text = granted.refresh().expect("a refresh token").to_owned();
    assert!(is_live(&world, granted.access().id));
    assert_eq!(granted.access().expires_at, expiry(&world));
    assert!(granted.authorization_details().as_array().is_some());

    let clock = world.clock.clone();
    let mut world = World::open(world.crash(), office(&[]), clock);
    assert!(is_live(&world, granted.access().id), "after a start");
    let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
    let loaded = State::load(world.archive.as_ref()).expect("rows");
    assert_eq!(loaded.digest(), rebuilt.digest);

    end(&mut world, &caller, &granted);
    assert!(!is_live(&world, granted.access().id));
    assert_eq!(refresh(&mut world, &text, |_| ()), "Unknown");
    let after = issue(&mut world, &caller, Refreshable::No);
    assert!(matches!(after, Err(TokenRefusal::NoTask)), "{after:?}");
    let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
    let loaded = State::load(world.archive.as_ref()).expect("rows");
    assert_eq!(loaded.digest(), rebuilt.digest);
}

fn expiry(world: &World) -> Timestamp {
    world.clock.now().plus(ACCESS_TOKEN_TTL)
}

/// A refresh token is good once. Shown again, it ends all that came of it, on the record.
#[test]
fn asi03_a_refresh_token_shown_twice_ends_its_family() {
    let mut world = World::new(office(&[]), 3);
    let (_, caller) = world.start();
    let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
    let first = granted.refresh().expect("a refresh token").to_owned();
    // Who has the text and not the key, or is another client, gets nothing and ends nothing.
    let other = refresh(&mut world, &first, |it| it.binding = key(b"other"));
    assert_eq!(other, "OtherKey");
    let other = refresh(&mut world, &first, |it| it.client = "mallory".to_owned());
    assert_eq!(other, "OtherClient");
    let other = refresh(&mut world, &first, |it| it.audience = Some("x".to_owned()));
    assert_eq!(other, "OtherAudience(\"https://127.0.0.1:1/mcp\")");
    // Who knows the name and not the secret, neither.
    let name = first.split('.').next().expect("a name");
    let (_, rest) = first.split_once('.').expect("more");
    let (_, rest) = rest.split_once('.').expect("more");
    let guess = format!("{name}.{}.{rest}", "0".repeat(64));
    assert_eq!(refresh(&mut world, &guess, |_| ()), "Unknown");
    assert_eq!(refresh(&mut world, name, |_| ()), "Unknown");

    let second = refresh(&mut world, &first, |_| ());
    assert!(second.starts_with("tok_"), "{second}");
    assert_eq!(refresh(&mut world, &first, |_| ()), "Reused");
    assert_eq!(refresh(&mut world, &second, |_| ()), "Unknown");
    assert!(!is_live(&world, granted.access().id));
    let ends = world.records().into_iter().filter_map(|it| match it.body {
        Body::TokenRevoked { end, .. } => Some(end),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [TokenEnd::Reused]);
}

/// A client that authenticates keeps its refresh tokens when its key changes: they are bound to the client (RFC 8705 §4,
/// RFC 9449 §5), and the next token is bound to the key of now. What was bound never becomes bearer.
#[test]
fn nhi07_a_client_that_authenticates_may_change_its_key() {
    let mut world = World::new(office(&[]), 3);
    let (_, caller) = world.start();
    let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
    let first = granted.refresh().expect("a refresh token").to_owned();
    let proved = |ask: &mut RefreshAsk| ask.shown = ClientShown::Proved;
    let bare = refresh(&mut world, &first, |it| {
        proved(it);
        it.binding = KeyBinding::Bearer;
    });
    assert_eq!(bare, "OtherKey");
    let second = refresh(&mut world, &first, |it| {
        proved(it);
        it.binding = key(b"next");
    });
    assert!(second.starts_with("tok_"), "{second}");
    let bound = world
        .records()
        .into_iter()
        .rev()
        .find_map(|it| match it.body {
            Body::TokenIssued(token) if token.kind == TokenKind::Access => Some(token.binding),
            _ => None,
        });
    assert_eq!(bound, Some(key(b"next")));
    // Another client gains nothing by authenticating.
    let other = refresh(&mut world, &second, |it| {
        proved(it);
        it.client = "mallory".to_owned();
    });
    assert_eq!(other, "OtherClient");
    // Who only says who it is must have the key.
    assert_eq!(refresh(&mut world, &second, |_| ()), "OtherKey");
    let third = refresh(&mut world, &second, |it| it.binding = key(b"next"));
    assert!(third.starts_with("tok_"), "{third}");
}

/// Named maxima: at each it goes, one beyond is refused, and what expired makes room.
#[test]
fn tokens_of_a_task_end_at_their_maximum() {
    let mut world = World::new(office(&[]), 3);
    let (_, caller) = world.start();
    for _ in 0..REFRESH_FAMILIES_PER_TASK_MAX {
        issue(&mut world, &caller, Refreshable::Yes).expect("room");
    }
    let more = issue(&mut world, &caller, Refreshable::Yes);
    assert!(
        matches!(more, Err(TokenRefusal::TooMany { .. })),
        "{more:?}"
    );
    for _ in REFRESH_FAMILIES_PER_TASK_MAX..TOKENS_PER_TASK_MAX {
        issue(&mut world, &caller, Refreshable::No).expect("room");
    }
    let more = issue(&mut world, &caller, Refreshable::No);
    assert!(
        matches!(more, Err(TokenRefusal::TooMany { .. })),
        "{more:?}"
    );
    world.clock.advance(ACCESS_TOKEN_TTL);
    issue(&mut world, &caller, Refreshable::No).expect("room again");
}

/// A refresh token lives as long unused, and not a millisecond longer.
#[test]
fn a_refresh_token_ends_unused() {
    for (waits, live) in [
        (Millis::new(REFRESH_TOKEN_TTL.as_millis() - 1), true),
        (REFRESH_TOKEN_TTL, false),
    ] {
        let mut estate = office(&[]);
        for template in estate.templates.values_mut() {
            template.ttl = TASK_TTL_MAX;
        }
        let mut world = World::new(estate, 3);
        let (_, caller) = world.start();
        let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
        let text = granted.refresh().expect("a refresh token").to_owned();
        world.clock.advance(waits);
        let next = refresh(&mut world, &text, |_| ());
        assert_eq!(next.starts_with("tok_"), live, "{waits}: {next}");
    }
}

/// NHI02, RFC 9700 §4.14.2: whoever shows a token of an older generation ends the family, however many came after it, and
/// however much later.
#[test]
fn nhi02_fast_rotation_hides_no_reuse() {
    for spent in [
        1,
        SPENT_PER_FAMILY_MAX,
        SPENT_PER_FAMILY_MAX + 1,
        3 * SPENT_PER_FAMILY_MAX,
    ] {
        for way in ["refreshed", "by another client", "given up"] {
            let mut world = World::new(office(&[]), 3);
            let (_, caller) = world.start();
            let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
            let other = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
            let first = granted.refresh().expect("a refresh token").to_owned();
            let mut text = first.clone();
            for _ in 0..spent {
                // Names of one millisecond have no order.
                world.clock.advance(Millis::new(1));
                text = refresh(&mut world, &text, |_| ());
                assert!(text.starts_with("tok_"), "{text}");
            }
            let ended = match way {
                "refreshed" => {
                    assert_eq!(refresh(&mut world, &first, |_| ()), "Reused", "{spent}");
                    true
                }
                "given up" => {
                    let (handle, text) = (world.handle.clone(), first.clone());
                    let gave =
                        world.run(async move { handle.give_up_refresh(CLIENT, &text).await });
                    gave.expect("given up");
                    true
                }
                _ => {
                    let other = refresh(&mut world, &first, |it| it.client = "mallory".to_owned());
                    assert_eq!(other, "OtherClient", "{spent}");
                    false
                }
            };
            let next = refresh(&mut world, &text, |_| ());
            assert_eq!(next == "Unknown", ended, "{spent} {way}: {next}");
            let other = refresh(&mut world, other.refresh().expect("one"), |_| ());
            assert!(other.starts_with("tok_"), "another family: {other}");
        }
    }
}

/// A text that only looks like an older generation ends nothing: every part of it counts.
#[test]
fn nhi02_a_forged_generation_ends_nothing() {
    let mut world = World::new(office(&[]), 3);
    let (_, caller) = world.start();
    let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
    let other = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
    let first = granted.refresh().expect("a refresh token").to_owned();
    let theirs = other.refresh().expect("a refresh token").to_owned();
    let mut text = first.clone();
    for _ in 0..=SPENT_PER_FAMILY_MAX {
        world.clock.advance(Millis::new(1));
        text = refresh(&mut world, &text, |_| ());
    }
    let (parts, others): (Vec<_>, Vec<_>) =
        (first.split('.').collect(), theirs.split('.').collect());
    for changed in 0..parts.len() {
        let mut forged = parts.clone();
        forged[changed] = others[changed];
        if forged == parts {
            continue;
        }
        let forged = forged.join(".");
        assert_eq!(refresh(&mut world, &forged, |_| ()), "Unknown", "{changed}");
    }
    for cut in 1..parts.len() {
        let short = parts[..cut].join(".");
        assert_eq!(refresh(&mut world, &short, |_| ()), "Unknown", "{cut}");
    }
    let kept = refresh(&mut world, &text, |_| ());
    assert!(kept.starts_with("tok_"), "{kept}");
}

/// RFC 6749 §4.1.2: a code shown again ends all that came of it, whatever became of the first access token.
#[test]
fn nhi02_a_code_shown_again_ends_the_family_without_its_first_token() {
    for gone in ["expired", "given up"] {
        let mut world = World::new(office(&[]), 3);
        let (_, caller) = world.start();
        let granted = issue(&mut world, &caller, Refreshable::Yes).expect("a live task");
        let first = granted.access().id;
        let text = granted.refresh().expect("a refresh token").to_owned();
        match gone {
            "expired" => world.clock.advance(ACCESS_TOKEN_TTL),
            _ => {
                let handle = world.handle.clone();
                let gave = async move { handle.give_up_token(CLIENT, first, Reach::Token).await };
                world.run(gave).expect("given up");
            }
        }
        let text = refresh(&mut world, &text, |_| ());
        assert!(text.starts_with("tok_"), "{text}");
        let (handle, task) = (world.handle.clone(), granted.task().id);
        let replayed = async move { handle.code_replayed("mallory", (task, first)).await };
        let stranger = world.run(replayed);
        assert!(
            matches!(stranger, Err(TokenRefusal::OtherClient)),
            "{stranger:?}"
        );
        let handle = world.handle.clone();
        let replayed = async move { handle.code_replayed(CLIENT, (task, first)).await };
        world.run(replayed).expect("ended");
        assert_eq!(refresh(&mut world, &text, |_| ()), "Unknown", "{gone}");
    }
}

/// Whatever comes first in the log decides: no token is issued after the revocation.
#[test]
fn asi03_issuing_races_a_revocation() {
    for issue_first in [true, false] {
        let mut world = World::new(office(&[]), 3);
        let (_, caller) = world.start();
        let task = issue(&mut world, &caller, Refreshable::No)
            .expect("live")
            .task()
            .id;
        let (handle, ana, clock) = (
            world.handle.clone(),
            world.person("ana"),
            world.clock.clone(),
        );
        let (issuing, moments) = (world.handle.clone(), [clock.moment(), clock.moment()]);
        let [one, two] = moments;
        let ask = asking();
        let target = Target::Task(task);
        let by = caller.clone();
        let got = world.run(async move {
            let revoke = handle.revoke(&ana, target, "odd".to_owned(), one);
            let issue = issuing.issue_token(TokenBy::Instance(&by), ask, two);
            if issue_first {
                let (issued, revoked) = both(issue, revoke).await;
                revoked.expect("revoked");
                issued
            } else {
                let (revoked, issued) = both(revoke, issue).await;
                revoked.expect("revoked");
                issued
            }
        });
        assert_eq!(got.is_ok(), issue_first, "{got:?}");
        if let Ok(granted) = got {
            assert!(!is_live(&world, granted.access().id));
        }
        let records = world.records();
        let revoked = records
            .iter()
            .position(|it| matches!(it.body, Body::Revoked { .. }))
            .expect("a revocation");
        let later = records.iter().skip(revoked);
        let issued = later.filter(|it| matches!(it.body, Body::TokenIssued(_)));
        assert_eq!(issued.count(), 0);
    }
}

/// Begins both in this order, in one batch, and waits for both.
pub(crate) async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut two) = (None, None);
    poll_fn(move |context| {
        if one.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            one = Some(output);
        }
        if two.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            two = Some(output);
        }
        match (one.take(), two.take()) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (left, right) => {
                (one, two) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

/// A token lives no longer than its task.
#[test]
fn a_token_never_outlives_its_task() {
    let mut world = World::new(office(&[]), 3);
    let (_, caller) = world.start();
    let granted = issue(&mut world, &caller, Refreshable::Yes).expect("live");
    let until = granted.task().expires_at;
    let mut text = granted.refresh().expect("a refresh token").to_owned();
    let mut seen = granted.access().expires_at;
    while world.clock.now().plus(Millis::from_seconds(600)) < until {
        world.clock.advance(Millis::from_seconds(300));
        text = refresh(&mut world, &text, |_| ());
        assert!(text.starts_with("tok_"), "{text}");
    }
    for entry in world.records() {
        if let Body::TokenIssued(token) = entry.body {
            assert!(token.expires_at <= until);
            seen = seen.max(token.expires_at);
        }
    }
    assert_eq!(seen, until);
}
