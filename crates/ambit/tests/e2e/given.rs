//! The Workload API over its socket, as its clients see it: the bundles of foreign trust domains that an agent is given, what
//! reflection tells, and what a flood of strangers hears while others are served.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ambit_core::{Digest, Timestamp};
use ambit_identity::{IssuingKeys, PairChance, token::jwt_svid::JwtSvidIssuance};
use bytes::Bytes;
use spiffe::{TrustDomain, WorkloadApiClient};
use tokio::{net::UnixStream, runtime::Runtime, time::timeout};
use tokio_stream::StreamExt;

use crate::{
    workload::{prepare, start},
    world::World,
};

/// How long may pass until what must be said is, on a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn partner(seed: u8) -> IssuingKeys {
    let chance = PairChance {
        x509: [seed; 32],
        jwt: [seed + 1; 32],
    };
    let began = Timestamp::from_millis(now_millis());
    IssuingKeys::create("partner.example".parse().unwrap(), chance, began).unwrap()
}

fn now_millis() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Writes what the estate believes of the partner.
fn believe(root: &Path, keys: &IssuingKeys) {
    let text = format!(
        "trust_domain = \"partner.example\"\nbundle = '{}'\n",
        keys.bundle().to_document()
    );
    fs::create_dir_all(root.join("estate/trust")).unwrap();
    fs::write(root.join("estate/trust/partner.toml"), text).unwrap();
}

fn federate(root: &Path) {
    let agent = root.join("estate/agents/reader.toml");
    let text = fs::read_to_string(&agent).unwrap();
    fs::write(&agent, format!("federates_with = [\"partner\"]\n{text}")).unwrap();
}

fn apply(world: &World) {
    let estate = world.directory.path().join("estate");
    let applied = world.ambit(&["apply", estate.to_str().unwrap()]);
    assert!(applied.status.success(), "{applied:?}");
}

fn socket(world: &World) -> String {
    format!("unix://{}", world.state().join("workload.sock").display())
}

#[test]
fn the_rust_client_is_given_the_foreign_bundles_of_its_agent() {
    let (first, second) = (partner(40), partner(50));
    let world = World::start_shared(None, |root| {
        prepare(root);
        believe(root, &first);
    });
    let root = world.directory.path().to_owned();
    Runtime::new().unwrap().block_on(async {
        let client = WorkloadApiClient::connect_to(&socket(&world))
            .await
            .unwrap();
        let domain: TrustDomain = "partner.example".parse().unwrap();
        let mut said = client.stream_x509_bundles().await.unwrap();
        let mut next = async || {
            let set = timeout(LONG, said.next()).await.unwrap().unwrap().unwrap();
            let bundle = set.get(&domain);
            let roots = bundle.map(|it| {
                it.authorities()
                    .iter()
                    .map(|it| it.as_bytes().to_vec())
                    .collect::<Vec<_>>()
            });
            roots.unwrap_or_default()
        };
        let roots = |keys: &IssuingKeys| -> Vec<Vec<u8>> {
            keys.bundle().roots().iter().map(|it| it.to_vec()).collect()
        };
        assert_eq!(next().await, Vec::<Vec<u8>>::new(), "nothing by default");
        let token = signed(&first);
        let unknown = client.validate_jwt_token("reports", &token).await;
        assert!(unknown.is_err());
        federate(&root);
        apply(&world);
        assert_eq!(next().await, roots(&first));
        let keys = client.fetch_jwt_bundles().await.unwrap();
        assert!(keys.get(&domain).is_some());
        let found = client.validate_jwt_token("reports", &token).await.unwrap();
        assert_eq!(
            found.spiffe_id().to_string(),
            "spiffe://partner.example/ns/books"
        );
        assert!(client.validate_jwt_token("others", &token).await.is_err());
        // Another bundle in the estate is pushed, and what the old one signed counts no more.
        believe(&root, &second);
        apply(&world);
        assert_eq!(next().await, roots(&second));
        assert!(client.validate_jwt_token("reports", &token).await.is_err());
        // It comes beside the SVID, too.
        start(&world);
        let context = client.fetch_x509_context().await.unwrap();
        let bundle = context.bundle_set().get(&domain).unwrap();
        let beside: Vec<_> = bundle
            .authorities()
            .iter()
            .map(|it| it.as_bytes().to_vec())
            .collect();
        assert_eq!(beside, roots(&second));
    });
}

fn signed(keys: &IssuingKeys) -> String {
    let now = Timestamp::from_millis(now_millis());
    let ask = JwtSvidIssuance {
        spiffe_id: &"spiffe://partner.example/ns/books".parse().unwrap(),
        audiences: &["reports".to_owned()],
        token_id: &Digest::of(b"token").to_string(),
        now,
        expires_at: Timestamp::from_millis(now_millis() + 300_000),
    };
    keys.issue_jwt(&ask).unwrap()
}

