//! No way to be refused by the authorization server is without a test: each error that the table of refusals does not ask
//! for stands here, with the test that does.

use std::{collections::BTreeSet, fs, path::Path};

use axum::{body::Body, http::Request};

use super::{
    super::public_router,
    oauth::send,
    people::SignInDesk,
    refusals::{check, refuse_all},
};
use crate::oauth::places;

/// Errors beside the table: the file, words of it there, and a test that asks for it.
const BESIDE: &[(&str, &str, &str)] = &[
    (
        "authorize.rs",
        "OAuthError::new(\"consent_required\", what),",
        "a_known_client_is_told_what_is_wrong",
    ),
    (
        "authorize.rs",
        "nobody is signed in here",
        "a_known_client_is_told_what_is_wrong",
    ),
    (
        "authorize.rs",
        "return Err(OAuthError::request(what));",
        "a_known_client_is_told_what_is_wrong",
    ),
    (
        "claimed.rs",
        "who proves itself by an SVID, or",
        "a_workload_asks_about_its_own_tokens_and_gives_them_up",
    ),
    (
        "claimed.rs",
        "no agent is registered for",
        "nhi04_a_foreign_assertion_is_its_domains_for_us_alone_and_once",
    ),
    (
        "claimed.rs",
        "claimant.map_err(|error| OAuthError::new(\"unauthorized_client\", error.to_string()))",
        "asi03_no_other_client_takes_a_delegation",
    ),
    (
        "claimed.rs",
        "ForeignTokenError::Keys => OAuthError::unavailable(error.to_string()),",
        "asi04_nobody_is_told_why_published_keys_can_not_be_had",
    ),
    (
        "client.rs",
        "this workload serves no live task, so",
        "a_workload_asks_about_its_own_tokens_and_gives_them_up",
    ),
    (
        "client.rs",
        "this client declared no keys; declare them,",
        "nhi04_a_client_proves_itself_or_gets_nothing",
    ),
    (
        "client.rs",
        "this client declared keys; send a client_assertion",
        "asi03_no_other_client_takes_a_delegation",
    ),
    (
        "client.rs",
        "client_id is too long",
        "the_name_of_a_client_has_its_maximum",
    ),
    (
        "client.rs",
        "NotKnown::Busy => OAuthError::busy(error.to_string()),",
        "asi08_strangers_keep_no_client_from_its_tokens",
    ),
    (
        "client.rs",
        "this assertion was made before this server",
        "nhi02_a_restart_makes_no_assertion_good_again",
    ),
    (
        "client.rs",
        "this assertion does not say when it",
        "nhi02_an_assertion_says_when_it_was_made",
    ),
    (
        "client.rs",
        "this assertion was used before; make a",
        "asi03_a_clock_that_was_ahead_locks_nobody_out_and_lets_nothing_in_twice",
    ),
    (
        "codes.rs",
        "too many codes wait to be redeemed;",
        "so_many_wait_and_no_more",
    ),
    (
        "consent.rs",
        "the person said no",
        "who_says_no_gives_nothing",
    ),
    (
        "consent.rs",
        "return Err(NoPage::from(super::OAuthError::request(what)).into());",
        "nhi01_a_client_that_was_removed_meanwhile_is_given_no_task",
    ),
    (
        "device.rs",
        "let begun = begun.map_err(|error| OAuthError::unavailable(error.to_string()))?;",
        "as_many_command_lines_wait_as_there_is_room_for",
    ),
    (
        "device.rs",
        "OAuthError::new(\"invalid_dpop_proof\", what).with_nonce(self.nonce(now))",
        "strangers_without_a_key_or_a_form_hear_what_to_send",
    ),
    (
        "device.rs",
        "nobody has answered in the browser yet;",
        "a_command_line_acts_as_the_person_who_let_it",
    ),
    (
        "device.rs",
        "that was too soon; wait longer from",
        "a_command_line_acts_as_the_person_who_let_it",
    ),
    (
        "device.rs",
        "nobody answered in time; run `ambit login`",
        "only_who_began_gets_the_login",
    ),
    (
        "device.rs",
        "the person said no in the browser",
        "only_who_began_gets_the_login",
    ),
    (
        "exchange.rs",
        "the delegation says what the child may",
        "asi03_no_other_pair_is_exchanged",
    ),
    (
        "exchange.rs",
        "actor_token is of another actor than the",
        "asi03_no_other_client_takes_a_delegation",
    ),
    (
        "exchange.rs",
        "`delegation` is no name of a delegation,",
        "asi03_no_other_pair_is_exchanged",
    ),
    (
        "exchange.rs",
        "Some(_) => Err(OAuthError::request(format!(",
        "asi03_no_other_pair_is_exchanged",
    ),
    (
        "exchange.rs",
        "return Err(OAuthError::request(format!(",
        "asi03_no_other_pair_is_exchanged",
    ),
    (
        "exchange.rs",
        "Err(OAuthError::request(format!(",
        "asi03_no_other_pair_is_exchanged",
    ),
    (
        "exchange.rs",
        "ExchangeRefusal::Step(Refusal::Denied { denied, .. }) => OAuthError::request(format!(",
        "asi03_a_delegate_client_stays_below_its_agent",
    ),
    (
        "form.rs",
        "send the parameters in the body, as",
        "nhi01_an_instance_of_an_ended_task_gets_nothing",
    ),
    (
        "form.rs",
        "send the body without Content-Encoding",
        "strangers_without_a_key_or_a_form_hear_what_to_send",
    ),
    ("form.rs", "send at most", "forms_end_at_their_maximum"),
    (
        "form.rs",
        "a parameter is not UTF-8",
        "strangers_without_a_key_or_a_form_hear_what_to_send",
    ),
    (
        "form.rs",
        "name one resource; get one token for",
        "requests_are_refused_in_the_words_of_the_standards",
    ),
    (
        "form.rs",
        "return Err(OAuthError::request(what));",
        "a_request_that_can_not_be_trusted_leads_nowhere",
    ),
    (
        "grants.rs",
        "`resource` is another place than the one",
        "asi03_a_code_that_was_redeemed_wrongly_ends_its_task",
    ),
    (
        "grants.rs",
        "OAuthError::new(\"invalid_authorization_details\", what)",
        "asi03_a_code_that_was_redeemed_wrongly_ends_its_task",
    ),
    (
        "proof.rs",
        "|what: String| OAuthError::new(\"invalid_dpop_proof\", what).with_nonce(self.nonce(now));",
        "asi03_a_clock_that_was_ahead_locks_nobody_out_and_lets_nothing_in_twice",
    ),
    (
        "proof.rs",
        "let refused = OAuthError::new(\"invalid_dpop_proof\", error.to_string());",
        "asi03_a_pushed_request_is_bound_to_the_key_that_pushed_it",
    ),
    (
        "proof.rs",
        "Err(OAuthError::new(\"invalid_dpop_proof\", what).with_nonce(self.nonce(now)))",
        "asi03_no_other_pair_is_exchanged",
    ),
    (
        "pushed.rs",
        "`prompt=none` stands alone",
        "a_known_client_is_told_what_is_wrong",
    ),
    (
        "pushed.rs",
        "too many requests from your network wait",
        "asi08_strangers_have_a_share_of_what_waits",
    ),
    (
        "pushed.rs",
        "too many requests wait for a person;",
        "asi08_strangers_have_a_share_of_what_waits",
    ),
    (
        "pushed.rs",
        "the request_uri is unknown, was used, or",
        "a_pushed_request_waits_for_its_person_once",
    ),
    (
        "pushed.rs",
        "a pushed request names no request_uri",
        "a_pushed_request_waits_for_its_person_once",
    ),
    (
        "pushed.rs",
        "return Err(OAuthError::new(\"invalid_dpop_proof\", what).with_nonce(server.nonce(now)));",
        "asi03_a_pushed_request_is_bound_to_the_key_that_pushed_it",
    ),
    (
        "pushed.rs",
        "redirect_uri",
        "a_request_that_can_not_be_trusted_leads_nowhere",
    ),
    (
        "pushed.rs",
        "`state` is too long",
        "a_request_that_can_not_be_trusted_leads_nowhere",
    ),
    (
        "pushed.rs",
        "ask for response_mode=query, or leave it out",
        "a_known_client_is_told_what_is_wrong",
    ),
    (
        "consent/waiting.rs",
        "too many people are being asked; try",
        "so_many_wait_and_no_more",
    ),
    (
        "client.rs",
        "nobody is known by this connection",
        "who_is_nobody_hears_so_at_the_authorization_server",
    ),
    (
        "wanted.rs",
        "problem.to_string()",
        "asi03_bounds_that_are_not_the_templates_are_refused",
    ),
];

