//! The Workload API at its own service: requests in gRPC's framing, processes that the test makes up.

use std::{sync::Mutex, time::Duration};

use ambit_core::{Millis, Timestamp, estate::Workload, record::Body as Fact};
use ambit_identity::{IssuingKeys, PairChance, identify_instance};
use ambit_testkit::{World, office};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use prost::Message;
use rustls_pki_types::CertificateDer;
use tonic::{Code, Status, body::Body};
use tower::ServiceExt;

use super::{messages::*, serving::PACE, *};
use crate::{
    api::{Control, Doors, Published},
    heard::Heard,
    people::SignIns,
};

mod connection;
mod estates;
mod floods;
mod given;
mod gone;
mod jwt_svids;
mod renewed;

const CLERK: u32 = 2001;
const STRANGER: u32 = 4711;

/// An office whose clerk is any process of user 2001.
struct Desk {
    doors: Doors,
    world: World,
    _sequencer: std::thread::JoinHandle<()>,
}

/// What is seen of a process, and whether it has ended.
#[derive(Clone)]
struct Made {
    seen: Arc<Mutex<Result<ProcessAttributes, String>>>,
    ended: tokio::sync::watch::Sender<bool>,
    peer: Peer,
}

impl Desk {
    fn open() -> Self {
        let mut world = World::new(manned(), 1);
        let sequencer = world.take_sequencer();
        let sequencer = std::thread::spawn(move || sequencer.run());
        let keys = IssuingKeys::create("example.org".parse().unwrap(), pair(7), world.clock.now());
        let control = Control {
            gateway_url: None,
            federation: crate::federation::FederationParts::offline(),
            strangers_refused: Arc::default(),
            measure_storage: Arc::new(crate::api::Storage::default),
            handle: world.handle.clone(),
            clock: world.clock.to_clock(),
            keep_keys: Arc::new(|_| Ok(())),
            keys: Arc::new(tokio::sync::watch::Sender::new(Arc::new(keys.unwrap()))),
            gateway: "https://127.0.0.1:1".to_owned(),
            seal_credential: Arc::new(|_, _, _| Err("not here".to_owned())),
            list_tools: Arc::new(|_| Box::pin(async { Err("not here".to_owned().into()) })),
            sign_ins: SignIns::Nowhere,
            fetch: Arc::new(|_| Box::pin(async { Err("not here".to_owned()) })),
            published: Published::Nothing,
            issuer: Some("https://ambit.example.org".to_owned()),
            fetch_document: Arc::new(|_, _| Box::pin(async { Err("not here".to_owned()) })),
        };
        Self {
            doors: Doors::new(control),
            world,
            _sequencer: sequencer,
        }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Starts a task of the clerk that waits for a process.
    async fn expect(&self) -> Arc<ambit_core::task::Task> {
        let parameters = [
            ("ticket", ambit_core::json::Value::from("T-1")),
            ("customer", "kim@example.org".into()),
        ];
        let ask = ambit_engine::StartTask {
            template: "answer".parse().unwrap(),
            agent: "clerk".parse().unwrap(),
            parameters: parameters.map(|(name, it)| (name.to_owned(), it)).into(),
            contained: ambit_core::task::Contained::None,
        };
        let (ana, moment) = (self.world.person("ana"), self.world.clock.moment());
        let started = self
            .world
            .handle
            .start_waiting_task(&ana, ask, ambit_engine::Waits::ForAgent, moment)
            .await
            .unwrap();
        started.task
    }

    async fn end(&self, task: &ambit_core::task::Task) {
        self.world.handle.end_unserved(task.id).await.unwrap();
    }

    /// Makes a call and returns its answer as it begins.
    async fn call<T: Message>(&self, made: Option<&Made>, name: &str, ask: T) -> Answer {
        let mut request = framed(name, &ask);
        request
            .headers_mut()
            .insert("workload.spiffe.io", "true".parse().unwrap());
        if let Some(made) = made {
            request.extensions_mut().insert(Arc::new(made.peer.clone()));
        }
        self.send(request).await
    }

    async fn send(&self, request: http::Request<Body>) -> Answer {
        let response = api::WorkloadApi::new(self.doors.clone(), PACE.request_within)
            .oneshot(request)
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: Status::from_header_map(&head.headers),
            body: body.boxed_unsync(),
        }
    }

    async fn svids(&self, made: &Made) -> Answer {
        self.call(Some(made), "FetchX509SVID", X509SvidRequest {})
            .await
    }

