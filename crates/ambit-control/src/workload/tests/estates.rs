//! Streams that are open while another estate comes into force.

use ambit_core::{estate::Estate, json::Value};
use ambit_engine::Answer as Decided;
use ambit_testkit::compile;

use super::*;

/// Puts the office in force, with these processes as runs of the clerk and this purpose.
async fn apply(desk: &Desk, uids: &[u32], purpose: &str) {
    let mut estate = manned();
    let clerk = estate.agents.values_mut().next().unwrap();
    clerk.purpose = purpose.to_owned();
    let registered = |uid: &u32| Workload {
        uid: Some(*uid),
        ..Workload::default()
    };
    clerk.workloads = uids.iter().map(registered).collect();
    let digest = Digest::of(format!("{estate:?}").as_bytes());
    let book = compile(Estate { digest, ..estate });
    let (ana, moment) = (desk.world.person("ana"), desk.world.clock.moment());
    let handle = &desk.world.handle;
    // What a plan says beforehand is what ends.
    let looks = handle.may_inspect(&ana, desk.world.clock.moment());
    let inspection = looks.await.unwrap();
    let foreseen = handle.unregistered(&inspection, book.estate()).unwrap();
    let applied = handle.apply(&ana, book, Vec::new(), moment).await.unwrap();
    assert_eq!(foreseen, applied.ended.into_iter().collect());
}

/// NHI01, improper offboarding: who is registered no more loses what is open, and hears it at once.
#[tokio::test]
async fn nhi01_open_streams_end_with_the_registration() {
    let desk = Desk::open();
    let task = desk.expect().await;
    let (clerk, idle) = (process(CLERK, 7), process(CLERK, 8));
    let mut svids = desk.svids(&clerk).await;
    let svid = svids.svid().await.unwrap();
    let mut x509 = desk
        .call(Some(&idle), "FetchX509Bundles", X509BundlesRequest {})
        .await;
    x509.next::<X509BundlesResponse>().await.unwrap();
    let mut jwt = desk
        .call(Some(&idle), "FetchJWTBundles", JwtBundlesRequest {})
        .await;
    jwt.next::<JwtBundlesResponse>().await.unwrap();
    // Another version that registers the same: nobody is cut, and keys that change are said still.
    apply(&desk, &[CLERK], "another purpose").await;
    desk.rotate(|keys| keys.prepare(pair(20), desk.now()).unwrap());
    svids.svid().await.unwrap();
    x509.next::<X509BundlesResponse>().await.unwrap();
    jwt.next::<JwtBundlesResponse>().await.unwrap();
    apply(&desk, &[STRANGER], "another purpose").await;
    svids
        .refused(Code::PermissionDenied, "its identity with it")
        .await;
    x509.refused(Code::PermissionDenied, "no agent").await;
    jwt.refused(Code::PermissionDenied, "no agent").await;
    desk.svids(&clerk)
        .await
        .refused(Code::PermissionDenied, "no agent")
        .await;
    // What it holds is worth nothing, either.
    let chain = CertificateDer::from_slice(&svid.x509_svid).into_owned();
    let keys = desk.doors.control().keys_in_force();
    let caller = identify_instance(&[chain], keys.bundle(), desk.now()).unwrap();
    let act = ambit_core::act::Act::CallTool {
        server: "tickets".parse().unwrap(),
        tool: "get_ticket".parse().unwrap(),
        arguments: Value::object([("id", "T-1".into())]),
    };
    let moment = desk.world.clock.moment();
    let answer = desk.world.handle.decide(&caller, act, moment).await;
    let Ok(Decided::Denied(denied)) = answer else {
        panic!("the gateway would let it act");
    };
    assert_eq!(denied.reason, ambit_core::Reason::TaskEnded);
    let ends = desk.world.records().into_iter().filter_map(|it| {
        let Fact::TaskEnded { task, end, .. } = it.body else {
            return None;
        };
        Some((task, end.as_str()))
    });
    assert_eq!(ends.collect::<Vec<_>>(), [(task.id, "unregistered")]);
}
