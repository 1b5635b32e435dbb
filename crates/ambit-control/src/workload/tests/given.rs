//! The bundles of foreign trust domains over the Workload API: for whom the estate names them, and for nobody else.

use ambit_core::{
    TrustDomain,
    estate::{BundleSource, Estate, Federation},
};
use ambit_identity::{
    BelievedBundle, FederatedBundles, TrustBundle, token::jwt_svid::JwtSvidIssuance,
};

use super::*;

const PARTNER: &str = "spiffe://partner.example";

fn partner(seed: u8, now: Timestamp) -> IssuingKeys {
    IssuingKeys::create("partner.example".parse().unwrap(), pair(seed), now).unwrap()
}

fn federation() -> Federation {
    Federation {
        name: "partner".parse().unwrap(),
        trust_domain: "partner.example".parse().unwrap(),
        source: BundleSource::Web {
            url: "https://partner.example/bundle".to_owned(),
        },
    }
}

impl Desk {
    fn believe(&self, bundles: &[&TrustBundle]) {
        let believed = bundles.iter().map(|it| BelievedBundle {
            federation: Arc::new(federation()),
            bundle: Arc::new((*it).clone()),
            keys_left_at: None,
        });
        let own: TrustDomain = "example.org".parse().unwrap();
        let believed = FederatedBundles::new(&own, believed).unwrap();
        let in_force = &self.doors.control().federation.in_force;
        in_force.send_replace(Arc::new(believed));
    }

    /// Puts the estate as `change` makes it in force.
    async fn apply(&self, change: impl FnOnce(&mut Estate)) {
        let book = self.world.handle.book().unwrap();
        let mut estate = Estate::clone(book.estate());
        change(&mut estate);
        estate.digest = Digest::of(&self.world.clock.chance());
        let book = ambit_testkit::compile(estate);
        // Signed in: an agent that runs uncontained could be the local user.
        let ana = self
            .world
            .signed_in("ana", ambit_identity::Carrier::Browser);
        let moment = self.world.clock.moment();
        let applied = self.world.handle.apply(&ana, book, Vec::new(), moment);
        applied.await.unwrap();
    }

    async fn federate(&self, with: &[&str]) {
        self.apply(|estate| {
            estate.federations = [(federation().name, federation())].into();
            for agent in estate.agents.values_mut() {
                agent.federates_with = with.iter().map(|it| it.parse().unwrap()).collect();
            }
        })
        .await;
    }
}

/// The three streams that carry bundles, each with the DER or the document that it says of the partner.
struct Streams {
    svids: Answer,
    x509: Answer,
    jwt: Answer,
}

type Said = Option<Vec<u8>>;

impl Streams {
    async fn open(desk: &Desk, made: &Made) -> Self {
        Self {
            svids: desk.svids(made).await,
            x509: desk
                .call(Some(made), "FetchX509Bundles", X509BundlesRequest {})
                .await,
            jwt: desk
                .call(Some(made), "FetchJWTBundles", JwtBundlesRequest {})
                .await,
        }
    }

    async fn next(&mut self) -> (Said, Said, Said) {
        let svids = self.svids.next::<X509SvidResponse>().await.unwrap();
        let x509 = self.x509.next::<X509BundlesResponse>().await.unwrap();
        let jwt = self.jwt.next::<JwtBundlesResponse>().await.unwrap();
        // The own one is never among the foreign ones, and always among all.
        let own = "spiffe://example.org";
        assert!(!svids.federated_bundles.contains_key(own));
        assert!(x509.bundles.contains_key(own) && jwt.bundles.contains_key(own));
        let of = |mut all: BTreeMap<String, Vec<u8>>| all.remove(PARTNER);
        (
            of(svids.federated_bundles),
            of(x509.bundles),
            of(jwt.bundles),
        )
    }
}

fn expected(keys: &IssuingKeys) -> (Said, Said, Said) {
    let root = Some(keys.bundle().roots()[0].to_vec());
    let jwt = Some(keys.bundle().jwt_document().into_bytes());
    (root.clone(), root, jwt)
}

const NOTHING: (Said, Said, Said) = (None, None, None);

