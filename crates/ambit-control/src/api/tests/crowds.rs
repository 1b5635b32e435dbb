//! Crowds of strangers, and whom they keep waiting.

use std::time::Duration;

use ambit_core::origin::Origin;
use axum::{
    Extension,
    body::Body,
    http::{Request, StatusCode, header},
};
use futures_util::FutureExt;
use tokio::{task::unconstrained, time::timeout};
use tower::ServiceExt;

use super::{
    super::public_router,
    booth::{self, Booth, CLIENT, NEVER},
    logins::CommandLine,
};
use crate::carried::CARRIED_PER_ASKER_MAX;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// ASI08: strangers of many addresses who have Ambit wait for hosts of theirs keep nobody from revoking or asking.
#[tokio::test]
async fn asi08_strangers_of_many_addresses_keep_no_login_from_revoking() {
    let booth = Booth::open().await;
    let line = CommandLine::new(&booth.desk, 21);
    let login = line.log_in().await;
    let router = public_router(&booth.desk.doors);
    let push = |number: u8, name: &str| {
        let origin = Origin::Address([192, 0, 2, number].into());
        let request = Request::post("/oauth/par")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = Body::from(booth::request(&[("client_id", name)]));
        let router = router.clone().layer(Extension(origin));
        Box::pin(router.oneshot(request.body(body).unwrap()))
    };
    let mut waiting = Vec::new();
    for number in 0..8 {
        let name = format!("https://slow-{number}.example/client.json");
        booth.publish(&name, (String::new(), NEVER));
        for _ in 0..CARRIED_PER_ASKER_MAX {
            let mut one = push(number, &name);
            assert!(unconstrained(one.as_mut()).now_or_never().is_none());
            waiting.push(one);
        }
    }
    let body = r#"{"target":{"kind":"agent","id":"clerk"},"reason":"it is mad"}"#;
    let revoke = line.request("POST", "/v1/revocations", &login, body);
    let revoked = timeout(PATIENCE, line.sent_through(router.clone(), revoke)).await;
    let revoked = revoked.expect("nobody waits for strangers");
    assert_eq!(revoked.status, StatusCode::OK, "{:?}", revoked.body);
    // A client is heard from the next address, and from one of theirs.
    for number in [8, 0] {
        let answer = timeout(PATIENCE, push(number, CLIENT)).await;
        let answer = answer.expect("nobody waits for strangers").unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{number}");
    }
}
