//! Consent: a person starts one task for a client, or says no. There is no other way from a browser to a code.
//!
//! A request waits for one answer in the browser in which its person is signed in. The answer that lets the client act is
//! the start of a task, decided and recorded as every start is; the code stands for that task and for nothing else.

mod choice;
mod page;
mod waiting;

use std::sync::Arc;

use ambit_core::{GatewayRoute, TaskId, Timestamp};
use ambit_engine::{ClientLeave, Refusal, StartTask};
use ambit_policy::PolicyBook;
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

pub use self::choice::CONSENT_FIELDS_MAX;
pub(super) use self::waiting::Consents;
pub use self::waiting::{CONSENT_TTL, CONSENTS_MAX, CONSENTS_PER_SESSION_MAX};
use self::{
    choice::{Choice, Choices, Decided, EXPIRY, Problems, SHOWN, Typed, choices},
    page::Scene,
    waiting::{Before, NotWaiting, Settling},
};
use super::{
    CLICKS_MAX, CODE_TTL, Server,
    authorize::{NoPage, told},
    document::Inquirer,
    locked,
    pushed::AuthorizeRequest,
    redirect::Fits,
    wanted::refused,
};
use crate::{
    api::{
        Shared,
        people::{SignedIn, check_form, see_other, signed_in},
    },
    carried::{Fate, OnlyAnswer},
    foreign::Freshness,
    people::SignInError,
};

/// Who answers, what they were asked, and what there is to pick from.
struct Asked<'a> {
    server: Server<'a>,
    person: SignedIn,
    book: Arc<PolicyBook>,
    name: &'a str,
    request: AuthorizeRequest,
    route: GatewayRoute,
}

/// Why a form is not answered as its sender meant.
enum NoAnswer {
    NoPage(NoPage),
    Unreadable(&'static str),
    NotWaiting,
}

/// `GET /oauth/consent`: asks the person.
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let shown = Typed::parse(query.as_bytes()).map_err(NoAnswer::Unreadable);
    let shown = shown.and_then(|typed| {
        let asked = asked(&shared, &headers, typed.get("request"))?;
        Ok(asked.shown(&typed))
    });
    shown.unwrap_or_else(|why| why.told(&shared))
}

/// `POST /oauth/consent`: takes the person's answer.
pub(crate) async fn decide(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = answered(&shared, &headers, body).await;
    answered.unwrap_or_else(|why| why.told(&shared))
}

async fn answered(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, NoAnswer> {
    let typed = Typed::read(headers, body).await;
    let typed = typed.map_err(NoAnswer::Unreadable)?;
    if let Some(response) = answered_before(shared, headers, &typed).await? {
        return Ok(response);
    }
    let mut asked = asked(shared, headers, typed.get("request"))?;
    check_form(headers, &asked.person.session, typed.get("csrf"))?;
    match typed.get("answer") {
        "deny" => {
            let (request, taken) = asked.take()?;
            locked(&asked.server.oauth.consents).heard(&taken);
            let error = super::OAuthError::new("access_denied", "the person said no");
            Err(NoPage::to_client(request.back, error).into())
        }
        "allow" => {
            asked.look_again().await?;
            asked.check_bounds()?;
            asked.allowed(shared, &typed).await
        }
        _ => Err(NoAnswer::Unreadable("the form names no answer")),
    }
}

/// Sends the browser of whoever clicked twice where the first answer leads, which nobody waited for.
async fn answered_before(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    typed: &Typed,
) -> Result<Option<Response>, NoAnswer> {
    let server = shared.server().map_err(NoPage::from)?;
    let person = signed_in(shared, headers)?;
    let (name, session) = (typed.get("request"), &person.session);
    for _ in 0..CLICKS_MAX {
        let now = (server.control.clock)().now;
        let before = locked(&server.oauth.consents).before(name, session, now);
        if !matches!(before, Before::No) {
            check_form(headers, session, typed.get("csrf"))?;
        }
        match before {
            Before::No => return Ok(None),
            Before::Unheard => {
                let taken = locked(&server.oauth.consents).take_unheard(name, session, now);
                if let Some((redirect, settling)) = taken {
                    let until = now.plus(CODE_TTL);
                    return Ok(Some(sent_back(shared, redirect, settling, until)?));
                }
            }
            Before::UnderWay(mut settled) => {
                // It is closed when that is settled.
                let _ = settled.changed().await;
            }
        }
    }
    Ok(None)
}

/// Sends the browser back, and keeps where to in mind for its next click if it left before it heard.
fn sent_back(
    shared: &Arc<Shared>,
    redirect: String,
    settling: Settling,
    until: Timestamp,
) -> Result<Response, NoPage> {
    let mut response = see_other(&redirect)?;
    let shared = Arc::clone(shared);
    let only = OnlyAnswer::settled_by(move |fate| {
        let mut consents = locked(&shared.oauth().consents);
        match fate {
            Fate::GoesOut => consents.heard(&settling),
            Fate::Unheard => consents.unheard(&settling, &redirect, until),
        }
    });
    response.extensions_mut().insert(only);
    Ok(response)
}

fn asked<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
    name: &'a str,
) -> Result<Asked<'a>, NoAnswer> {
    let server = shared.server().map_err(NoPage::from)?;
    let person = signed_in(shared, headers)?;
    let now = (server.control.clock)().now;
    let request = locked(&server.oauth.consents).find(name, &person.session, now)?;
    let book = server.control.handle.book().map_err(SignInError::from)?;
    let route = route(server, &request).ok_or(NoAnswer::NotWaiting)?;
    Ok(Asked {
        server,
        person,
        book,
        name,
        request,
        route,
    })
}

