//! The pages on which a person picks a task for a client, or says no.

use ambit_core::{
    GatewayRoute,
    estate::{Estate, LeastBinding, Parameter, ParameterKind},
};
use axum::{http::StatusCode, response::Response};

use super::{
    super::{
        document::{self, Described},
        pushed::AuthorizeRequest,
        redirect::Kind,
    },
    CONSENT,
    choice::{Choice, Choices, EXPIRY, Lives, Problems, Typed, field},
};
use crate::{
    people::{
        Session,
        page::{Html, page, page_leading_to},
    },
    plan,
    visible::visible,
};

/// What every page of one consent shows.
pub(super) struct Scene<'a> {
    pub(super) name: &'a str,
    pub(super) request: &'a AuthorizeRequest,
    pub(super) session: &'a Session,
    /// The alias of whoever is signed in.
    pub(super) alias: &'a str,
    pub(super) estate: &'a Estate,
    pub(super) route: &'a GatewayRoute,
    pub(super) choices: &'a Choices<'a>,
}

impl Scene<'_> {
    /// Returns how long a task may live that is picked, which may be the one that the client has in mind.
    pub(super) fn lives(&self, choice: Choice<'_>) -> Lives {
        let wanted = self.request.wanted.as_ref();
        let in_mind = wanted.filter(|it| it.template == choice.template.name);
        Lives::of(choice.template, in_mind.and_then(|it| it.ttl))
    }

    /// The page on which one of several tasks is picked.
    pub(super) fn choose(&self) -> Response {
        let mut body = self.client().with("<h2>Which task may it have?</h2>\n");
        for choice in &self.choices.all {
            body = body
                .with("<section>\n<h3>")
                .text(choice.template.name.as_str())
                .with(" for ")
                .text(choice.agent.name.as_str())
                .with("</h3>\n<p>")
                .text(&visible(&choice.template.purpose))
                .with("</p>\n<p><a class=\"act\" href=\"")
                .text(&self.address(*choice))
                .with("\">Pick ")
                .text(choice.template.name.as_str())
                .with("<span class=\"unseen\"> for ")
                .text(choice.agent.name.as_str())
                .with("</span></a></p>\n</section>\n");
        }
        if self.choices.all.is_empty() {
            body = body.with(
                "<p role=\"alert\">There is no task that you may start for this program here. Ask an administrator for a \
                 template without containment whose starters include you.</p>\n",
            );
        }
        let body = self.set_aside(body).and(&self.no());
        self.page(StatusCode::OK, &body)
    }

    /// The page on which a person types the parameters, and decides.
    pub(super) fn form(
        &self,
        status: StatusCode,
        choice: Choice<'_>,
        typed: &Typed,
        (problems, refusal): (&Problems, Option<&str>),
    ) -> Response {
        let mut body = Html::default();
        if let Some(refusal) = refusal {
            body = body
                .with("<p role=\"alert\" class=\"bad\">")
                .sentence(refusal)
                .with("</p>\n");
        }
        if !problems.is_empty() {
            body = body.with(
                "<p role=\"alert\" class=\"bad\">Something does not fit; look at the fields that are marked. Nothing was \
                 started.</p>\n",
            );
        }
        let body = body.and(&self.client()).and(&self.task(choice));
        let mut form = self.form_head();
        for (name, parameter) in &choice.template.parameters {
            form = form.and(&control(name, parameter, typed.parameter(name), problems));
        }
        form = form.and(&expiry(&self.lives(choice), typed.get(EXPIRY), problems));
        form = form
            .with("<input type=\"hidden\" name=\"agent\" value=\"")
            .text(choice.agent.name.as_str())
            .with("\">\n<input type=\"hidden\" name=\"template\" value=\"")
            .text(choice.template.name.as_str())
            .with("\">\n<input type=\"hidden\" name=\"shown\" value=\"")
            .text(&self.estate.digest.to_string())
            .with(
                "\">\n<div class=\"row\">\n<button type=\"submit\" name=\"answer\" value=\"allow\">Start this task</button>\n\
                 <button type=\"submit\" name=\"answer\" value=\"deny\" class=\"no\" formnovalidate>No</button>\n</div>\n\
                 </form>\n",
            );
        let mut body = body.and(&form);
        if self.choices.all.len() > 1 {
            body = body
                .with("<p><a href=\"")
                .text(&super::address(self.name))
                .with("&amp;pick=other\">Pick another task</a></p>\n");
        }
        self.page(status, &body)
    }

    /// The same page again, since the estate is another one than when it was shown.
    pub(super) fn changed(&self, choice: Choice<'_>, typed: &Typed) -> Response {
        let why = "Something changed since this page was shown. Nothing was started; read what it may do now, and decide \
                   again.";
        self.form(
            StatusCode::CONFLICT,
            choice,
            typed,
            (&Problems::new(), Some(why)),
        )
    }

    fn page(&self, status: StatusCode, body: &Html) -> Response {
        let origin = self.request.back.redirect.origin();
        page_leading_to(status, "A program asks to act for you", body, origin)
    }

    /// Says who asks, as far as that is known.
    fn client(&self) -> Html {
        let redirect = &self.request.back.redirect;
        let described = Described::of(&self.request.client_id);
        let whose_word = match described {
            Described::ByDocument => "The program calls itself",
            Described::ByEstate => "Your administrators call the program",
        };
        let mut body = Html::ours("<section>\n<dl>\n<dt>")
            .with(whose_word)
            .with("</dt>\n<dd><strong>")
            .text(&self.request.client_name)
            .with("</strong></dd>\n");
        body = match described {
            Described::ByDocument => body
                .with("<dt>It is described at</dt>\n<dd><strong>")
                .text(&document::host(&self.request.client_id))
                .with("</strong><br><code>")
                .text(&self.request.client_id)
                .with("</code></dd>\n"),
            Described::ByEstate => body
                .with("<dt>They know it as</dt>\n<dd><code>")
                .text(&visible(&self.request.client_id))
                .with("</code></dd>\n"),
        };
        body = body
            .with("<dt>You are sent back to</dt>\n<dd><strong>")
            .text(redirect.host())
            .with("</strong></dd>\n<dt>It wants to work at</dt>\n<dd>")
            .text(&place(self.route))
            .with("</dd>\n<dt>You are</dt>\n<dd>")
            .text(self.alias)
            .with("</dd>\n</dl>\n");
        body = match redirect.kind() {
            Kind::Web => body,
            Kind::Loopback => body.with(
                "<p class=\"warn\"><strong>Any program on this computer can say that it is this one.</strong> Go on only if \
                 you started it yourself, a moment ago, on this computer.</p>\n",
            ),
            Kind::Program => body.with(
                "<p class=\"warn\"><strong>Any program on this computer can take this address for itself.</strong> Go on \
                 only if you started it yourself, a moment ago, on this computer.</p>\n",
            ),
        };
        body.with("</section>\n")
    }

    /// Says what the task is, and what may be done within it.
    fn task(&self, choice: Choice<'_>) -> Html {
        let (agent, template) = (choice.agent, choice.template);
        let mut body =
            Html::ours("<h2>The task</h2>\n<section>\n<dl>\n<dt>Kind of task</dt>\n<dd><strong>")
                .text(template.name.as_str())
                .with("</strong>: ")
                .text(&visible(&template.purpose))
                .with("</dd>\n<dt>It acts as</dt>\n<dd><strong>")
                .text(agent.name.as_str())
                .with("</strong>: ")
                .text(&visible(&agent.purpose))
                .with(", owned by ")
                .text(&agent.owner)
                .with("</dd>\n");
        let gives = plan::gives((self.estate, template), self.route);
        if gives.changes.is_empty() && gives.asks.is_empty() {
            body = body.with("<dt>It may change</dt>\n<dd>nothing</dd>\n");
        }
        // Without a key it reads; what this program will prove, nobody knows yet.
        let (changes, asks) = match template.binding == LeastBinding::BearerToRead {
            true => (
                "Only if it has a key of its own and proves it, it may change, without asking",
                "Only if it has a key of its own and proves it, after asking a person before each",
            ),
            false => (
                "It may change, without asking",
                "It asks a person before each",
            ),
        };
        for (heading, lines) in [
            (changes, &gives.changes),
            (asks, &gives.asks),
            ("It may read", &gives.reads),
            ("And no more than that", &gives.bounds),
        ] {
            body = body.and(&listed(heading, lines));
        }
        body.with("</dl>\n<p class=\"soft\">You can end it at any time with <code>ambit task end</code>; its \
            tokens end with it.</p>\n</section>\n")
    }

    fn form_head(&self) -> Html {
        Html::ours("<form method=\"post\" action=\"")
            .with(CONSENT)
            .with("\">\n<input type=\"hidden\" name=\"csrf\" value=\"")
            .text(&self.session.csrf())
            .with("\">\n<input type=\"hidden\" name=\"request\" value=\"")
            .text(self.name)
            .with("\">\n")
    }

    fn no(&self) -> Html {
        self.form_head().with(
            "<button type=\"submit\" name=\"answer\" value=\"deny\" class=\"no\">No, give it nothing</button>\n</form>\n",
        )
    }

    fn set_aside(&self, body: Html) -> Html {
        if self.choices.contained == 0 {
            return body;
        }
        body.with("<p class=\"soft\">Not shown: ")
            .text(&self.choices.contained.to_string())
            .with(" kinds of task that want their agent contained or certified. Those start with <code>ambit run</code>.</p>\n")
    }

    fn address(&self, choice: Choice<'_>) -> String {
        format!(
            "{}&agent={}&template={}",
            super::address(self.name),
            choice.agent.name,
            choice.template.name
        )
    }
}

