//! JWT-SVIDs that a process asks for and has checked.

use ambit_core::SvidKind;

use super::*;

#[tokio::test]
async fn a_jwt_svid_is_for_its_audience_and_its_instance() {
    let desk = Desk::open();
    let task = desk.expect().await;
    let clerk = process(CLERK, 7);
    let ask = |audience: &[&str], spiffe_id: &str| JwtSvidRequest {
        audience: audience.iter().map(|it| (*it).to_owned()).collect(),
        spiffe_id: spiffe_id.to_owned(),
    };
    let name = task.spiffe_id.to_string();
    let mut answer = desk
        .call(Some(&clerk), "FetchJWTSVID", ask(&["reports"], &name))
        .await;
    let svid = answer
        .next::<JwtSvidResponse>()
        .await
        .unwrap()
        .svids
        .remove(0);
    assert_eq!(svid.spiffe_id, name);
    let validate = |audience: &str, svid: &str| ValidateJwtSvidRequest {
        audience: audience.to_owned(),
        svid: svid.to_owned(),
    };
    let own = || validate("reports", &svid.svid);
    let mut answer = desk.call(Some(&clerk), "ValidateJWTSVID", own()).await;
    let found = answer.next::<ValidateJwtSvidResponse>().await.unwrap();
    assert_eq!(found.spiffe_id, name);
    assert!(found.claims.unwrap().fields.contains_key("exp"));
    on_record_for(&desk, &["reports"]);
    for (audience, token) in [
        ("other", svid.svid.as_str()),
        ("reports", "a.b.c"),
        ("", &svid.svid),
    ] {
        let mut answer = desk
            .call(Some(&clerk), "ValidateJWTSVID", validate(audience, token))
            .await;
        answer.refused(Code::InvalidArgument, "").await;
    }
    // Signed and in time, and still nobody once the task has ended.
    let second = desk.expect().await;
    let other = process(CLERK, 8);
    let mut answer = desk
        .call(Some(&other), "FetchJWTSVID", ask(&["reports"], ""))
        .await;
    let gone = answer.next::<JwtSvidResponse>().await.unwrap();
    let gone = gone.svids[0].svid.clone();
    let mut answer = desk
        .call(Some(&clerk), "ValidateJWTSVID", validate("reports", &gone))
        .await;
    answer.next::<ValidateJwtSvidResponse>().await.unwrap();
    desk.end(&second).await;
    let mut answer = desk
        .call(Some(&clerk), "ValidateJWTSVID", validate("reports", &gone))
        .await;
    answer.refused(Code::InvalidArgument, "has ended").await;
    desk.world.clock.advance(JWT_SVID_TTL);
    desk.world.clock.advance(Millis::from_seconds(60));
    let mut answer = desk.call(Some(&clerk), "ValidateJWTSVID", own()).await;
    answer.refused(Code::InvalidArgument, "").await;
    desk.end(&task).await;
    let mut answer = desk
        .call(Some(&clerk), "FetchJWTSVID", ask(&["reports"], ""))
        .await;
    answer.refused(Code::PermissionDenied, "").await;
}

/// A JWT-SVID is on record as what it is, with where it is good.
#[track_caller]
fn on_record_for(desk: &Desk, wanted: &[&str]) {
    let mut records = desk.world.records().into_iter();
    let audiences = records.find_map(|it| {
        let Fact::InstanceCertified {
            svid: SvidKind::Jwt { audiences },
            ..
        } = it.body
        else {
            return None;
        };
        Some(audiences)
    });
    assert_eq!(audiences.unwrap(), wanted);
}

#[tokio::test]
async fn a_jwt_svid_is_refused_for_what_is_wrong_with_the_request() {
    let desk = Desk::open();
    desk.expect().await;
    let clerk = process(CLERK, 7);
    let ask = |audience: &[&str], spiffe_id: &str| JwtSvidRequest {
        audience: audience.iter().map(|it| (*it).to_owned()).collect(),
        spiffe_id: spiffe_id.to_owned(),
    };
    let long = "a".repeat(AUDIENCE_BYTES_MAX + 1);
    for (audience, name, code) in [
        (&[][..], "", Code::InvalidArgument),
        (&[""], "", Code::InvalidArgument),
        (&[long.as_str()], "", Code::InvalidArgument),
        (&["a"], "example.org", Code::InvalidArgument),
        (
            &["a"],
            "spiffe://example.org/agent/clerk/other",
            Code::PermissionDenied,
        ),
    ] {
        let mut answer = desk
            .call(Some(&clerk), "FetchJWTSVID", ask(audience, name))
            .await;
        answer.refused(code, "").await;
    }
}