/// Errors that no test asks for: the file, words of it there, and why.
const BEYOND: &[(&str, &str, &str)] = &[
    (
        "claimed.rs",
        "no workload was identified by the assertion",
        "an assertion was read by then, or refused",
    ),
    (
        "form.rs",
        "OAuthError::request(why.to_string())",
        "a body is there whole by then, or was refused",
    ),
    (
        "claimed.rs",
        "this workload is the instance of a",
        "a workload for which two agents were registered one after the other",
    ),
    (
        "claimed.rs",
        "SenderError::Full => OAuthError::unavailable(error.to_string()),",
        "a million senders; the cache has its own tests",
    ),
    (
        "client.rs",
        "prove yourself in one way: by a",
        "a certificate and an assertion at once, at the gateway alone",
    ),
    (
        "client.rs",
        "return Err(OAuthError::unavailable(error.to_string()));",
        "a million assertions, or one maker's share of them; the cache has its own tests",
    ),
    (
        "client.rs",
        "Err(error @ ReplayError::Over) => return Err(OAuthError::client(error.to_string())),",
        "an assertion that ended between two looks at the clock",
    ),
    (
        "exchange.rs",
        "what is delegated is bound to the",
        "only where the estate takes bearer tokens, and the engine refuses the same once more",
    ),
    (
        "exchange.rs",
        ") => OAuthError::request(what),",
        "a conflict in the very turn of an exchange; the words are the engine's",
    ),
    (
        "grants.rs",
        "prove who asks",
        "who shows a workload token never gets here",
    ),
    (
        "keyring.rs",
        "let fresh = Arc::new(fresh.map_err(|error| OAuthError::failed(&error))?);",
        "keys of ours that can not be read",
    ),
    (
        "proof.rs",
        "Err(OAuthError::unavailable(error.to_string()))",
        "a million proofs, or one prover's share of them; the cache has its own tests",
    ),
    (
        "pushed.rs",
        "an instance has its task already; it",
        "an instance at an endpoint for clients of people",
    ),
    (
        "resource.rs",
        "the gateway takes no tokens; write doors.gateway_url",
        "a gateway whose URL nobody knows",
    ),
    (
        "token.rs",
        "let token = token.map_err(|error| OAuthError::failed(&error))?;",
        "a token that can not be signed",
    ),
];