    fn rotate(&self, step: impl FnOnce(&IssuingKeys) -> IssuingKeys) {
        let next = step(&self.doors.control().keys_in_force());
        self.doors.control().keys.send_replace(Arc::new(next));
    }
}

fn manned() -> ambit_core::estate::Estate {
    let mut estate = office(&[]);
    let clerk = estate.agents.values_mut().next().unwrap();
    clerk.workloads = vec![Workload {
        uid: Some(CLERK),
        ..Workload::default()
    }];
    let ana = estate.people.get_mut("ana").unwrap();
    ana.oidc = Some(ambit_core::estate::OidcSubject {
        issuer: "https://provider.example".to_owned(),
        subject: "ana".to_owned(),
    });
    let template = estate.templates.values_mut().next().unwrap();
    template.containment = ambit_core::estate::Containment::Optional;
    estate
}

/// A gRPC answer, message by message.
struct Answer {
    status: Option<Status>,
    body: UnsyncBoxBody<bytes::Bytes, Status>,
}

impl Answer {
    /// Returns the next message, or the status with which the answer ends.
    async fn next<T: Message + Default>(&mut self) -> Result<T, Status> {
        if let Some(status) = self.status.take() {
            return Err(status);
        }
        let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame());
        match frame.await.expect("something is said").expect("a frame") {
            Ok(frame) if frame.is_data() => {
                let data = frame.into_data().unwrap();
                Ok(T::decode(&data[5..]).unwrap())
            }
            Ok(frame) => Err(Status::from_header_map(frame.trailers_ref().unwrap()).unwrap()),
            Err(status) => Err(status),
        }
    }

    async fn svid(&mut self) -> Result<X509Svid, Status> {
        let response = self.next::<X509SvidResponse>().await?;
        assert_eq!(response.svids.len(), 1);
        Ok(response.svids.into_iter().next().unwrap())
    }

    async fn refused(&mut self, code: Code, part: &str) {
        let status = self.next::<X509SvidResponse>().await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(
            status.message().contains(part),
            "`{part}` not in {status:?}"
        );
    }
}