/// The page for whoever comes too late, twice, or with another's link.
pub(super) fn nothing_waits() -> Response {
    let body = Html::ours(
        "<p role=\"alert\">Nothing waits for an answer of yours here: you answered already, took too long, or this link is \
         another browser's.</p>\n<p>Go back to the program that sent you, and begin again there.</p>\n",
    );
    page(StatusCode::NOT_FOUND, "No question", &body)
}

/// The page for a form that can't be read.
pub(super) fn unreadable(what: &str) -> Response {
    let body = Html::ours("<p role=\"alert\">")
        .sentence(what)
        .with("</p>\n");
    page(StatusCode::BAD_REQUEST, "This form can't be read", &body)
}

fn listed(heading: &'static str, lines: &[String]) -> Html {
    if lines.is_empty() {
        return Html::default();
    }
    let mut html = Html::ours("<dt>")
        .with(heading)
        .with("</dt>\n<dd><ul class=\"does\">\n");
    for line in lines {
        html = html.with("<li>").text(line).with("</li>\n");
    }
    html.with("</ul></dd>\n")
}

fn place(route: &GatewayRoute) -> String {
    match route {
        GatewayRoute::All => "all servers of its task".to_owned(),
        GatewayRoute::One(server) => format!("server {server}"),
    }
}

