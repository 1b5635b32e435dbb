//! Strangers at the public port: others' libraries read the log there, with HTTP clients of others, and learn no more.

use std::{fs, process::Command};

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{TileHashReader, TileReader};

use crate::{
    log::{Export, act},
    world::{Upstream, World, succeed, tool},
};

#[test]
fn strangers_verify_the_log_over_the_public_port() {
    let world = World::start(
        &[Upstream::stdio("everything", &["stdio"], "")],
        "[tools.everything.echo]\n",
    );
    act(&world, 10);
    let early = Export::of(&world, "early");
    act(&world, 130);
    let key = fs::read_to_string(early.0.join("log.vkey")).unwrap();
    let go = |more: &[&str]| {
        let mut command = Command::new(tool("verify-log"));
        command.args(["-url", &format!("{}/log", world.public())]);
        command
            .arg("-roots")
            .arg(world.path("state/keys/authority.pem"));
        command.arg("-key").arg(key.trim()).args(more);
        command.output().unwrap()
    };
    let told = succeed(&go(&["-hashes"]), &["hashes alone"]);
    assert!(told.starts_with("OK "), "{told}");
    let before = early.0.join("checkpoint");
    let goes_on = ["-hashes", "-old", before.to_str().unwrap()];
    succeed(&go(&goes_on), &["it goes on from the early one"]);
    let refused = String::from_utf8(go(&[]).stdout).unwrap();
    assert!(
        refused.contains("403"),
        "records are for auditors: {refused}"
    );
    let whole = Export::of(&world, "whole");
    prove_with_rust(&Stranger(&world), key.trim(), &whole);
}

#[test]
fn a_link_of_a_refusal_opens_a_page() {
    let world = World::start(
        &[Upstream::stdio("everything", &["stdio"], "")],
        "[tools.everything.echo]\n",
    );
    let python = tool("python");
    let output = world.run(
        "exec \"$1\" -c \"$2\"",
        &[python.to_str().unwrap(), REFUSED],
    );
    let told = succeed(&{ output }.output().unwrap(), &["a refused call"]);
    let mut links = told
        .split_whitespace()
        .filter(|it| it.starts_with(world.public()));
    let (said, structured) = (links.next().unwrap(), links.next().unwrap());
    assert_eq!(said, structured, "{told}");
    let page = Stranger(&world).get(said.strip_prefix(world.public()).unwrap());
    let page = String::from_utf8(page).unwrap();
    let decision = said.rsplit_once('/').unwrap().1;
    assert!(
        page.contains(&format!("ambit log why {decision}")),
        "{page}"
    );
    world.done(&["log", "why", decision]);
}

/// Calls what the task does not name, and prints the link that each form of the refusal has.
const REFUSED: &str = "
import asyncio, mcp, os
async def main():
    url = os.environ['AMBIT_MCP_URL'].removesuffix('/mcp') + '/s/everything/mcp'
    async with mcp.Client(url) as client:
        result = await client.call_tool('get-env', {})
        text = result.content[0].text
        print(text.split('For people: ')[1])
        meta = getattr(result, 'structuredContent', None) or result.structured_content
        print(meta['link'])
asyncio.run(main())
";

/// Somebody with `curl` and nothing else.
struct Stranger<'a>(&'a World);

impl Stranger<'_> {
    fn get(&self, path: &str) -> Vec<u8> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]);
        curl.arg(self.0.path("state/keys/authority.pem"));
        let output = curl
            .arg(format!("{}{path}", self.0.public()))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{path}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl TileReader for Stranger<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let path = |it: &tlog_tiles::Tile| it.path().replacen("tile/8/", "tile/", 1);
        Ok(tiles
            .iter()
            .map(|it| self.get(&format!("/log/{}", path(it))))
            .collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Opens the checkpoint with `signed_note`, and proves with `tlog_tiles` that each record somebody has is in the log.
fn prove_with_rust(stranger: &Stranger<'_>, key: &str, records: &Export) {
    let note = Note::from_bytes(&stranger.get("/log/checkpoint")).unwrap();
    let keys = VerifierList::new(vec![Box::new(StandardVerifier::new(key).unwrap())]);
    let (verified, _) = note.verify(&keys).unwrap();
    assert_eq!(verified.len(), 1);
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    assert!(size > 256, "the log fills a tile");
    let reader = TileHashReader::new(size, root, stranger);
    let bundle = fs::read(records.0.join("tile/entries/000")).unwrap();
    let mut rest = bundle.as_slice();
    for index in 0..3 {
        let (length, after) = rest.split_first_chunk::<2>().unwrap();
        let (leaf, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        rest = after;
        let proof = tlog_tiles::prove_record(size, index, &reader).unwrap();
        let hash = tlog_tiles::record_hash(leaf);
        tlog_tiles::check_record(&proof, size, root, index, hash).unwrap();
    }
}
