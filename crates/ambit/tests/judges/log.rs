//! The log, checked by a library that Ambit's authors did not write, whole and tampered with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::world::{Upstream, World, succeed, tool};

/// A way to damage an exported log, and what `ambit log verify` must say of the place.
struct Damage {
    name: &'static str,
    apply: fn(&Export),
    place: Place,
}

/// What `ambit log verify` must say.
enum Place {
    Says(&'static str),
    /// It names the last record.
    Last,
}

/// The record at which the damage is done: in the first, full bundle of entries.
const VICTIM: usize = 100;

const DAMAGES: [Damage; 8] = [
    Damage {
        name: "edit",
        apply: |it| it.change(|entries| entries[VICTIM][9] ^= 1),
        place: Place::Says("record 100"),
    },
    Damage {
        name: "delete",
        apply: |it| it.change(|entries| drop(entries.remove(VICTIM))),
        place: Place::Says("record 100"),
    },
    Damage {
        name: "insert",
        apply: |it| it.change(|entries| entries.insert(VICTIM, entries[7].clone())),
        place: Place::Says("record 100"),
    },
    Damage {
        name: "reorder",
        apply: |it| it.change(|entries| entries.swap(VICTIM, VICTIM + 1)),
        place: Place::Says("record 100"),
    },
    Damage {
        name: "truncate",
        apply: |it| fs::remove_file(it.newest("tile/entries")).unwrap(),
        place: Place::Says("record 256"),
    },
    Damage {
        name: "cut short",
        apply: |it| {
            let path = it.newest("tile/entries");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, bytes.split_at(bytes.len() - 1).0).unwrap();
        },
        place: Place::Last,
    },
    Damage {
        name: "edit a hash",
        apply: |it| {
            let path = it.0.join("tile/0/000");
            let mut bytes = fs::read(&path).unwrap();
            bytes[32 * VICTIM] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        place: Place::Says(
            "hash tile 0 of level 0 is not the one that was written: record 100 itself",
        ),
    },
    Damage {
        name: "sign anew",
        apply: |it| {
            let path = it.0.join("checkpoint");
            let text = fs::read_to_string(&path).unwrap();
            let size = text.lines().nth(1).unwrap();
            let smaller = (size.parse::<u64>().unwrap() - 1).to_string();
            fs::write(path, text.replacen(size, &smaller, 1)).unwrap();
        },
        place: Place::Says("signature"),
    },
];

#[test]
fn go_s_library_and_ambit_agree_on_the_log() {
    let mut world = World::start(
        &[Upstream::stdio("everything", &["stdio"], "")],
        "[tools.everything.echo]\n",
    );
    act(&world, 130);
    let early = Export::of(&world, "early");
    act(&world, 3);
    let whole = Export::of(&world, "whole");
    for export in [&early, &whole] {
        assert_eq!(
            succeed(&export.go(None), &["verify-log"]).get(..3),
            Some("OK ")
        );
        assert!(succeed(&export.ambit(&world), &["verify"]).starts_with("OK "));
    }
    assert!(whole.0.join("tile/0/000").exists(), "the log fills a tile");
    succeed(&whole.go(Some(&early)), &["verify-log", "-old"]);
    for damage in &DAMAGES {
        let damaged = whole.copied(&world.path(damage.name));
        (damage.apply)(&damaged);
        refused(&damaged.go(None), 1, "FAILED", damage.name);
        let last = format!("record {} cannot be cut out", whole.size() - 1);
        let place = match damage.place {
            Place::Says(place) => place,
            Place::Last => &last,
        };
        refused(&damaged.ambit(&world), 7, place, damage.name);
    }
    fork(&mut world, &whole);
}

/// Two histories after one beginning, both signed with the log's own key.
fn fork(world: &mut World, before: &Export) {
    world.stop();
    copy(&world.path("state"), &world.path("state-before"));
    let one = branch(world, "one");
    fs::rename(world.path("state"), world.path("state-one")).unwrap();
    fs::rename(world.path("state-before"), world.path("state")).unwrap();
    let other = branch(world, "other");
    for export in [&one, &other] {
        succeed(
            &export.go(Some(before)),
            &["verify-log", "each goes on from the beginning"],
        );
        succeed(
            &export.ambit(world),
            &["verify", "each is whole for itself"],
        );
    }
    refused(
        &other.go(Some(&one)),
        1,
        "consistency",
        "fork, seen by who kept a checkpoint",
    );
    let mixed = other.copied(&world.path("mixed"));
    fs::copy(one.0.join("checkpoint"), mixed.0.join("checkpoint")).unwrap();
    refused(&mixed.go(None), 1, "FAILED", "fork");
    refused(&mixed.ambit(world), 7, "root", "fork");
}

/// Goes on from the state that is there, and returns the log.
fn branch(world: &mut World, name: &str) -> Export {
    world.start_again();
    act(world, 2);
    let export = Export::of(world, name);
    world.stop();
    export
}

fn refused(output: &Output, code: i32, place: &str, what: &str) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    assert!(text.contains(place), "{what}: no `{place}` in {text}");
}

