//! Who is registered and can't reach the socket.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ambit_core::estate::Estate;

/// Who may enter a directory: its group, and all others.
const OTHERS_ENTER: u32 = 0o011;
/// The user to whom nothing is closed.
const ROOT: u32 = 0;

/// A directory that nobody but its owner can enter.
struct Closed {
    directory: PathBuf,
    owner: u32,
}

impl Closed {
    /// Finds one on the way to `socket`, which is absolute.
    fn on_the_way(socket: &Path) -> Option<Self> {
        socket.ancestors().skip(1).find_map(|directory| {
            let found = fs::metadata(directory).ok()?;
            let closed = found.mode() & OTHERS_ENTER == 0;
            closed.then(|| Self {
                directory: directory.to_owned(),
                owner: found.uid(),
            })
        })
    }
}

/// Returns a warning for each registration of a local user who can't reach the Workload API at `socket`.
pub(crate) fn unreached(estate: &Estate, socket: &Path) -> Vec<String> {
    let Some(Closed { directory, owner }) = Closed::on_the_way(socket) else {
        return Vec::new();
    };
    let agents = estate.agents.values();
    let registered = agents.flat_map(|it| it.workloads.iter().map(|workload| (&it.name, workload)));
    let others = registered.filter(|(_, it)| it.uid.is_some_and(|it| it != owner && it != ROOT));
    let warning = |(agent, workload)| {
        format!(
            "agents/{agent}.toml: no process of `[[workload]]` ({workload}) reaches {}, because {} is closed to all but uid \
             {owner}; set `doors.workload` to a socket in a directory that they can enter",
            socket.display(),
            directory.display(),
        )
    };
    others.map(warning).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ambit_core::estate::Workload;
    use ambit_testkit::office;

    use super::*;

    #[test]
    fn who_can_not_enter_is_warned_of() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("state");
        fs::create_dir(&directory).unwrap();
        let own = rustix::process::getuid().as_raw();
        let check = |mode: u32, uid: Option<u32>, warned: bool| {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            let mut estate = office(&[]);
            let agent = estate.agents.values_mut().next().unwrap();
            agent.workloads = vec![Workload {
                uid,
                gid: None,
                path: Some("/usr/bin/agent".to_owned()),
                sha256: None,
                unit: None,
            }];
            let found = unreached(&estate, &directory.join("workload.sock"));
            assert_eq!(found.len(), usize::from(warned), "{mode:o} {uid:?}");
            assert!(found.iter().all(|it| it.contains("state is closed")));
        };
        let other = Some(own.wrapping_add(4711));
        check(0o700, other, true);
        check(0o711, other, false);
        check(0o710, other, false);
        check(0o755, other, false);
        check(0o700, Some(own), false);
        check(0o700, Some(ROOT), false);
        check(0o700, None, false);
    }
}
