//! How many open files this process may have, and how many connections fit into that.
//!
//! Whoever can open connections could otherwise take every descriptor of the process, and nobody could revoke any more. So
//! the doors for agents and for anybody have no more seats than leave enough for people, the log and what runs already.

use ambit_gateway::Room;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{listen, public, workload};

/// The open files that are kept for the log, the listeners and what Ambit fetches.
const KEPT: usize = 128;
/// The open files of one stdio server: its three streams and its process.
const PER_STDIO_SERVER: usize = 4;
/// The open files of one connection of an instance: its own, and the upstream's.
const PER_INSTANCE: usize = 2;
/// The open files of one connection to the Workload API: its own, and its process.
const PER_WORKLOAD: usize = 2;
/// How many connections to the Workload API are enough not to warn of: further ones take what is left.
const WORKLOADS_ENOUGH: usize = 4096;
/// The fewest open files that the doors for agents and for anybody can do with.
const DOORS_MIN: usize = 256;

/// How many connections each door has seats for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Allotment {
    /// The gateway, at all of its addresses.
    pub(super) gateway: Room,
    /// The public port and the bundle's, each.
    pub(super) public: usize,
    /// The Workload API.
    pub(super) workload: usize,
    /// How many open files are enough.
    wanted: usize,
    /// How many there may be.
    most: usize,
}

/// There may be too few open files to serve anybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this process may have {most} open files and needs at least {needed}; raise the limit (`LimitNOFILE` of a systemd unit, or \
     `ulimit -Hn`)"
)]
pub(crate) struct TooFewFiles {
    most: usize,
    needed: usize,
}

impl Allotment {
    /// Lets this process have as many open files as it may, and shares them out. `stdio_servers` of them may run at once.
    ///
    /// # Errors
    /// [`TooFewFiles`] when nobody could be served.
    pub(crate) fn of_this_process(stdio_servers: usize) -> Result<Self, TooFewFiles> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let most = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        let most = most.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
        Self::within(most, stdio_servers)
    }

    /// Shares `most` open files out: what is left beside people and processes is for the doors, and half of it at most for
    /// each of the two kinds of them as long as it is scarce.
    fn within(most: usize, stdio_servers: usize) -> Result<Self, TooFewFiles> {
        let full = Room::default();
        let kept = KEPT + 2 * listen::CONNECTIONS_MAX + PER_STDIO_SERVER * stdio_servers;
        let remote_wanted =
            full.strangers + PER_INSTANCE * full.proved + 2 * public::PUBLIC_CONNECTIONS_MAX;
        let local_wanted = PER_WORKLOAD * workload::CONNECTIONS_MAX;
        let left = most.saturating_sub(kept);
        if left < DOORS_MIN {
            let needed = kept + DOORS_MIN;
            return Err(TooFewFiles { most, needed });
        }
        let local_enough = PER_WORKLOAD * WORKLOADS_ENOUGH;
        let remote = remote_wanted.min((left / 2).max(left.saturating_sub(local_enough)));
        let local = local_wanted.min(left - remote);
        let part = |seats: usize| (seats * remote / remote_wanted).max(1);
        Ok(Self {
            gateway: Room {
                strangers: part(full.strangers),
                proved: part(full.proved),
            },
            public: part(public::PUBLIC_CONNECTIONS_MAX),
            workload: local / PER_WORKLOAD,
            wanted: kept + remote_wanted + local_enough,
            most,
        })
    }

    /// Says what to do where there are fewer seats than there could be; nothing where all fit.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.most < self.wanted).then(|| {
            format!(
                "this process may have {} open files, so the gateway has seats for {} connections of agents, the public port \
                 for {} and the Workload API for {}; raise the limit to {} (`LimitNOFILE` of a systemd unit)",
                self.most, self.gateway.proved, self.public, self.workload, self.wanted
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scarce_is_shared_out_and_never_all() {
        let full = Allotment::within(usize::MAX, 64).unwrap();
        assert_eq!(full.gateway, Room::default());
        assert_eq!(full.warning(), None);
        let enough = Allotment::within(full.wanted, 64).unwrap();
        assert_eq!((enough.gateway, enough.public), (full.gateway, full.public));
        assert_eq!(
            (enough.workload, enough.warning()),
            (WORKLOADS_ENOUGH, None)
        );
        let one_less = Allotment::within(full.wanted - 1, 64).unwrap();
        assert!(one_less.warning().is_some());
        // What the guide's unit says is enough for everybody.
        assert_eq!(
            Allotment::within(65_536, 64).unwrap().workload,
            full.workload
        );
        let kept = KEPT + 2 * listen::CONNECTIONS_MAX + PER_STDIO_SERVER * 64;
        let fewest = kept + DOORS_MIN;
        for most in [fewest, 1024, 4096, 20_000, 65_536] {
            let it = Allotment::within(most, 64).unwrap();
            let gateway = it.gateway.strangers + PER_INSTANCE * it.gateway.proved;
            let taken = gateway + 2 * it.public + PER_WORKLOAD * it.workload;
            assert!(kept + taken <= most, "{it:?}");
            assert!(it.gateway.proved >= 16 && it.workload >= 16, "{it:?}");
        }
        let refused = Allotment::within(fewest - 1, 64).unwrap_err();
        assert_eq!(refused.needed, fewest);
    }
}
