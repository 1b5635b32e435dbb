//! A place where clients with documents come, and ana's browser.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ambit_core::{Digest, estate::Estate, origin::Origin, record::Body as Fact, task::End};
use ambit_identity::jose::base64url;
use axum::{
    Extension,
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{
    super::{Control, public_router},
    doors::Office,
    oauth::{Agent, Answered, form, post},
    people::{Page, SignInDesk, US},
};
use crate::{foreign::Fetch, oauth::FetchedDocument};

/// A client, by its document.
pub(super) const CLIENT: &str = "https://app.example/client.json";
pub(super) const BACK: &str = "https://app.example/cb";
pub(super) const PLACE: &str = "https://127.0.0.1:1/mcp";
/// What is found out of an address at which nothing is, and is for the log alone.
pub(super) const DETAIL: &str = "10.1.2.3 port 8443 refused the connection";
/// What a host says may be kept of a document that never comes.
pub(super) const NEVER: &str = "never";
/// The secret of PKCE, 43 characters.
pub(super) const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABC";

/// What is at which address: the text and what may be kept of it.
type Documents = Arc<Mutex<BTreeMap<String, (String, &'static str)>>>;

/// A sign-in desk where clients with documents come.
pub(super) struct Booth {
    pub(super) desk: SignInDesk,
    pub(super) documents: Documents,
    pub(super) fetched: Arc<Mutex<u32>>,
    /// The browser of ana, who is signed in.
    pub(super) ana: String,
}

/// Returns the document of a client.
pub(super) fn document(id: &str, redirects: &[&str]) -> String {
    let redirects: Vec<String> = redirects.iter().map(|it| format!("\"{it}\"")).collect();
    format!(
        r#"{{"client_id":"{id}","client_name":"Notes <b>","redirect_uris":[{}],"logo_uri":"https://app.example/x.png"}}"#,
        redirects.join(",")
    )
}

pub(super) fn challenge() -> String {
    base64url::encode(Digest::of(VERIFIER.as_bytes()).as_bytes())
}

/// Returns the members of a good request, with `more` in place of or beside them; an empty one is left out.
pub(super) fn request(more: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut members = BTreeMap::from([
        ("client_id", CLIENT),
        ("redirect_uri", BACK),
        ("response_type", "code"),
        ("resource", PLACE),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("state", "s & s"),
    ]);
    members.extend(more.iter().copied());
    members.retain(|_, it| !it.is_empty());
    let members: Vec<_> = members.into_iter().collect();
    form(&members)
}

impl Booth {
    pub(super) async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    pub(super) async fn open_with(change: impl FnOnce(&mut Estate)) -> Self {
        let mut booth = Self::open_at(|it| it, change);
        booth.ana = booth.desk.sign_in().await.cookie("session");
        booth
    }

    /// Opens one with other doors, at which nobody is signed in yet.
    pub(super) fn open_at(
        doors: impl FnOnce(Control) -> Control,
        change: impl FnOnce(&mut Estate),
    ) -> Self {
        let documents: Documents = Arc::default();
        let fetched = Arc::new(Mutex::new(0));
        let known = document(
            CLIENT,
            &[BACK, "http://127.0.0.1/cb", "http://localhost/cb"],
        );
        documents
            .lock()
            .unwrap()
            .insert(CLIENT.to_owned(), (known, ""));
        let (kept, count) = (Arc::clone(&documents), Arc::clone(&fetched));
        let nothing: Fetch = Arc::new(|_| Box::pin(async { Err("not here".to_owned()) }));
        let office = Office::open_with(nothing, change);
        let desk = SignInDesk::open_with(office, |control| Control {
            fetch_document: Arc::new(move |url, _| {
                *count.lock().unwrap() += 1;
                let found = kept.lock().unwrap().get(&url).cloned();
                let found = found.ok_or_else(|| DETAIL.to_owned());
                Box::pin(async move {
                    if found.as_ref().is_ok_and(|it| it.1 == NEVER) {
                        return std::future::pending().await;
                    }
                    found.map(|(text, cache_control)| FetchedDocument {
                        bytes: text.into_bytes(),
                        cache_control: cache_control.to_owned(),
                    })
                })
            }),
            ..doors(control)
        });
        Self {
            desk,
            documents,
            fetched,
            ana: String::new(),
        }
    }

    pub(super) async fn authorize(&self, query: &str, cookies: &str) -> Page {
        self.desk
            .get(&format!("/oauth/authorize?{query}"), cookies)
            .await
    }

    /// Puts a document where it is fetched.
    pub(super) fn publish(&self, id: &str, (text, keep): (String, &'static str)) {
        let mut documents = self.documents.lock().unwrap();
        documents.insert(id.to_owned(), (text, keep));
    }

    /// Pushes a request from there.
    pub(super) async fn push_from(&self, origin: Origin, more: &[(&str, &str)]) -> Answered {
        let router = public_router(&self.desk.doors).layer(Extension(origin));
        post(router, "/oauth/par", request(more), &[]).await
    }

    /// Pushes a request, and returns the query of the browser that goes with it.
    pub(super) async fn pushed(&self, more: &[(&str, &str)]) -> String {
        let got = self.push_from(Origin::Here, more).await;
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.value);
        super::doors::fits("PushedAnswer", &got.value);
        let name = super::doors::text(&got.value, "request_uri");
        form(&[("client_id", CLIENT), ("request_uri", name)])
    }

    /// Does as [`Self::ask`] in another browser.
    pub(super) async fn ask_as(&self, cookies: &str) -> String {
        let page = self.authorize(&request(&[]), cookies).await;
        page.location().to_owned()
    }

    /// Sends ana's browser with a request, and returns the path of the page that asks her.
    pub(super) async fn ask(&self, query: &str) -> String {
        let page = self.authorize(query, &self.ana).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        let to = page.location().to_owned();
        assert!(to.starts_with("/oauth/consent?request="), "{to}");
        to
    }

    pub(super) async fn page(&self, path: &str) -> Page {
        self.desk.get(path, &self.ana).await
    }

    pub(super) async fn answer(&self, cookies: &str, members: &[(&str, &str)]) -> Page {
        self.answer_from(cookies, members, "same-origin").await
    }

    pub(super) async fn answer_from(
        &self,
        cookies: &str,
        members: &[(&str, &str)],
        site: &str,
    ) -> Page {
        let request = Request::post("/oauth/consent")
            .header(header::COOKIE, cookies)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        self.desk
            .send(request.body(Body::from(form(members))).unwrap())
            .await
    }

    /// Says yes on the page at `path`, for ticket T-1, and returns what the client's address gets.
    pub(super) async fn allow(&self, path: &str) -> BTreeMap<String, String> {
        let page = self.page(path).await;
        let fields = yes(&page);
        let fields: Vec<_> = fields
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let sent = self.answer(&self.ana, &fields).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
        answered(sent.location())
    }

    /// Goes the whole way to a code.
    pub(super) async fn code(&self, query: &str) -> String {
        let path = self.ask(query).await;
        self.allow(&path).await["code"].clone()
    }

    /// Asks at the token endpoint as a client that proves the agent's key.
    pub(super) async fn token(&self, agent: &Agent, members: &[(&str, &str)]) -> Answered {
        let url = format!("{US}/oauth/token");
        let send = async |nonce: Option<&str>| {
            let now = self.desk.office.world.clock.now();
            let proof = agent.proof(&url, nonce, now);
            let router = public_router(&self.desk.doors);
            post(router, "/oauth/token", form(members), &[proof]).await
        };
        let first = send(None).await;
        if first.error() != "use_dpop_nonce" {
            return first;
        }
        send(first.nonce()).await
    }

    /// Redeems a code, with `more` in place of or beside the usual members.
    pub(super) async fn redeem(
        &self,
        agent: &Agent,
        code: &str,
        more: &[(&str, &str)],
    ) -> Answered {
        let mut members = BTreeMap::from([
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("redirect_uri", BACK),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("resource", PLACE),
        ]);
        members.extend(more.iter().copied());
        members.retain(|_, it| !it.is_empty());
        let members: Vec<_> = members.into_iter().collect();
        self.token(agent, &members).await
    }

    /// Returns how many tasks started, and how those ended that did.
    pub(super) fn tasks(&self) -> (usize, Vec<End>) {
        let records = self.desk.office.world.records();
        let started = records
            .iter()
            .filter(|it| matches!(it.body, Fact::TaskStarted { .. }));
        let ended = records.iter().filter_map(|it| {
            let Fact::TaskEnded { end, .. } = it.body else {
                return None;
            };
            Some(end)
        });
        (started.count(), ended.collect())
    }
}

/// Returns the value of a hidden field.
pub(super) fn hidden(page: &Page, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .body
        .split_once(&start)
        .unwrap_or_else(|| panic!("{}", page.body));
    rest.split_once('"').unwrap().0.to_owned()
}

/// Returns the fields with which a person says yes on a page.
pub(super) fn yes(page: &Page) -> Vec<(String, String)> {
    let mut fields: Vec<_> = ["csrf", "request", "agent", "template", "shown"]
        .map(|it| (it.to_owned(), hidden(page, it)))
        .to_vec();
    for (name, value) in [
        ("p.ticket", "T-1"),
        ("p.customer", "kim@example.org"),
        ("expiry", "15m"),
        ("answer", "allow"),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields
}

/// Returns what an address carries.
pub(super) fn answered(location: &str) -> BTreeMap<String, String> {
    let query = location.split_once('?').unwrap().1;
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}
