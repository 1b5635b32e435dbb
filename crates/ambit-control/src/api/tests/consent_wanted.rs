//! What a client has in mind when it asks for a person's consent: in which shapes it says so, and for how long.

use ambit_core::{
    Millis, estate::ClientKeys, json, json::Value as Json, record::Body as Fact, task::Task,
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
        let value = json::parse(value.as_bytes()).unwrap();
        let mut changed = details.as_array().unwrap().to_vec();
        let place = changed.iter().position(|it| it.get(member).is_some());
        let named = &mut changed[place.expect("named")];
        let mut members = named.as_object().unwrap().clone();
        members.insert(member.to_owned(), value);
        *named = Json::Object(members);
        Json::Array(changed).to_canonical()
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

/// A place where a client of the estate asks for what a token of such a task was answered to carry, changed.
struct Wants {
    booth: Booth,
    whole: String,
    servers: Vec<String>,
}

/// What is said to whoever names other servers and tools.
const OF_SERVERS: Option<&str> = Some("servers and tools");

impl Wants {
    async fn open() -> Self {
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
        let mut all: Vec<String> = details.iter().map(Json::to_canonical).collect();
        Self {
            booth,
            whole: all.remove(0),
            servers: all,
        }
    }

    /// Asks for `first` and what the template gives at servers.
    fn with(&self, first: &str) -> Vec<String> {
        let mut all = self.servers.clone();
        all.insert(0, first.to_owned());
        all
    }

    /// Has ana's browser come with it, and looks that it is asked about, or refused for this.
    async fn check(&self, wanted: &[String], refused: Option<&str>) {
        let text = format!("[{}]", wanted.join(","));
        let by = |client| request(&[("client_id", client), ("authorization_details", &text)]);
        let page = self.booth.authorize(&by("desk"), &self.booth.ana).await;
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
        let page = self.booth.authorize(&by(CLIENT), &self.booth.ana).await;
        assert_eq!(
            page.status,
            StatusCode::BAD_REQUEST,
            "{text}: {}",
            page.body
        );
    }
}

fn task(more: &str) -> String {
    format!(r#"{{"type":"ambit_task","template":"answer"{more}}}"#)
}

/// ASI03, RFC 9396 section 5: who asks for less than the template has, or for more, hears that there is no such task, and
/// nobody is asked.
#[tokio::test]
async fn asi03_bounds_that_are_not_the_templates_are_refused() {
    let wants = Wants::open().await;
    let (short, whole) = (task(""), wants.whole.clone());
    for good in [vec![short.clone()], vec![whole.clone()], wants.with(&short)] {
        wants.check(&good, None).await;
        let turned: Vec<String> = good.into_iter().rev().collect();
        wants.check(&turned, None).await;
    }
    for (more, why) in [
        (r#","calls_max":1"#, "calls_max"),
        (r#","calls_max":4000000"#, "calls_max"),
        (r#","may_emit":[]"#, "may_emit"),
        (r#","containment":"required""#, "containment"),
        (r#","binding":"mtls""#, "binding"),
        (r#","version":99"#, "version"),
    ] {
        wants.check(&[task(more)], Some(why)).await;
    }
    let (first, elsewhere) = (
        wants.servers[0].clone(),
        r#"{"type":"ambit_task","server":"elsewhere","actions":["read"]}"#.to_owned(),
    );
    let twice = [wants.with(&short), vec![first.clone()]].concat();
    for other in [vec![short.clone(), first], twice, vec![short, elsewhere]] {
        wants.check(&other, OF_SERVERS).await;
    }
}

/// ASI03: what a parameter fills the person fills again; another kind of bound is another one. And who is not signed in, or may
/// not start such a task, learns nothing of any template.
#[tokio::test]
async fn asi03_bounds_of_templates_are_no_strangers() {
    let wants = Wants::open().await;
    let filled = |it: &String| it.contains(r#""equals":"T-1""#);
    let place = wants.servers.iter().position(filled).expect("a parameter");
    let named = &wants.servers[place];
    for (changed, refused) in [
        (named.replace("T-1", "T-2"), None),
        (
            named.replace(r#""equals":"T-1""#, r#""bytes_max":9"#),
            OF_SERVERS,
        ),
    ] {
        let mut wanted = wants.with(&task(""));
        wanted[place + 1] = changed;
        wants.check(&wanted, refused).await;
    }
    let unknown = task(r#","calls_max":1"#).replace("answer", "secret");
    wants.check(std::slice::from_ref(&unknown), None).await;
    // Who is not signed in signs in first, whatever the template has.
    for wanted in [task(r#","calls_max":1"#), unknown] {
        let details = format!("[{wanted}]");
        let query = request(&[("client_id", "desk"), ("authorization_details", &details)]);
        let asked = wants.booth.authorize(&query, "").await;
        let to = asked.location();
        assert!(to.starts_with("/sign-in?to="), "{to}");
    }
}