fn framed<T: Message>(name: &str, ask: &T) -> http::Request<Body> {
    let ask = ask.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(ask.len()).unwrap().to_be_bytes());
    bytes.extend(ask);
    http::Request::builder()
        .method("POST")
        .uri(format!("/SpiffeWorkloadAPI/{name}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::from(bytes)))
        .unwrap()
}

fn pair(seed: u8) -> PairChance {
    PairChance {
        x509: [seed; 32],
        jwt: [seed + 1; 32],
    }
}

/// Makes up the process `pid` of user `uid`.
fn process(uid: u32, pid: u32) -> Made {
    let seen = Arc::new(Mutex::new(Ok(ProcessAttributes {
        uid,
        gid: uid,
        pid,
        path: Some("/usr/bin/agent".to_owned()),
        sha256: None,
        unit: None,
    })));
    let ended = tokio::sync::watch::Sender::new(false);
    let (looked_at, watched) = (seen.clone(), ended.clone());
    let peer = Peer {
        credentials: PeerCredentials {
            uid,
            gid: uid,
            pid: Some(pid),
        },
        process: ProcessKey {
            boot: Digest::of(b"boot"),
            pid,
            began: 1,
        },
        look: Arc::new(move |_| {
            let seen = looked_at.lock().unwrap().clone();
            Box::pin(async move { seen })
        }),
        ended: Arc::new(move || {
            let mut watched = watched.subscribe();
            Box::pin(async move {
                let _ = watched.wait_for(|it| *it).await;
            })
        }),
    };
    Made { seen, ended, peer }
}

#[tokio::test]
async fn a_call_without_the_header_or_the_process_is_refused() {
    let desk = Desk::open();
    let clerk = process(CLERK, 7);
    for call in [
        "FetchX509SVID",
        "FetchX509Bundles",
        "FetchJWTSVID",
        "FetchJWTBundles",
        "ValidateJWTSVID",
    ] {
        for header in [None, Some("false"), Some("TRUE")] {
            let mut request = framed(call, &X509SvidRequest {});
            if let Some(header) = header {
                request
                    .headers_mut()
                    .insert("workload.spiffe.io", header.parse().unwrap());
            }
            request
                .extensions_mut()
                .insert(Arc::new(clerk.peer.clone()));
            desk.send(request)
                .await
                .refused(Code::InvalidArgument, "workload.spiffe.io")
                .await;
        }
        let mut nobody = desk.call(None, call, X509SvidRequest {}).await;
        nobody.refused(Code::Unavailable, "connect again").await;
    }
    for call in ["FetchWITSVID", "FetchWITBundles", "Nothing"] {
        let mut answer = desk.call(Some(&clerk), call, X509SvidRequest {}).await;
        answer.refused(Code::Unimplemented, "no such call").await;
    }
}

#[tokio::test]
async fn who_is_not_registered_hears_only_of_itself() {
    let desk = Desk::open();
    let stranger = process(STRANGER, 8);
    let heard = Heard::begin();
    let mut answer = desk.svids(&stranger).await;
    let status = answer.next::<X509SvidResponse>().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("uid 4711") && status.message().contains("/usr/bin/agent"));
    assert!(!status.message().contains("clerk"), "{status:?}");
    let log = heard.take();
    let nearest = "nearest is agent `clerk`: uid should be 2001 and is 4711";
    assert!(log.contains(nearest) && log.contains("pid 8"), "{log}");
    *stranger.seen.lock().unwrap() = Err("it has ended".to_owned());
    desk.svids(&stranger)
        .await
        .refused(Code::PermissionDenied, "must live")
        .await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_not_looked_at() {
    let desk = Desk::open();
    let stranger = process(STRANGER, 8);
    for _ in 0..REFUSALS_PER_USER_MAX {
        desk.svids(&stranger)
            .await
            .refused(Code::PermissionDenied, "no agent")
            .await;
    }
    desk.svids(&stranger)
        .await
        .refused(Code::Unavailable, "too often")
        .await;
    // Another user is none the worse, and the next second is a new one.
    desk.svids(&process(CLERK, 9))
        .await
        .refused(Code::PermissionDenied, "no task waits")
        .await;
    desk.world.clock.advance(Millis::from_seconds(1));
    desk.svids(&stranger)
        .await
        .refused(Code::PermissionDenied, "no agent")
        .await;
}

#[tokio::test]
async fn a_process_is_one_instance_for_as_long_as_its_task_lives() {
    let desk = Desk::open();
    let clerk = process(CLERK, 7);
    desk.svids(&clerk)
        .await
        .refused(
            Code::PermissionDenied,
            "ambit task start TEMPLATE --for clerk --attested",
        )
        .await;
    let task = desk.expect().await;
    let mut answer = desk.svids(&clerk).await;
    let svid = answer.svid().await.unwrap();
    assert_eq!(svid.spiffe_id, task.spiffe_id.to_string());
    let keys = desk.doors.control().keys_in_force();
    let chain = [CertificateDer::from(svid.x509_svid.clone())];
    let caller = identify_instance(&chain, keys.bundle(), desk.now()).unwrap();
    assert_eq!(caller.instance(), task.instance);
    assert!(caller.expires_at().since(desk.now()) <= SVID_TTL);
    let key = ambit_identity::SvidKey::from_pkcs8(&svid.x509_svid_key).unwrap();
    assert!(
        chain[0]
            .windows(65)
            .any(|it| key.public_key_der().ends_with(it))
    );
    assert_eq!(svid.bundle, keys.bundle().roots()[0].to_vec());
    // On record before it left; the same process gets the same SVID, another process none.
    let certified =
        |it: &&ambit_core::record::Record| matches!(it.body, Fact::InstanceCertified { .. });
    assert_eq!(desk.world.records().iter().filter(certified).count(), 1);
    assert_eq!(desk.svids(&clerk).await.svid().await.unwrap(), svid);
    desk.svids(&process(CLERK, 8))
        .await
        .refused(Code::PermissionDenied, "no task waits")
        .await;
    desk.end(&task).await;
    answer.refused(Code::PermissionDenied, "has ended").await;
    desk.svids(&clerk)
        .await
        .refused(Code::PermissionDenied, "no task waits")
        .await;
}

#[tokio::test]
async fn tasks_wait_in_line_and_those_that_ended_are_passed_over() {
    let desk = Desk::open();
    let (first, second) = (desk.expect().await, desk.expect().await);
    desk.end(&first).await;
    let svid = desk.svids(&process(CLERK, 7)).await.svid().await.unwrap();
    assert_eq!(svid.spiffe_id, second.spiffe_id.to_string());
}

#[tokio::test]
async fn the_task_ends_with_its_process() {
    let desk = Desk::open();
    let task = desk.expect().await;
    let clerk = process(CLERK, 7);
    let mut answer = desk.svids(&clerk).await;
    answer.svid().await.unwrap();
    clerk.ended.send_replace(true);
    answer.refused(Code::PermissionDenied, "has ended").await;
    // Streams hear of an end before it is durable; what comes after it in the log waits for it.
    let (ana, moment) = (desk.world.person("ana"), desk.world.clock.moment());
    let (by, end) = (
        ambit_engine::Ender::Person(&ana),
        ambit_core::task::End::Cancelled,
    );
    let again = desk.world.handle.end_task(by, task.id, end, moment);
    again.await.unwrap_err();
    let ended = |it: &ambit_core::record::Record| matches!(it.body, Fact::TaskEnded { task: id, .. } if id == task.id);
    assert!(desk.world.records().iter().any(ended));
}

#[tokio::test]
async fn another_program_in_the_same_process_is_not_the_instance() {
    let desk = Desk::open();
    desk.expect().await;
    let clerk = process(CLERK, 7);
    desk.svids(&clerk).await.svid().await.unwrap();
    clerk.seen.lock().unwrap().as_mut().unwrap().uid = STRANGER;
    desk.svids(&clerk)
        .await
        .refused(Code::PermissionDenied, "no agent is registered")
        .await;
}

#[tokio::test]
async fn streams_say_at_once_what_changed() {
    let desk = Desk::open();
    desk.expect().await;
    let clerk = process(CLERK, 7);
    let mut svids = desk.svids(&clerk).await;
    let first = svids.svid().await.unwrap();
    let mut bundles = desk
        .call(Some(&clerk), "FetchX509Bundles", X509BundlesRequest {})
        .await;
    let mut jwt = desk
        .call(Some(&clerk), "FetchJWTBundles", JwtBundlesRequest {})
        .await;
    let domain = "spiffe://example.org";
    let roots = bundles.next::<X509BundlesResponse>().await.unwrap().bundles[domain].clone();
    let kids = jwt.next::<JwtBundlesResponse>().await.unwrap().bundles[domain].clone();
    // A prepared key: the same SVID, a larger bundle.
    desk.rotate(|keys| keys.prepare(pair(20), desk.now()).unwrap());
    let second = svids.svid().await.unwrap();
    assert_eq!(second.x509_svid, first.x509_svid);
    assert!(second.bundle.len() > first.bundle.len());
    assert_eq!(
        bundles.next::<X509BundlesResponse>().await.unwrap().bundles[domain],
        second.bundle
    );
    assert_ne!(
        jwt.next::<JwtBundlesResponse>().await.unwrap().bundles[domain],
        kids
    );
    // A compromise: another SVID, and nothing of the old keys.
    desk.rotate(|keys| keys.replace(pair(30), desk.now()).unwrap());
    let third = svids.svid().await.unwrap();
    assert_ne!(third.x509_svid, first.x509_svid);
    let left = bundles.next::<X509BundlesResponse>().await.unwrap().bundles[domain].clone();
    assert!(left == third.bundle && left != roots);
    let keys = desk.doors.control().keys_in_force();
    identify_instance(
        &[CertificateDer::from(third.x509_svid)],
        keys.bundle(),
        desk.now(),
    )
    .unwrap();
}

/// What reflection tells is what the messages are: names and numbers of all fields.
#[test]
fn the_description_fits_the_messages() {
    let files = descriptor::files();
    let api = files
        .file
        .iter()
        .find(|it| it.name() == "workload.proto")
        .unwrap();
    let numbers = |name: &str| -> Vec<i32> {
        let message = api
            .message_type
            .iter()
            .find(|it| it.name() == name)
            .unwrap();
        message.field.iter().map(|it| it.number()).collect()
    };
    assert_eq!(numbers("X509SVID"), [1, 2, 3, 4, 5]);
    assert_eq!(numbers("X509SVIDResponse"), [1, 2, 3]);
    let calls: Vec<_> = api.service[0].method.iter().map(|it| it.name()).collect();
    assert_eq!(calls.len(), 5);
    for method in &api.service[0].method {
        for name in [method.input_type(), method.output_type()] {
            assert!(
                api.message_type
                    .iter()
                    .any(|it| format!(".{}", it.name()) == name),
                "{name}"
            );
        }
    }
    let mut builder = tonic_reflection::server::Builder::configure();
    builder = builder.register_file_descriptor_set(files);
    builder.build_v1().unwrap();
}
