//! Small pages for people who follow the link in a refusal. They tell nothing about anybody's decisions: a page is the
//! same for every identifier, also for one that never was.

use ambit_core::{ApprovalId, DecisionId, Digest};
use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::problem::Problem;

/// What one kind of person does next: a heading, what to know, and the command when there is one.
struct Step {
    who: &'static str,
    what: &'static str,
    command: Option<String>,
}

/// Says what a decision is.
pub(super) async fn decision(Path(text): Path<String>) -> Result<Response, Problem> {
    let id: DecisionId = text.parse().map_err(|_| unknown())?;
    let steps = [
        Step {
            who: "You started the task, or you operate or audit Ambit",
            what: "Ask where Ambit runs. The answer names the rule, what it saw, and what would change it.",
            command: Some(format!("ambit log why {id}")),
        },
        Step {
            who: "You own the agent, its template or the server",
            what: "Change the bounds in the estate's files when the work needs it, and look at what that widens first.",
            command: Some("ambit plan DIR".to_owned()),
        },
        Step {
            who: "You only work with the agent",
            what: "Send this identifier to whoever started the agent for you. Asking the agent to try again changes \
                nothing, unless its answer says so.",
            command: None,
        },
    ];
    let lead = "An agent asked to do one exact thing, and Ambit answered. This is the name of that decision.";
    Ok(page("Decision", &id.to_string(), lead, &steps))
}

/// Says what an approval is.
pub(super) async fn approval(Path(text): Path<String>) -> Result<Response, Problem> {
    let id: ApprovalId = text.parse().map_err(|_| unknown())?;
    let steps = [
        Step {
            who: "You may approve",
            what: "Look at the exact act, whole, where Ambit runs. It says how to answer yes, once, or no.",
            command: Some(format!("ambit approvals show {id}")),
        },
        Step {
            who: "You started the task",
            what: "Ask an approver soon: the request expires. Where its template wants another person, your own yes does \
                not count.",
            command: Some("ambit approvals list".to_owned()),
        },
        Step {
            who: "You only work with the agent",
            what: "Wait. After a yes the identical call goes through once; until then it is not made, however often the \
                agent asks.",
            command: None,
        },
    ];
    let lead = "An agent asked to do one exact thing that a person must approve first. This is the name of that request.";
    Ok(page("Approval", &id.to_string(), lead, &steps))
}

fn unknown() -> Problem {
    Problem::not_found(
        "page of this name",
        "a link in a refusal ends in its whole name; copy all of it",
    )
}

/// Returns the page. All of its text is ours, and the identifier was parsed: nothing in it needs escaping.
fn page(kind: &str, id: &str, lead: &str, steps: &[Step]) -> Response {
    let step = |it: &Step| {
        let command = it.command.as_ref();
        let command =
            command.map_or_else(String::new, |it| format!("<pre><code>{it}</code></pre>"));
        format!(
            "<section><h2>{}</h2><p>{}</p>{command}</section>\n",
            it.who, it.what
        )
    };
    let steps: String = steps.iter().map(step).collect();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{kind} {id} - Ambit</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{kind}</h1>\n<p class=\"id\"><code>{id}</code></p>\n<p>{lead}</p>\n{steps}\
         <footer>This page is the same for every identifier. It does not say whether this one exists, nor anything about \
         it: only Ambit's own commands do, to those who may know.</footer>\n</main>\n</body>\n</html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::CACHE_CONTROL, "public, max-age=300".to_owned()),
    ];
    (headers, html).into_response()
}

/// Nothing but the page's own style may load, and nobody may frame it (CSP Level 3).
fn policy() -> String {
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1a1f26;--soft:#56606c;--paper:#fbfbf9;--card:#fff;--line:#dfe2e6}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa5b1;--paper:#14171b;--card:#1c2026;--line:#323942}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{max-width:42rem;margin:0 auto;padding:2.5rem 1.25rem}
h1{font-size:1.6rem;line-height:1.2;margin:0}
h2{font-size:1rem;margin:0 0 .25rem}
p{margin:0 0 1rem}
section p{margin:0}
code{font:.9rem/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
.id{color:var(--soft);margin:.25rem 0 1.25rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 .75rem}
pre{margin:.75rem 0 0;padding:.6rem .75rem;border-radius:.35rem;background:var(--paper);border:1px solid var(--line);white-space:pre-wrap}
footer{margin-top:1.5rem;color:var(--soft);font-size:.875rem}
";

#[cfg(test)]
mod tests {
    use ambit_core::{ApprovalId, DecisionId};
    use http_body_util::BodyExt;

    use super::*;

    async fn read(response: Response) -> (String, String) {
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (policy, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_page_says_what_to_do_and_nothing_else() {
        let id = DecisionId::from_bits(7).to_string();
        let (policy, html) = read(decision(Path(id.clone())).await.unwrap()).await;
        assert!(html.contains(&format!("ambit log why {id}")), "{html}");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        let id = ApprovalId::from_bits(7).to_string();
        let (_, html) = read(approval(Path(id.clone())).await.unwrap()).await;
        assert!(
            html.contains(&format!("ambit approvals show {id}")),
            "{html}"
        );
        for word in [
            "<script", "http:", "https:", "src=", "href=", "style=\"", "url(",
        ] {
            assert!(!html.contains(word), "`{word}` in {html}");
        }
    }

    #[tokio::test]
    async fn what_is_no_identifier_has_no_page() {
        let approval_id = ApprovalId::from_bits(7).to_string();
        for text in [
            "",
            "dec_",
            "<b>",
            &approval_id,
            &format!("{}x", DecisionId::from_bits(7)),
        ] {
            let found = decision(Path(text.to_owned())).await;
            let problem = found.err().unwrap().to_value().to_canonical();
            assert!(
                problem.contains("page of this name") && !problem.contains("<b>"),
                "{problem}"
            );
        }
    }
}
