//! SVIDs and keys in their time: renewed at half their life, and good after a planned rotation.

use ambit_identity::authority::PREPARED_TTL_MIN;

use super::*;

impl Desk {
    /// Returns how many X509-SVIDs are on record.
    fn certified(&self) -> usize {
        let records = self.world.records().into_iter();
        let certified = records.filter(|it| matches!(it.body, Fact::InstanceCertified { .. }));
        certified.count()
    }

    /// Says whether the process is told that the JWT-SVID for `reports` is good.
    async fn takes(&self, made: &Made, svid: &str) -> bool {
        let ask = ValidateJwtSvidRequest {
            audience: "reports".to_owned(),
            svid: svid.to_owned(),
        };
        let mut answer = self.call(Some(made), "ValidateJWTSVID", ask).await;
        answer.next::<ValidateJwtSvidResponse>().await.is_ok()
    }
}

#[tokio::test]
async fn an_svid_is_another_one_once_half_its_life_is_over() {
    let desk = Desk::open();
    let task = desk.expect().await;
    let clerk = process(CLERK, 7);
    let mut open = desk.svids(&clerk).await;
    let first = open.svid().await.unwrap();
    let life = task.expires_at.since(desk.now()).min(SVID_TTL);
    let half = Millis::new(life.as_millis() / 2);
    desk.world.clock.advance(Millis::new(half.as_millis() - 1));
    assert_eq!(desk.svids(&clerk).await.svid().await.unwrap(), first);
    assert_eq!(desk.certified(), 1);
    desk.world.clock.advance(Millis::new(1));
    let second = desk.svids(&clerk).await.svid().await.unwrap();
    assert_ne!(second.x509_svid, first.x509_svid);
    assert_ne!(second.x509_svid_key, first.x509_svid_key);
    assert_eq!(second.spiffe_id, first.spiffe_id);
    assert_eq!(desk.certified(), 2);
    // Good for longer than the one before, and no longer than the task.
    let keys = desk.doors.control().keys_in_force();
    let until = |svid: &X509Svid| {
        let chain = [CertificateDer::from(svid.x509_svid.clone())];
        let caller = identify_instance(&chain, keys.bundle(), desk.now()).unwrap();
        caller.expires_at()
    };
    assert!(until(&second) >= until(&first));
    assert!(until(&second) <= task.expires_at);
    // A stream that was open says it as soon as it looks.
    desk.rotate(|keys| keys.prepare(pair(20), desk.now()).unwrap());
    assert_eq!(open.svid().await.unwrap().x509_svid, second.x509_svid);
    assert_eq!(desk.certified(), 2);
}

#[tokio::test]
async fn a_planned_rotation_ends_no_svid_and_every_stream_hears_of_it() {
    let desk = Desk::open();
    desk.expect().await;
    let clerk = process(CLERK, 7);
    desk.rotate(|keys| keys.prepare(pair(20), desk.now()).unwrap());
    desk.world.clock.advance(PREPARED_TTL_MIN);
    let mut svids = desk.svids(&clerk).await;
    let first = svids.svid().await.unwrap();
    let call = |name| desk.call(Some(&clerk), name, JwtBundlesRequest {});
    let mut jwt = call("FetchJWTBundles").await;
    let domain = "spiffe://example.org";
    let kids = jwt.next::<JwtBundlesResponse>().await.unwrap().bundles[domain].clone();
    let fetch = || {
        let ask = JwtSvidRequest {
            audience: vec!["reports".to_owned()],
            spiffe_id: String::new(),
        };
        desk.call(Some(&clerk), "FetchJWTSVID", ask)
    };
    let old = fetch().await.next::<JwtSvidResponse>().await.unwrap();
    let old = old.svids[0].svid.clone();

    desk.rotate(|keys| keys.activate(desk.now()).unwrap());
    // The same SVID and the same roots: what changed is who signs. The stream may say so again, and nothing else.
    let said = svids.svid().await.unwrap();
    assert_eq!(said.x509_svid, first.x509_svid);
    let roots: std::collections::BTreeSet<u8> = first.bundle.iter().copied().collect();
    let now: std::collections::BTreeSet<u8> = said.bundle.iter().copied().collect();
    assert_eq!((roots, first.bundle.len()), (now, said.bundle.len()));
    let again = jwt.next::<JwtBundlesResponse>().await.unwrap().bundles[domain].clone();
    assert_eq!(again.len(), kids.len(), "both keys, in whatever order");
    assert!(desk.takes(&clerk, &old).await);
    let new = fetch().await.next::<JwtSvidResponse>().await.unwrap();
    let new = new.svids[0].svid.clone();
    assert!(desk.takes(&clerk, &new).await);
    let head = |svid: &str| svid.split('.').next().unwrap().to_owned();
    assert_ne!(head(&old), head(&new), "another key signs");

    // A compromise ends both.
    desk.rotate(|keys| keys.replace(pair(40), desk.now()).unwrap());
    assert!(!desk.takes(&clerk, &old).await);
    assert!(!desk.takes(&clerk, &new).await);
}
