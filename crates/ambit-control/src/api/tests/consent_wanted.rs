//! What a client has in mind when it asks for a person's consent: in which shapes it says so, and for how long.

use ambit_core::{
    Millis, estate::ClientKeys, json::Value as Json, record::Body as Fact, task::Task,
};
use axum::http::StatusCode;

use super::{
    super::public_router,
    booth::{BACK, Booth, CLIENT, answered, request, yes},
    clients::client,
    oauth::{Agent, post},
    people::Page,
};

/// Returns the page that asks about a task that a client wants.
async fn asked(booth: &Booth, wanted: &str) -> Page {
    let query = request(&[("authorization_details", wanted)]);
    let path = booth.ask(&query).await;
    booth.page(&path).await
}

/// Says yes on `page`, to a task that ends after `expiry`.
async fn allow(booth: &Booth, page: &Page, expiry: &str) -> Page {
    let mut fields = yes(page);
    fields.retain(|it| it.0 != "expiry");
    fields.push(("expiry".to_owned(), expiry.to_owned()));
    let fields: Vec<_> = fields.iter().map(|it| (&*it.0, &*it.1)).collect();
    booth.answer(&booth.ana, &fields).await
}

fn started(booth: &Booth) -> Vec<Task> {
    let records = booth.desk.office.world.records();
    let started = records.into_iter().filter_map(|it| {
        let Fact::TaskStarted { task, .. } = it.body else {
            return None;
        };
        Some(*task)
    });
    started.collect()
}