#[tokio::test]
async fn a_process_is_given_the_foreign_bundles_that_its_agent_names() {
    let desk = Desk::open();
    desk.expect().await;
    let (clerk, first) = (process(CLERK, 7), partner(40, desk.now()));
    desk.believe(&[first.bundle()]);
    let mut streams = Streams::open(&desk, &clerk).await;
    // That the estate believes a domain gives nobody its bundle.
    assert_eq!(streams.next().await, NOTHING);
    desk.federate(&[]).await;
    desk.federate(&["partner"]).await;
    assert_eq!(streams.next().await, expected(&first));
    // Rotated, gone, and back: each is said at once.
    let second = partner(50, desk.now());
    desk.believe(&[second.bundle()]);
    assert_eq!(streams.next().await, expected(&second));
    desk.believe(&[]);
    assert_eq!(streams.next().await, NOTHING);
    desk.believe(&[first.bundle()]);
    assert_eq!(streams.next().await, expected(&first));
    // One without keys vouches for nobody: it is told as one that is not there.
    let domain = "partner.example".parse().unwrap();
    let read = TrustBundle::from_document(domain, b"{\"keys\":[],\"spiffe_sequence\":9}");
    desk.believe(&[&read.unwrap().bundle]);
    assert_eq!(streams.next().await, NOTHING);
    desk.believe(&[first.bundle()]);
    assert_eq!(streams.next().await, expected(&first));
    // The agent names it no more.
    desk.federate(&[]).await;
    assert_eq!(streams.next().await, NOTHING);
}

#[tokio::test]
async fn what_concerns_nobody_is_not_said() {
    let desk = Desk::open();
    desk.expect().await;
    let clerk = process(CLERK, 7);
    let mut streams = Streams::open(&desk, &clerk).await;
    assert_eq!(streams.next().await, NOTHING);
    for seed in [40, 50] {
        desk.believe(&[partner(seed, desk.now()).bundle()]);
        desk.federate(&[]).await;
    }
    // The next that is said is the next that concerns it: the own keys.
    desk.rotate(|keys| keys.prepare(pair(20), desk.now()).unwrap());
    assert_eq!(streams.next().await, NOTHING);
    let sequence = desk.doors.control().keys_in_force().bundle().sequence();
    assert_eq!(sequence, 2);
}

/// A process that the estate registers no more has no identity from that moment on, and no bundles.
#[tokio::test]
async fn nhi01_streams_end_when_their_process_is_registered_no_more() {
    let desk = Desk::open();
    desk.expect().await;
    let clerk = process(CLERK, 7);
    let mut streams = Streams::open(&desk, &clerk).await;
    assert_eq!(streams.next().await, NOTHING);
    desk.apply(|estate| {
        for agent in estate.agents.values_mut() {
            agent.workloads.clear();
        }
    })
    .await;
    // The task went with the registration: whichever its stream hears of first.
    streams.svids.refused(Code::PermissionDenied, "").await;
    for stream in [&mut streams.x509, &mut streams.jwt] {
        let refused = "no agent is registered";
        stream.refused(Code::PermissionDenied, refused).await;
    }
}

#[tokio::test]
async fn a_foreign_jwt_svid_is_validated_for_whom_its_bundle_is_given() {
    let desk = Desk::open();
    let (clerk, keys) = (process(CLERK, 7), partner(40, desk.now()));
    desk.believe(&[keys.bundle()]);
    let signed = |keys: &IssuingKeys, audience: &str| {
        let ask = JwtSvidIssuance {
            spiffe_id: &format!("{PARTNER}/ns/books").parse().unwrap(),
            audiences: &[audience.to_owned()],
            token_id: "t-1",
            now: desk.now(),
            expires_at: desk.now().plus(Millis::from_seconds(300)),
        };
        keys.issue_jwt(&ask).unwrap()
    };
    let validate = async |svid: String| {
        let ask = ValidateJwtSvidRequest {
            audience: "reports".to_owned(),
            svid,
        };
        let mut answer = desk.call(Some(&clerk), "ValidateJWTSVID", ask).await;
        answer.next::<ValidateJwtSvidResponse>().await
    };
    let refused = async |svid: String, part: &str| {
        let status = validate(svid).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(part), "{status:?}");
    };
    let good = signed(&keys, "reports");
    refused(good.clone(), "is not given").await;
    desk.federate(&["partner"]).await;
    let found = validate(good.clone()).await.unwrap();
    assert_eq!(found.spiffe_id, format!("{PARTNER}/ns/books"));
    assert!(found.claims.unwrap().fields.contains_key("exp"));
    refused(signed(&keys, "other"), "audience").await;
    // A clock that was ahead for a moment: the partner's dates are held against the one that is right now.
    desk.world
        .clock
        .step_forward_and_back(Millis::from_seconds(3600));
    assert!(validate(good.clone()).await.is_ok());
    let ahead = signed(&keys, "reports");
    refused(ahead, "is valid from").await;
    refused(signed(&partner(50, desk.now()), "reports"), "is refused").await;
    desk.believe(&[]);
    refused(good.clone(), "is not given").await;
    desk.believe(&[partner(50, desk.now()).bundle()]);
    refused(good, "is refused").await;
}