/// Writes one parameter: its label, what it takes, what was wrong, and the control.
fn control(name: &str, parameter: &Parameter, typed: &str, problems: &Problems) -> Html {
    let id = field(name);
    let mut html = Html::ours("<label for=\"")
        .text(&id)
        .with("\">")
        .text(name)
        .with("</label>\n<p class=\"hint\" id=\"h.")
        .text(&id)
        .with("\">")
        .text(&visible(&parameter.description))
        .text(&takes(&parameter.kind))
        .with("</p>\n");
    let problem = problems.get(&id);
    let common = Html::ours(" id=\"")
        .text(&id)
        .with("\" name=\"")
        .text(&id)
        .with("\" aria-describedby=\"h.")
        .text(&id)
        .and(&match problem {
            None => Html::ours("\""),
            Some(_) => Html::ours(" e.").text(&id).with("\" aria-invalid=\"true\""),
        })
        .with(match &parameter.default {
            None => " required",
            Some(_) => "",
        });
    html = match &parameter.kind {
        ParameterKind::Text { one_of, .. } if !one_of.is_empty() => {
            let options = one_of.iter().map(|it| (it.as_str(), it.as_str()));
            select(html, &common, options, typed)
        }
        ParameterKind::Boolean => {
            let options = [("true", "yes"), ("false", "no")];
            select(html, &common, options.into_iter(), typed)
        }
        ParameterKind::Text { bytes_max, .. }
            if *bytes_max > ONE_LINE_MAX || typed.contains('\n') =>
        {
            html.with("<textarea rows=\"4\"")
                .and(&common)
                .with(">\n")
                .text(typed)
                .with("</textarea>\n")
        }
        ParameterKind::Integer { min, max } => html
            .with("<input type=\"number\" step=\"1\" min=\"")
            .text(&min.to_string())
            .with("\" max=\"")
            .text(&max.to_string())
            .with("\"")
            .and(&common)
            .with(" value=\"")
            .text(typed)
            .with("\">\n"),
        ParameterKind::Text { .. } | ParameterKind::Under { .. } => html
            .with("<input type=\"text\" autocomplete=\"off\" spellcheck=\"false\"")
            .and(&common)
            .with(" value=\"")
            .text(typed)
            .with("\">\n"),
    };
    said(html, &id, problem)
}

