//! The endpoints of the authorization server for instances, for whoever is none.

use axum::{Router, routing::post};

use super::{Door, routes, unknown, wrong_method};
use crate::oauth;

/// Returns the router that says so. Who asks there is nobody: nothing is read and nothing begins.
pub(in crate::api) fn unknown_router() -> Router {
    let here = routes().filter(|it| it.door == Door::Instance && it.path.starts_with("/oauth/"));
    let router = here.fold(Router::new(), |router, it| {
        router.route(it.path, post(oauth::unknown_client))
    });
    router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
}
