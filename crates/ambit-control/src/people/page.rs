//! Pages for people: rendered here, without scripts, with nothing from elsewhere.

use ambit_core::{Digest, Timestamp};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// HTML that is safe to send: every part of it is ours or was escaped.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Html(String);

impl Html {
    /// Takes HTML that stands in the source.
    pub(crate) fn ours(html: &'static str) -> Self {
        Self(html.to_owned())
    }

    /// Adds HTML that stands in the source.
    pub(crate) fn with(mut self, html: &'static str) -> Self {
        self.0.push_str(html);
        self
    }

    /// Adds text of anybody's, as text. It is good in elements and in attributes within `"`.
    pub(crate) fn text(mut self, text: &str) -> Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                character => self.0.push(character),
            }
        }
        self
    }

    /// Adds a message as a sentence to people: with a capital and a full stop, and what stands in backticks as code.
    pub(crate) fn sentence(mut self, message: &str) -> Self {
        let mut parts = message.split('`').peekable();
        let first = parts.next().unwrap_or_default();
        let mut letters = first.chars();
        let capital = letters.next().map(|it| it.to_uppercase().to_string());
        self = self
            .text(&capital.unwrap_or_default())
            .text(letters.as_str());
        let mut is_code = true;
        while let Some(part) = parts.next() {
            // The last backtick closes nothing when their number is odd.
            self = match is_code && parts.peek().is_some() {
                true => self.with("<code>").text(part).with("</code>"),
                false if is_code => self.text("`").text(part),
                false => self.text(part),
            };
            is_code = !is_code;
        }
        if message.ends_with(['.', '?', '!']) {
            return self;
        }
        self.with(".")
    }

    /// Adds an instant: to the minute for people, whole for programs.
    pub(crate) fn instant(self, at: Timestamp) -> Self {
        let whole = at.to_string();
        let date = whole.get(..10).unwrap_or(&whole);
        let time = whole.get(11..16).unwrap_or_default();
        self.with("<time datetime=\"")
            .text(&whole)
            .with("\">")
            .text(&format!("{date}, {time} UTC"))
            .with("</time>")
    }

    /// Adds more of it.
    pub(crate) fn and(mut self, more: &Self) -> Self {
        self.0.push_str(&more.0);
        self
    }
}

/// Returns a page that nobody but its reader may keep, and whose forms go to this server alone.
pub(crate) fn page(status: StatusCode, title: &'static str, body: &Html) -> Response {
    page_with(status, title, body, ("'self'", "no-store"))
}

/// Returns a page without forms that anybody may keep for a while.
pub(crate) fn page_for_anybody(title: &'static str, body: &Html) -> Response {
    page_with(
        StatusCode::OK,
        title,
        body,
        ("'none'", "public, max-age=300"),
    )
}

/// Returns a page as [`page`] does, whose forms go to this server, which may send the browser on to `origin`.
pub(crate) fn page_leading_to(
    status: StatusCode,
    title: &'static str,
    body: &Html,
    origin: &str,
) -> Response {
    let forms = format!("'self' {origin}");
    page_with(status, title, body, (&forms, "no-store"))
}

fn page_with(
    status: StatusCode,
    title: &'static str,
    body: &Html,
    (forms, keep): (&str, &'static str),
) -> Response {
    let html = Html::ours(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
    )
    .with(title)
    .with(" - Ambit</title>\n<style>")
    .with(STYLE)
    .with("</style>\n</head>\n<body>\n<main>\n<h1>")
    .with(title)
    .with("</h1>\n")
    .and(body)
    .with("</main>\n</body>\n</html>\n");
    let mut response = (status, html.0).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    match HeaderValue::from_str(&policy(forms)) {
        Ok(policy) => {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        // Without its policy no page leaves.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Nothing but the page's own style may load, forms go where they are meant to, and nobody may frame it (CSP Level 3).
fn policy(forms: &str) -> String {
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
    )
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1a1f26;--soft:#56606c;--paper:#fbfbf9;--card:#fff;--line:#7f8894;--act:#1d4f91;--on:#fff;--bad:#a3231b}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa5b1;--paper:#14171b;--card:#1c2026;--line:#6b7682;--act:#9cc3f5;--on:#10161d;--bad:#ff9d94}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{max-width:42rem;margin:0 auto;padding:2.5rem 1.25rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 1.25rem}
h2{font-size:1rem;margin:1.5rem 0 .5rem}
section>h2{margin-top:0;line-height:1.35}
p,ul,dl{margin:0 0 1rem}
code{font:.9rem/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
dt{color:var(--soft);font-size:.875rem}
dd{margin:0 0 .5rem;overflow-wrap:anywhere}
section>:last-child,section>:last-child>:last-child{margin-bottom:0}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 .75rem}
label{display:block;font-weight:600;margin:0 0 .25rem}
input,select,textarea{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:.35rem;padding:.55rem .65rem;width:100%;min-height:2.75rem;margin:0 0 1rem}
button,a.act{display:inline-block;font:inherit;font-weight:600;min-height:2.75rem;padding:.6rem 1rem;border-radius:.35rem;border:1px solid var(--act);background:var(--act);color:var(--on);text-decoration:none;cursor:pointer}
button.no{background:transparent;color:var(--act)}
:focus-visible{outline:3px solid var(--act);outline-offset:2px}
.soft{color:var(--soft);font-size:.875rem}
[aria-invalid=true]{border-color:var(--bad);border-width:2px}
.bad{color:var(--bad);font-weight:600;margin:-.5rem 0 1rem}
#passkey{margin:0 0 1rem}
#passkey+.bad{margin-top:0}
label+.bad{margin-top:0;margin-bottom:.5rem}
pre{margin:.75rem 0 0;padding:.6rem .75rem;border-radius:.35rem;background:var(--paper);border:1px solid var(--line);white-space:pre-wrap}
.warn{border-left:.3rem solid var(--bad);padding:.1rem 0 .1rem .75rem}
.hint{color:var(--soft);font-size:.875rem;margin:0 0 .35rem}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
h3{font-size:1rem;margin:0 0 .25rem}
.does{padding-left:1.1rem;margin:0;overflow-wrap:anywhere}
.row{display:flex;flex-wrap:wrap;gap:.75rem}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_as_a_sentence() {
        let check = |message: &str, wanted: &str| {
            assert_eq!(Html::default().sentence(message).0, wanted, "{message}");
        };
        check("", ".");
        check("it is over", "It is over.");
        check("Is it?", "Is it?");
        check("`a<b` is odd", "<code>a&lt;b</code> is odd.");
        check(
            "ask (`ambit people enroll`)",
            "Ask (<code>ambit people enroll</code>).",
        );
        check("one ` alone", "One ` alone.");
        check("`a` and ` b", "<code>a</code> and ` b.");
        check("<script>", "&lt;script&gt;.");
        check("\u{e9}t\u{e9}", "\u{c9}t\u{e9}.");
    }

    #[test]
    fn an_instant_is_told_to_the_minute() {
        let told = Html::default().instant(Timestamp::from_millis(1_795_361_725_432));
        let wanted = "<time datetime=\"2026-11-22T15:35:25.432Z\">2026-11-22, 15:35 UTC</time>";
        assert_eq!(told.0, wanted);
    }
}