/// Refuses a request that names other bounds of its task than the template in force has, where it is one that the person may
/// start for the client.
pub(super) fn check_bounds(
    server: Server<'_>,
    person: &SignedIn,
    request: &AuthorizeRequest,
) -> Result<(), super::OAuthError> {
    let (Some(wanted), Some(route)) = (&request.wanted, route(server, request)) else {
        return Ok(());
    };
    let book = server.control.handle.book()?;
    let of = (&request.agents, &route);
    let choices = choices(book.estate(), person.caller.alias(), of);
    match choices.template(&wanted.template) {
        None => Ok(()),
        Some(template) => {
            let held = wanted.bounds.check(template, book.estate());
            held.map_err(|it| refused(&it))
        }
    }
}

fn route(server: Server<'_>, request: &AuthorizeRequest) -> Option<GatewayRoute> {
    let gateway = server.control.gateway_url.as_deref().unwrap_or_default();
    GatewayRoute::of_url(&request.audience, gateway)
}

impl Asked<'_> {
    /// Looks the client up again: it may have changed since it asked, or be gone.
    async fn look_again(&mut self) -> Result<(), NoAnswer> {
        let asker = Inquirer::Person(self.person.caller.alias().to_owned());
        let known = self
            .server
            .known((&self.request.client_id, &asker), Freshness::Usual)
            .await;
        let client = known.map_err(NoPage::from)?;
        let redirect = &self.request.back.redirect;
        let mut declared = client.redirect_uris.iter();
        if !declared.any(|it| redirect.fits(it) == Fits::Yes) {
            let what =
                "the client does not declare the address any more that it asked to be answered at";
            return Err(NoPage::from(super::OAuthError::request(what)).into());
        }
        self.request.agents = client.agents;
        Ok(())
    }

    /// Sends the client back when the template became another one since it was asked for.
    fn check_bounds(&self) -> Result<(), NoAnswer> {
        let held = check_bounds(self.server, &self.person, &self.request);
        let Err(error) = held else {
            return Ok(());
        };
        let (request, taken) = self.take()?;
        locked(&self.server.oauth.consents).heard(&taken);
        Err(NoPage::to_client(request.back, error).into())
    }

    fn choices(&self) -> Choices<'_> {
        let alias = self.person.caller.alias();
        let of = (&self.request.agents, &self.route);
        choices(self.book.estate(), alias, of)
    }

    fn scene<'a>(&'a self, choices: &'a Choices<'a>) -> Scene<'a> {
        Scene {
            name: self.name,
            request: &self.request,
            session: &self.person.session,
            alias: self.person.caller.alias(),
            estate: self.book.estate(),
            route: &self.route,
            choices,
        }
    }

    /// Shows the one task that was picked, that the client has in mind, or that there is; or asks which.
    fn shown(&self, typed: &Typed) -> Response {
        let choices = self.choices();
        let scene = self.scene(&choices);
        let wanted = self.request.wanted.as_ref();
        let picked = match typed.get("pick") {
            "other" => None,
            _ => picked(&choices, typed)
                .or_else(|| {
                    let wanted = wanted?;
                    match &wanted.agent {
                        Some(agent) => choices.find(agent, &wanted.template),
                        None => choices.only_of(&wanted.template),
                    }
                })
                .or_else(|| choices.only()),
        };
        let Some(choice) = picked else {
            return scene.choose();
        };
        let template = choice.template;
        let in_mind = wanted.filter(|it| it.template == template.name);
        let nothing = std::collections::BTreeMap::new();
        let parameters = in_mind.map_or(&nothing, |it| &it.parameters);
        let mut suggested = Typed::suggested(template, parameters);
        suggested.set(EXPIRY, scene.lives(choice).usual.to_string());
        scene.form(StatusCode::OK, choice, &suggested, (&Problems::new(), None))
    }

    /// Starts the task, and sends the person back with a code for it.
    async fn allowed(&self, shared: &Arc<Shared>, typed: &Typed) -> Result<Response, NoAnswer> {
        let choices = self.choices();
        let scene = self.scene(&choices);
        let Some(choice) = picked(&choices, typed) else {
            return Ok(scene.choose());
        };
        // The yes is to what was shown, and that is another thing now.
        if typed.get(SHOWN).parse() != Ok(self.book.estate().digest) {
            return Ok(scene.changed(choice, typed));
        }
        let decided = match typed.decide(choice.template, &scene.lives(choice)) {
            Ok(decided) => decided,
            Err(problems) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Ok(scene.form(status, choice, typed, (&problems, None)));
            }
        };
        let (request, taken) = self.take()?;
        match self.start(choice, decided).await {
            Ok(begun) => {
                self.server.oauth.documents.let_in(&request.client_id);
                Ok(self.send_back(shared, (request, taken), begun).await?)
            }
            Err(refusal) => {
                // It was no answer: the person may pick something else.
                locked(&self.server.oauth.consents).put_back(&taken);
                let (status, why) = words(&refusal);
                Ok(scene.form(status, choice, typed, (&Problems::new(), Some(&why))))
            }
        }
    }

    async fn start(
        &self,
        choice: Choice<'_>,
        decided: Decided,
    ) -> Result<(TaskId, ClientLeave), Refusal> {
        let ask = StartTask {
            template: choice.template.name.clone(),
            agent: choice.agent.name.clone(),
            parameters: decided.parameters,
            contained: ambit_core::task::Contained::None,
        };
        let control = self.server.control;
        let shown = self.book.estate().digest;
        let (caller, moment) = (&self.person.caller, (control.clock)());
        let started = control
            .handle
            .consent(caller, (ask, shown), decided.ttl, moment)
            .await;
        started.map(|(started, leave)| (started.task.id, leave))
    }

    async fn send_back(
        &self,
        shared: &Arc<Shared>,
        (request, settling): (AuthorizeRequest, Settling),
        (task, leave): (TaskId, ClientLeave),
    ) -> Result<Response, NoPage> {
        let (control, back) = (self.server.control, request.back.clone());
        let moment = (control.clock)();
        let issuer = self.server.issuer;
        let issued =
            locked(&self.server.oauth.codes).issue(issuer, request, (leave, task), &moment);
        let code = match issued {
            Ok(code) => code,
            Err(error) => {
                locked(&self.server.oauth.consents).heard(&settling);
                control.end_unserved(task).await;
                return Err(NoPage::to_client(back, error));
            }
        };
        let (abandoned, digest) = (Arc::clone(shared), code.digest);
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(CODE_TTL.as_millis())).await;
            end_if_abandoned(&abandoned, digest).await;
        });
        sent_back(shared, code.redirect, settling, moment.now.plus(CODE_TTL))
    }

    fn take(&self) -> Result<(AuthorizeRequest, Settling), NotWaiting> {
        let now = (self.server.control.clock)().now;
        locked(&self.server.oauth.consents).take(self.name, &self.person.session, now)
    }
}

