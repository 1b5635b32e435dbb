//! What a client has in mind when it asks for a person's consent: in which shapes it says so, and for how long.

use ambit_core::{Millis, record::Body as Fact, task::Task};
use axum::http::StatusCode;

use super::{
    super::public_router,
    booth::{Booth, request, yes},
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
