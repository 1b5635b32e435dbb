use super::*;

const fn local(unix_uid: u32) -> Sender {
    Sender::Local { unix_uid }
}

const BEGAN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Returns a key that was made `millis` after the server began, and its text.
fn key(millis: u64, number: u64) -> Key {
    let text = format!("{:012x}", BEGAN.as_millis() + millis);
    let (high, low) = text.split_at(8);
    Key::parse(&format!("{high}-{low}-7000-8000-{number:012x}")).unwrap()
}

fn request(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn code(turn: Result<Turn<'_>, Problem>) -> String {
    match turn {
        Ok(Turn::New(_)) => "new".to_owned(),
        Ok(Turn::Done(answer)) => format!("done: {}", String::from_utf8_lossy(&answer)),
        Err(problem) => problem.code().to_owned(),
    }
}

#[test]
fn the_same_request_is_done_once() {
    let all = Idempotency::new(BEGAN);
    let ask = |uid, text| {
        all.turn(
            key(5, 1),
            local(uid),
            request(text),
            BEGAN.plus(Millis::new(9)),
        )
    };
    let Turn::New(place) = ask(1, "one").unwrap() else {
        panic!("the first is new");
    };
    assert_eq!(code(ask(1, "one")), "in_progress");
    place.keep(&Bytes::from_static(b"yes"));
    assert_eq!(code(ask(1, "one")), "done: yes");
    assert_eq!(code(ask(1, "other")), "idempotency_key_reused");
    // Another user's keys are others. What is dropped under way is not known; what came to nothing may be tried again.
    assert_eq!(code(ask(2, "one")), "new");
    assert_eq!(code(ask(2, "one")), "idempotency_unknown");
    let Turn::New(place) = ask(3, "one").unwrap() else {
        panic!("the first is new");
    };
    place.free();
    assert_eq!(code(ask(3, "one")), "new");
}

#[test]
fn neither_a_restart_nor_forgetting_repeats_an_act() {
    let all = Idempotency::new(BEGAN);
    let ask = |made: u64, number| {
        all.turn(
            key(made, number),
            local(1),
            request("r"),
            BEGAN.plus(Millis::new(5000)),
        )
    };
    let done = |made, number| match ask(made, number).unwrap() {
        Turn::New(place) => place.keep(&Bytes::from_static(b"yes")),
        Turn::Done(_) => panic!("{made} is new"),
    };
    // Made before the server began: another run may have done it.
    let before = Key {
        made_at: Timestamp::from_millis(BEGAN.as_millis() - 1),
        ..key(0, 0)
    };
    assert_eq!(
        code(all.turn(before, local(1), request("r"), BEGAN)),
        "idempotency_key_too_old"
    );
    for number in 0..IDEMPOTENCY_KEPT_MAX as u64 {
        done(10 + number, number);
    }
    assert_eq!(code(ask(10, 0)), "done: yes");
    done(2000, 1);
    assert_eq!(
        code(ask(10, 0)),
        "idempotency_key_too_old",
        "the oldest is forgotten"
    );
    assert_eq!(
        code(ask(10, 77)),
        "idempotency_key_too_old",
        "and all of its time"
    );
    assert_eq!(code(ask(11, 1)), "done: yes");
    // Others remember for themselves.
    assert_eq!(
        code(all.turn(key(10, 0), local(2), request("r"), BEGAN)),
        "new"
    );
}

#[test]
fn there_is_no_room_for_more_than_can_be_kept() {
    let all = Idempotency::new(BEGAN);
    let ask = |number| all.turn(key(number, number), local(1), request("r"), BEGAN);
    let places: Vec<_> = (0..IDEMPOTENCY_KEPT_MAX as u64)
        .map(|it| ask(it).ok())
        .collect();
    assert_eq!(code(ask(1000)), "overloaded");
    drop(places);
    assert_eq!(code(ask(1000)), "new");
}

#[test]
fn an_answer_that_is_too_long_is_not_given_again() {
    let all = Idempotency::new(BEGAN);
    let check = |number, bytes: usize, wanted: &str| {
        let ask = || all.turn(key(1, number), local(1), request("r"), BEGAN);
        let Turn::New(place) = ask().unwrap() else {
            panic!("new");
        };
        place.keep(&Bytes::from(vec![b'x'; bytes]));
        assert!(code(ask()).starts_with(wanted), "{}", code(ask()));
    };
    check(1, IDEMPOTENCY_ANSWER_BYTES_MAX, "done: ");
    check(2, IDEMPOTENCY_ANSWER_BYTES_MAX + 1, "already_done");
}

#[test]
fn a_key_says_when_it_was_made() {
    let made = |text: &str| Key::parse(text).map(|it| it.made_at.as_millis());
    // The example of RFC 9562, appendix A.6.
    assert_eq!(
        made("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"),
        Some(1_645_557_742_000)
    );
    for text in [
        "",
        "k1",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
        "017f22e279b07cc398c4dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
        "+17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    ] {
        assert_eq!(made(text), None, "{text}");
    }
    let all = Idempotency::new(BEGAN);
    let ahead = IDEMPOTENCY_KEY_AHEAD_MAX.as_millis();
    let ask = |millis| code(all.turn(key(millis, 1), local(1), request("r"), BEGAN));
    assert_eq!(ask(ahead), "new");
    assert_eq!(ask(ahead + 1), "invalid");
}
