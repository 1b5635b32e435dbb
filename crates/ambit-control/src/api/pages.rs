//! Small pages for people who follow the link in a refusal. They tell nothing about anybody's decisions: a page is the
//! same for every identifier, also for one that never was.

use ambit_core::{ApprovalId, DecisionId};
use axum::{extract::Path, response::Response};

use super::problem::Problem;
use crate::people::page::{Html, page_for_anybody};

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

/// Returns the page, which anybody may keep for a while: it is the same for all.
fn page(kind: &'static str, id: &str, lead: &'static str, steps: &[Step]) -> Response {
    let mut body = Html::ours("<p class=\"soft\"><code>")
        .text(id)
        .with("</code></p>\n<p>")
        .with(lead)
        .with("</p>\n");
    for step in steps {
        body = body
            .with("<section><h2>")
            .with(step.who)
            .with("</h2><p>")
            .with(step.what)
            .with("</p>");
        if let Some(command) = &step.command {
            body = body.with("<pre><code>").text(command).with("</code></pre>");
        }
        body = body.with("</section>\n");
    }
    let body = body.with(
        "<p class=\"soft\">This page is the same for every identifier. It does not say whether this one exists, nor anything \
         about it: only Ambit's own commands do, to those who may know.</p>\n",
    );
    page_for_anybody(kind, &body)
}

#[cfg(test)]
mod tests {
    use axum::http::header;
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