/// Has an agent make `calls` calls, which make two records each.
pub(crate) fn act(world: &World, calls: u32) {
    let (python, calls) = (tool("python"), calls.to_string());
    let arguments = [python.to_str().unwrap(), CALLS, &calls];
    let output = world
        .run("exec \"$1\" -c \"$2\" \"$3\"", &arguments)
        .output()
        .unwrap();
    succeed(&output, &["calls"]);
}

const CALLS: &str = "
import asyncio, mcp, os, sys
async def main():
    url = os.environ['AMBIT_MCP_URL'].removesuffix('/mcp') + '/s/everything/mcp'
    async with mcp.Client(url) as client:
        for number in range(int(sys.argv[1])):
            await client.call_tool('echo', {'message': str(number)})
asyncio.run(main())
";

/// A log in files.
pub(crate) struct Export(pub(crate) PathBuf);

impl Export {
    pub(crate) fn of(world: &World, name: &str) -> Self {
        let path = world.path(name);
        world.done(&["log", "export", path.to_str().unwrap()]);
        Self(path)
    }

    fn copied(&self, to: &Path) -> Self {
        copy(&self.0, to);
        Self(to.to_owned())
    }

    /// Has Go's library verify this log, as one that goes on from `before`.
    fn go(&self, before: Option<&Self>) -> Output {
        let key = fs::read_to_string(self.0.join("log.vkey")).unwrap();
        let mut command = Command::new(tool("verify-log"));
        command.arg("-dir").arg(&self.0).arg("-key").arg(key.trim());
        if let Some(before) = before {
            command.arg("-old").arg(before.0.join("checkpoint"));
        }
        command.output().unwrap()
    }

    /// Returns how many records its checkpoint signs.
    fn size(&self) -> u64 {
        let text = fs::read_to_string(self.0.join("checkpoint")).unwrap();
        text.lines().nth(1).unwrap().parse().unwrap()
    }

    fn ambit(&self, world: &World) -> Output {
        world
            .command(&["log", "verify", self.0.to_str().unwrap()])
            .output()
            .unwrap()
    }

    /// Changes the entries of the first bundle: each stands behind its length in two bytes (C2SP tlog-tiles).
    fn change(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let path = self.0.join("tile/entries/000");
        let bytes = fs::read(&path).unwrap();
        let (mut entries, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            rest = after;
        }
        change(&mut entries);
        let framed = entries.iter().flat_map(|it| {
            let length = u16::try_from(it.len()).unwrap().to_be_bytes();
            length.into_iter().chain(it.iter().copied())
        });
        fs::write(path, framed.collect::<Vec<u8>>()).unwrap();
    }

    /// Returns the file of the last, partial tile.
    fn newest(&self, folder: &str) -> PathBuf {
        let folder = self.0.join(folder).join("001.p");
        fs::read_dir(folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    }
}

fn copy(from: &Path, to: &Path) {
    let arguments = ["-a", from.to_str().unwrap(), to.to_str().unwrap()];
    succeed(
        &Command::new("cp").args(arguments).output().unwrap(),
        &arguments,
    );
}