/// What makes an error.
const MAKERS: [&str; 10] = [
    "new",
    "request",
    "grant",
    "target",
    "client",
    "unavailable",
    "busy",
    "absent",
    "too_large",
    "failed",
];

/// One place in the sources where an error is made.
#[derive(Clone, Debug)]
struct Place {
    file: String,
    line: u32,
    /// The lines from there on.
    text: String,
}

/// How many lines of an error are read.
const LINES: usize = 4;

fn places_in(directory: &Path, found: &mut Vec<Place>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            places_in(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines: Vec<&str> = shipped.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let made = |it: &str| line.contains(&format!("OAuthError::{it}("));
            if MAKERS.into_iter().any(made) {
                let until = (at + LINES).min(lines.len());
                found.push(Place {
                    file: path.to_str().unwrap().to_owned(),
                    line: u32::try_from(at + 1).unwrap(),
                    text: lines[at..until].join("\n"),
                });
            }
        }
    }
}

/// Every error of the authorization server is asked for by the table of refusals or by the test that stands here.
#[tokio::test]
async fn every_error_is_asked_for_by_a_test() {
    refuse_all().await;
    let seen = places::all();
    let mut made = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    places_in(&root.join("src/oauth"), &mut made);
    let is_seen = |it: &Place| {
        let mut seen = seen.iter();
        seen.any(|(file, line)| it.file.ends_with(file) && it.line == *line)
    };
    assert!(
        made.iter().any(is_seen),
        "where errors come from is not told as it was"
    );
    let unseen: Vec<Place> = made.into_iter().filter(|it| !is_seen(it)).collect();
    let has = |it: &Place, file: &str, words: &str| {
        it.file.ends_with(&format!("src/oauth/{file}")) && it.text.contains(words)
    };
    let listed = || BESIDE.iter().chain(BEYOND);
    let is_listed = |it: &&Place| listed().any(|(file, words, _)| has(it, file, words));
    let unasked: Vec<String> = unseen
        .iter()
        .filter(|it| !is_listed(it))
        .map(|it| format!("{}:{}\n{}", it.file, it.line, it.text))
        .collect();
    assert!(
        unasked.is_empty(),
        "give these a row in the table of refusals, or name their test here:\n{}",
        unasked.join("\n\n")
    );
    for (file, words, _) in listed() {
        let there = unseen.iter().any(|it| has(it, file, words));
        assert!(
            there,
            "{file}: `{words}` is asked for by the table by now, or is nowhere"
        );
    }
    let tests = tests_in(&root.join("src/api/tests"));
    for (_, _, test) in BESIDE {
        let declared = format!("fn {test}(");
        assert!(tests.contains(&declared), "there is no test {test}");
    }
}

/// Returns all tests' text.
fn tests_in(directory: &Path) -> String {
    let read = |path: &Path| {
        if path.is_dir() {
            tests_in(path)
        } else {
            fs::read_to_string(path).unwrap()
        }
    };
    let paths: BTreeSet<_> = fs::read_dir(directory)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    paths.iter().map(|it| read(it)).collect()
}

/// RFC 9449: a command line without a proof is asked for one. RFC 6749 appendix B: a form is UTF-8, and as it is.
#[tokio::test]
async fn strangers_without_a_key_or_a_form_hear_what_to_send() {
    let desk = SignInDesk::open();
    let asked = async |path: &str, body: &str, coding: Option<&str>| {
        let mut request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        send(public_router(&desk.doors), request).await
    };
    for (path, body, coding, error, says) in [
        (
            "/oauth/device_authorization",
            "client_id=ambit-cli",
            None,
            "invalid_dpop_proof",
            "bound to a key",
        ),
        (
            "/oauth/token",
            "grant_type=%FF",
            None,
            "invalid_request",
            "not UTF-8",
        ),
        (
            "/oauth/token",
            "grant_type=password",
            Some("gzip"),
            "invalid_request",
            "without Content-Encoding",
        ),
    ] {
        let got = asked(path, body, coding).await;
        check(&got, path, (error, says));
    }
}
