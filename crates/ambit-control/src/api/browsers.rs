//! What a browser gets in the place of a problem: the same words, as a page.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};

use crate::people::page::{Html, page};

/// The words of a problem, beside its response.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// What went wrong.
    pub(super) title: String,
    /// More of it, and what to do.
    pub(super) detail: Option<String>,
}

/// Answers a request; a problem is a page for whoever asks for pages, and stays what it is for programs.
pub(super) async fn in_pages(request: Request, next: Next) -> Response {
    let is_browser = asks_for_pages(request.headers());
    let response = next.run(request).await;
    match response.extensions().get::<Told>() {
        Some(told) if is_browser => told_in_a_page(response.status(), told),
        Some(_) | None => response,
    }
}

/// Browsers name HTML before all else when somebody follows a link.
fn asks_for_pages(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT);
    accepts.is_some_and(|it| it.as_bytes().starts_with(b"text/html"))
}

fn told_in_a_page(status: StatusCode, told: &Told) -> Response {
    let mut body = Html::ours("<p role=\"alert\">").sentence(&told.title);
    if let Some(detail) = &told.detail {
        body = body.with(" ").sentence(detail);
    }
    let body = body.with("</p>\n<p><a class=\"act\" href=\"/account\">Account</a></p>\n");
    let title = match status {
        StatusCode::NOT_FOUND => "Nothing is here",
        _ => "That was not done",
    };
    page(status, title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_as_before() {
        let check = |accept: Option<&str>, wanted: bool| {
            let headers = accept.map(|it| (header::ACCEPT, it.parse().unwrap()));
            let headers = headers.into_iter().collect();
            assert_eq!(asks_for_pages(&headers), wanted, "{accept:?}");
        };
        check(None, false);
        check(Some("*/*"), false);
        check(Some("application/json, text/html"), false);
        check(Some("text/html,application/xhtml+xml,*/*;q=0.8"), true);
    }
}
