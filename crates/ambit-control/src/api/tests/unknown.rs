//! The endpoints for instances, for whoever is none.

use super::*;
use crate::api::unknown_router;

/// Where nobody is known by the connection, the authorization server says so in its own words (RFC 6749 section 5.2).
#[tokio::test]
async fn who_is_nobody_hears_so_at_the_authorization_server() {
    let check =
        async |method: &str, path: &str, tried: Option<&str>, expected: (u16, Option<&str>)| {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(tried) = tried {
                request = request.header("authorization", tried);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = unknown_router().oneshot(request).await.unwrap();
            let scheme = response.headers().get("www-authenticate");
            let scheme = scheme.map(|it| it.to_str().unwrap());
            let came = (response.status().as_u16(), scheme);
            assert_eq!(came, expected, "{method} {path} {tried:?}");
        };
    for end in ["token", "introspect", "revoke"] {
        let path = format!("/oauth/mtls/{end}");
        check("POST", &path, None, (401, None)).await;
        let tried = (401, Some("Basic realm=\"ambit\""));
        check("POST", &path, Some("basic YTpi"), tried).await;
        let tried = (401, Some("DPoP realm=\"ambit\""));
        check("POST", &path, Some("DPoP a"), tried).await;
        check("GET", &path, None, (405, None)).await;
    }
    // Those of the public port are not here.
    check("POST", "/oauth/token", None, (404, None)).await;
    check("POST", "/oauth/nowhere", None, (404, None)).await;
}