/// Makes one call of reflection and returns all that was answered.
async fn reflect(world: &World, service: &str, ask: &'static [u8]) -> Vec<u8> {
    let stream = UnixStream::connect(world.state().join("workload.sock"));
    let (mut sender, connection) = h2::client::handshake(stream.await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("http://localhost/{service}/ServerReflectionInfo"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    let length = u32::try_from(ask.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, ask].concat();
    body.send_data(Bytes::from(framed), true).unwrap();
    let mut answer = timeout(LONG, answer).await.unwrap().unwrap().into_body();
    let mut read = Vec::new();
    while let Some(data) = timeout(LONG, answer.data()).await.unwrap() {
        let data = data.unwrap();
        answer.flow_control().release_capacity(data.len()).unwrap();
        read.extend(data);
    }
    let trailers = answer.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
    read
}

#[test]
fn reflection_tells_clients_what_there_is() {
    let world = World::start_shared(None, prepare);
    let contains = |all: &[u8], part: &str| all.windows(part.len()).any(|it| it == part.as_bytes());
    Runtime::new().unwrap().block_on(async {
        for service in [
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ] {
            // `list_services`, and `file_containing_symbol` of the service.
            let listed = reflect(&world, service, b"\x3a\x00").await;
            assert!(contains(&listed, "SpiffeWorkloadAPI"), "{service}");
            let described = reflect(&world, service, b"\x22\x11SpiffeWorkloadAPI").await;
            for name in ["FetchX509SVID", "ValidateJWTSVID", "federated_bundles"] {
                assert!(contains(&described, name), "{service}: {name}");
            }
        }
    });
}

/// Processes of the same user that are nobody ask all at once. Each is refused in the right words, and soon not looked at;
/// what an instance has stays, and is pushed and taken back as ever.
#[test]
fn asi08_a_flood_of_strangers_takes_nothing_from_an_instance() {
    let world = World::start_shared(None, prepare);
    let message = world.directory.path().join("empty.grpc");
    fs::write(&message, [0; 5]).unwrap();
    Runtime::new().unwrap().block_on(async {
        let client = WorkloadApiClient::connect_to(&socket(&world))
            .await
            .unwrap();
        let task = start(&world);
        let mut stream = client.stream_x509_svids().await.unwrap();
        stream.next().await.unwrap().unwrap();
        let strangers = (0..60).map(|_| stranger(&world, &message, "FetchX509SVID", "true"));
        let strangers: Vec<_> = strangers.collect();
        assert!(world.ambit(&["task", "end", &task]).status.success());
        let over = timeout(LONG, stream.next()).await.unwrap().unwrap();
        assert!(over.is_err(), "{over:?}");
        let mut heard = [0, 0];
        for stranger in strangers {
            // PERMISSION_DENIED and UNAVAILABLE.
            match status(stranger).as_str() {
                "7" => heard[0] += 1,
                "14" => heard[1] += 1,
                other => panic!("{other}"),
            }
        }
        assert!(heard[0] >= 20 && heard[0] + heard[1] == 60, "{heard:?}");
    });
}

/// INVALID_ARGUMENT without the metadata that every call carries, UNIMPLEMENTED where there is no such call.
#[test]
fn strangers_hear_the_status_of_the_standard() {
    let world = World::start_shared(None, prepare);
    let message = world.directory.path().join("empty.grpc");
    fs::write(&message, [0; 5]).unwrap();
    for (call, header, expected) in [
        ("FetchX509SVID", "true", "7"),
        ("FetchX509Bundles", "true", "7"),
        ("FetchJWTBundles", "true", "7"),
        ("FetchX509SVID", "false", "3"),
        ("ValidateJWTSVID", "", "3"),
        ("FetchWITSVID", "true", "12"),
    ] {
        let heard = (
            call,
            header,
            status(stranger(&world, &message, call, header)),
        );
        assert_eq!(heard, (call, header, expected.to_owned()));
    }
}

fn status(stranger: std::process::Child) -> String {
    let said = stranger.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    let mut lines = said.lines();
    let status = lines.find_map(|it| it.strip_prefix("grpc-status: "));
    status.unwrap_or(&said).to_owned()
}

fn stranger(world: &World, message: &Path, call: &str, header: &str) -> std::process::Child {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "-m",
        "20",
        "--http2-prior-knowledge",
        "-D",
        "-",
        "-o",
        "/dev/null",
    ]);
    curl.arg("--unix-socket")
        .arg(world.state().join("workload.sock"));
    for header in [
        "content-type: application/grpc".to_owned(),
        "te: trailers".to_owned(),
        format!("workload.spiffe.io: {header}"),
    ] {
        curl.arg("-H").arg(header);
    }
    curl.arg("--data-binary")
        .arg(format!("@{}", message.display()));
    let url = format!("http://localhost/SpiffeWorkloadAPI/{call}");
    curl.arg(url).stdout(Stdio::piped()).stderr(Stdio::piped());
    curl.spawn().unwrap()
}
