//! The SPIFFE client for Python judges the Workload API: registered by its path, it is the instance of one task, and is given
//! the bundles of the foreign trust domains that its agent names.

use std::{fs, path::Path, process::Command, time::UNIX_EPOCH};

use ambit_core::Timestamp;
use ambit_identity::{IssuingKeys, PairChance, token::jwt_svid::JwtSvidIssuance};

use super::world::{JUDGE, World, judge, succeed, tool};

/// Returns the bundle of a foreign trust domain, and a JWT-SVID of it for `audience`.
fn partner(audience: &str) -> (String, String) {
    let millis = UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = Timestamp::from_millis(u64::try_from(millis).unwrap());
    let chance = PairChance {
        x509: [40; 32],
        jwt: [41; 32],
    };
    let keys = IssuingKeys::create("partner.example".parse().unwrap(), chance, now).unwrap();
    let ask = JwtSvidIssuance {
        spiffe_id: &"spiffe://partner.example/ns/books".parse().unwrap(),
        audiences: &[audience.to_owned()],
        token_id: "t-1",
        now,
        expires_at: Timestamp::from_millis(now.as_millis() + 300_000),
    };
    let token = keys.issue_jwt(&ask).unwrap();
    (keys.bundle().to_document(), token)
}

#[test]
fn the_python_client_gets_what_it_is_due() {
    let world = World::start(&[], "");
    let python = fs::read_to_string(tool("python")).unwrap();
    // The wrapper runs the environment's Python, which is a link to the machine's.
    let mut words = python.split_whitespace().map(|it| it.trim_matches('\''));
    let program = Path::new(words.find(|it| it.ends_with("/python")).unwrap());
    let program = program.canonicalize().unwrap();
    let agent = world.path("estate/agents/judge.toml");
    let registered = format!("\n[[workload]]\npath = \"{}\"\n", program.display());
    let federates = "federates_with = [\"partner\"]\n".to_owned();
    let text = federates + &fs::read_to_string(&agent).unwrap() + &registered;
    fs::write(&agent, text).unwrap();
    let (bundle, token) = partner("reports");
    fs::create_dir(world.path("estate/trust")).unwrap();
    let trust = format!("trust_domain = \"partner.example\"\nbundle = '{bundle}'\n");
    fs::write(world.path("estate/trust/partner.toml"), trust).unwrap();
    let template = world.path("estate/templates/judge.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
    world.done(&["apply", "../estate"]);
    let mut client = Command::new(tool("python"));
    client
        .arg(judge("workload").join("spiffe_client.py"))
        .args(["reports", "partner.example", &token]);
    let socket = format!("unix://{}", world.path("state/workload.sock").display());
    client.env("SPIFFE_ENDPOINT_SOCKET", socket);
    let early = client.output().unwrap();
    assert!(!early.status.success(), "no task waits: {early:?}");
    world.done(&["task", "start", JUDGE, "--for", JUDGE, "--attested"]);
    let name = succeed(&client.output().unwrap(), &["spiffe_client.py"]);
    assert!(name.contains("/agent/judge/inst_"), "{name}");
    // Its process is gone, and with it the task.
    assert!(!client.output().unwrap().status.success());
}
