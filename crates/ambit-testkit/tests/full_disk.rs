//! A disk that is full, and is a real one: a small tmpfs in a mount namespace of its own. Acts stop; revocations, the ends
//! of tasks and outcomes are still written; and acts go on by themselves once there is room.

#![cfg(test)]

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// The size of the disk: the reserve, twice as much for taking it back, and the database.
const DISK: &str = "size=128m";

/// Promise 5 on a full disk: whatever fills the disk does not keep authority from being taken away.
#[test]
fn nhi01_a_full_disk_does_not_keep_anybody_from_revoking() {
    let directory = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && exec \"$3\"";
    let mut child = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            mount,
            "sh",
        ])
        .arg(DISK)
        .arg(directory.path())
        .arg(env!("CARGO_BIN_EXE_full_target"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{}", directory.path().display()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let promised = "acts\nstops acting\nstarts nothing\nwrites outcomes\nends tasks\nrevokes\n\
                    starts and revokes while it is full\nacts again by itself\nkept its promises\n";
    assert_eq!(said, promised, "{errors}");
    assert!(output.status.success(), "{errors}");
}