fn lasting(seconds: &str) -> String {
    format!(r#"[{{"type":"ambit_task","template":"answer","ttl_seconds":{seconds}}}]"#)
}

/// ASI03: a client asks for a task that ends sooner, and never gets one that ends later than its template says.
#[tokio::test]
async fn asi03_a_client_asks_how_long_and_the_template_caps_it() {
    let booth = Booth::open().await;
    let check = async |seconds: &str, selected: &str| {
        let page = asked(&booth, &lasting(seconds)).await;
        let part = format!("<option value=\"{selected}</option>");
        assert!(page.body.contains(&part), "no `{part}` in {}", page.body);
        page
    };
    let page = check("1200", "20m\" selected>20 minutes, as the program asks").await;
    check("3600", "1h\" selected>1 hour, as the program asks").await;
    check("60", "1m\" selected>1 minute, as the program asks").await;
    // Beyond either end.
    check("59", "1m\" selected>1 minute").await;
    check("3601", "1h\" selected>1 hour").await;
    check("4294967295", "1h\" selected>1 hour").await;
    // A task of another template asks nothing of this one, and nobody picks what was not offered.
    let other = lasting("1200").replace("answer", "other");
    let none = asked(&booth, &other).await;
    assert!(!none.body.contains("20 minutes"), "{}", none.body);
    assert_eq!(
        allow(&booth, &none, "20m").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let sent = allow(&booth, &page, "20m").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
    let tasks = started(&booth);
    let [task] = tasks.as_slice() else {
        panic!("one task: {tasks:?}");
    };
    let life = task.expires_at.since(task.started_at);
    assert_eq!(life, Millis::from_seconds(1200));
}

/// What a token carries is sent back as it came, and whatever else stands there is refused.
#[tokio::test]
async fn asi03_what_was_answered_can_be_asked_for_again() {
    let (booth, agent) = (Booth::open().await, Agent::new(9));
    let path = booth.ask(&request(&[])).await;
    let sent = booth.allow(&path).await;
    let got = booth.redeem(&agent, &sent["code"], &[]).await;
    let details = got.value.get("authorization_details").unwrap();
    let text = details.to_canonical();
    assert!(text.contains("\"server\""), "{text}");
    let push = async |text: &str| {
        let body = request(&[("authorization_details", text)]);
        post(public_router(&booth.desk.doors), "/oauth/par", body, &[]).await
    };
    let pushed = push(&text).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.value);
    let page = asked(&booth, &text).await;
    let life = "<option value=\"1h\" selected>1 hour, as the program asks";
    assert!(page.body.contains(life), "{}", page.body);
    let sent = booth.allow(&booth.ask(&request(&[])).await).await;
    assert!(sent.contains_key("code"));
    let whole = details.as_array().unwrap().first().unwrap().to_canonical();
    let twice = format!("[{whole},{whole}]");
    let set = |member: &str, value: &str| {
        let at = text.find(&format!("\"{member}\":")).expect("named") + member.len() + 3;
        let rest = &text[at..];
        let ends = match rest.chars().next() {
            Some('[') => rest.find(']').unwrap() + 1,
            Some('{') => rest.find('}').unwrap() + 1,
            _ => rest.find([',', '}']).unwrap(),
        };
        format!("{}{value}{}", &text[..at], &rest[ends..])
    };
    for (member, value) in [
        ("version", "{}"),
        ("calls_max", "\"all\""),
        ("calls_max", "-1"),
        ("containment", "[]"),
        ("containment", "\"none\""),
        ("approver", "\"nobody\""),
        ("binding", "1"),
        ("bearer", "true"),
        ("form", "\"second\""),
        ("purpose", "null"),
        ("may_emit", "\"customer\""),
        ("server", "5"),
        ("mode", "\"delete\""),
        ("actions", "\"all\""),
        ("datatypes", "[\"files\"]"),
        ("approval", "\"perhaps\""),
        ("constraints", "{\"id\":{\"near\":1}}"),
    ] {
        let refused = push(&set(member, value)).await;
        let code = refused.error();
        assert_eq!(code, "invalid_authorization_details", "{member}: {value}");
    }
    for (wrong, why) in [
        (text.replace("\"version\"", "\"verson\""), "verson"),
        (text.replace("\"actions\"", "\"acts\""), "acts"),
        (text.replace("\"server\"", "\"sever\""), "no member"),
        (twice, "one task"),
        (lasting("0"), "ttl_seconds"),
        (lasting("-1"), "ttl_seconds"),
        (lasting("4294967296"), "ttl_seconds"),
        (lasting("\"20m\""), "ttl_seconds"),
        (lasting("1.5"), "ttl_seconds"),
    ] {
        let refused = push(&wrong).await;
        assert_eq!(refused.error(), "invalid_authorization_details", "{wrong}");
        let said = format!("{:?}", refused.value);
        assert!(said.contains(why), "no `{why}` in {said}");
    }
}

/// ASI03, RFC 9396 section 5: who asks for less than the template has, or for more, hears that there is no such task, and
/// nobody is asked. Who is not signed in learns nothing of any template by that.
#[tokio::test]
async fn asi03_bounds_that_are_not_the_templates_are_refused() {
    let booth = Booth::open_with(|estate| {
        let desk = client("desk", ClientKeys::Public, |it| {
            it.redirect_uris = vec![BACK.to_owned()];
        });
        estate.clients.insert(desk.name.clone(), desk);
    });
    let (booth, agent) = (booth.await, Agent::new(9));
    let sent = booth.allow(&booth.ask(&request(&[])).await).await;
    let got = booth.redeem(&agent, &sent["code"], &[]).await;
    let details = got.value.get("authorization_details").unwrap();
    let details = details.as_array().unwrap();
    let all: Vec<String> = details.iter().map(Json::to_canonical).collect();
    let (whole, servers) = all.split_first().unwrap();
    let task = |more: &str| format!(r#"{{"type":"ambit_task","template":"answer"{more}}}"#);
    let named = servers.iter().find(|it| it.contains("equals")).unwrap();
    let check = async |wanted: Vec<&str>, refused: Option<&str>| {
        let text = format!("[{}]", wanted.join(","));
        let by = |client| request(&[("client_id", client), ("authorization_details", &text)]);
        let page = booth.authorize(&by("desk"), &booth.ana).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{text}: {}", page.body);
        let Some(why) = refused else {
            let asks = page.location().starts_with("/oauth/consent?request=");
            assert!(asks, "{text}: {}", page.location());
            return;
        };
        let back = answered(page.location());
        assert_eq!(back["error"], "invalid_authorization_details", "{text}");
        let said = &back["error_description"];
        assert!(said.contains(why), "no `{why}` in {said}");
        // Nobody is sent unasked to where a stranger describes itself to be.
        let page = booth.authorize(&by(CLIENT), &booth.ana).await;
        assert_eq!(
            page.status,
            StatusCode::BAD_REQUEST,
            "{text}: {}",
            page.body
        );
    };
    let of_servers = Some("servers and tools");
    let own: Vec<&str> = servers.iter().map(String::as_str).collect();
    let with = |first: &'static str| [vec![first], own.clone()].concat();
    let short: &str = task("").leak();
    for (wanted, refused) in [
        (vec![short], None),
        (vec![whole.as_str()], None),
        (with(short), None),
        (own.iter().rev().copied().chain([short]).collect(), None),
        (vec![task(r#","calls_max":1"#).leak()], Some("calls_max")),
        (
            vec![task(r#","calls_max":4000000"#).leak()],
            Some("calls_max"),
        ),
        (vec![task(r#","may_emit":[]"#).leak()], Some("may_emit")),
        (
            vec![task(r#","containment":"required""#).leak()],
            Some("containment"),
        ),
        (vec![task(r#","binding":"mtls""#).leak()], Some("binding")),
        (vec![task(r#","version":99"#).leak()], Some("version")),
        (vec![short, own[0]], of_servers),
        ([with(short), vec![own[0]]].concat(), of_servers),
        (
            vec![
                short,
                r#"{"type":"ambit_task","server":"elsewhere","actions":["read"]}"#,
            ],
            of_servers,
        ),
    ] {
        check(wanted, refused).await;
    }
    // What a parameter fills the person fills again; another kind of bound is another one.
    let other = named.replace("T-1", "T-2");
    let wider = named.replace("equals", "bytes_max").replace("\"T-1\"", "9");
    for (changed, refused) in [(&other, None), (&wider, of_servers)] {
        let mut wanted = with(short);
        let place = wanted.iter().position(|it| it == named).unwrap();
        wanted[place] = changed;
        check(wanted, refused).await;
    }
    // Of a template that there is not, or that ana may not start, nothing is said.
    let unknown = task(r#","calls_max":1"#).replace("answer", "secret");
    check(vec![&unknown], None).await;
    // Who is not signed in signs in first, whatever the template has.
    for wanted in [task(r#","calls_max":1"#), unknown] {
        let details = format!("[{wanted}]");
        let query = request(&[("client_id", "desk"), ("authorization_details", &details)]);
        let asked = booth.authorize(&query, "").await;
        let to = asked.location();
        assert!(to.starts_with("/sign-in?to="), "{to}");
    }
}