fn select<'a>(
    html: Html,
    common: &Html,
    options: impl Iterator<Item = (&'a str, &'a str)>,
    typed: &str,
) -> Html {
    let mut html = html
        .with("<select")
        .and(common)
        .with(">\n<option value=\"\">Pick one</option>\n");
    for (value, shown) in options {
        html = html
            .with("<option value=\"")
            .text(value)
            .with(if value == typed {
                "\" selected>"
            } else {
                "\">"
            })
            .text(&visible(shown))
            .with("</option>\n");
    }
    html.with("</select>\n")
}

/// Says below a control what was wrong with what it held.
fn said(html: Html, id: &str, problem: Option<&String>) -> Html {
    let Some(problem) = problem else {
        return html;
    };
    html.with("<p class=\"bad\" id=\"e.")
        .text(id)
        .with("\">")
        .sentence(problem)
        .with("</p>\n")
}

fn expiry(lives: &Lives, typed: &str, problems: &Problems) -> Html {
    let mut html = Html::ours(
        "<label for=\"expiry\">It ends after</label>\n<select id=\"expiry\" name=\"expiry\">\n",
    );
    for span in &lives.all {
        let text = span.to_string();
        html = html
            .with("<option value=\"")
            .text(&text)
            .with(if text == typed { "\" selected>" } else { "\">" })
            .text(&in_words(&text))
            .with(if lives.asked == Some(*span) {
                ", as the program asks</option>\n"
            } else {
                "</option>\n"
            });
    }
    said(html.with("</select>\n"), EXPIRY, problems.get(EXPIRY))
}

/// Writes a span such as `15m` out.
fn in_words(span: &str) -> String {
    let end = span.find(|it: char| !it.is_ascii_digit());
    let Some((number, unit)) = end.and_then(|it| span.split_at_checked(it)) else {
        return span.to_owned();
    };
    let unit = match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        _ => return span.to_owned(),
    };
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

fn takes(kind: &ParameterKind) -> String {
    match kind {
        ParameterKind::Under { prefix } => format!(" (below {prefix})"),
        ParameterKind::Integer { min, max } => format!(" ({min} to {max})"),
        ParameterKind::Text { .. } | ParameterKind::Boolean => String::new(),
    }
}

/// The longest text that is typed into one line, in bytes.
const ONE_LINE_MAX: usize = 256;