/// Ends the task of a code that nobody redeemed in time.
pub(crate) async fn end_if_abandoned(shared: &Shared, code: ambit_core::Digest) {
    let abandoned = locked(&shared.oauth().codes).abandon(code);
    if let Some(task) = abandoned {
        shared.control().end_unserved(task).await;
    }
}

/// Returns the path of the page that asks about a request.
pub(super) fn address(name: &str) -> String {
    format!("{CONSENT}?request={name}")
}

fn picked<'a>(choices: &Choices<'a>, typed: &Typed) -> Option<Choice<'a>> {
    let agent = typed.get("agent").parse().ok()?;
    let template = typed.get("template").parse().ok()?;
    choices.find(&agent, &template)
}

/// Says to a person why no task started.
fn words(refusal: &Refusal) -> (StatusCode, String) {
    match refusal {
        Refusal::Denied {
            denied,
            explanation,
        } => {
            let why = format!(
                "{} ({}, {})",
                denied.reason.for_person(),
                explanation,
                denied.decision
            );
            (StatusCode::FORBIDDEN, why)
        }
        Refusal::Invalid(why) => (StatusCode::UNPROCESSABLE_ENTITY, why.clone()),
        Refusal::NotFound(why) => (StatusCode::NOT_FOUND, why.clone()),
        Refusal::Conflict(why) => (StatusCode::CONFLICT, why.clone()),
        Refusal::Failed(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

impl NoAnswer {
    fn told(self, shared: &Shared) -> Response {
        match self {
            Self::NoPage(why) => told(shared, why),
            Self::Unreadable(what) => page::unreadable(what),
            Self::NotWaiting => page::nothing_waits(),
        }
    }
}

impl From<NoPage> for NoAnswer {
    fn from(why: NoPage) -> Self {
        Self::NoPage(why)
    }
}

impl From<SignInError> for NoAnswer {
    fn from(error: SignInError) -> Self {
        Self::NoPage(error.into())
    }
}

impl From<NotWaiting> for NoAnswer {
    fn from(_: NotWaiting) -> Self {
        Self::NotWaiting
    }
}

const CONSENT: &str = "/oauth/consent";
