//! The socket of the Workload API: each connection is held together with the process at its other end.
//!
//! A pidfd holds the process, so its number can't become another's while it is looked at. The executable is opened
//! once; its path counts only where it is the same file in Ambit's own view, since a process can bring a file
//! system of its own. What a process does with its own memory, such as preloading a library, is not seen here.

mod process;
mod unreached;

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ambit_control::workload::{Connection, Peer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;

use self::process::{Looks, Process};
pub(crate) use self::unreached::unreached;
use super::listen::credentials;

/// How many connections are open at once; further ones wait.
pub(super) const CONNECTIONS_MAX: usize = 16_384;
/// How many of them one local user may have; further ones are closed.
const CONNECTIONS_PER_USER_MAX: u32 = 12_288;
/// How long to wait after an accept failed, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many accepted connections wait for the transport.
const ACCEPTED_MAX: usize = 64;

/// The socket. Removed when dropped.
#[derive(Debug)]
pub(crate) struct WorkloadSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
struct Most {
    of_all: usize,
    per_user: u32,
}

impl Most {
    /// Shares `of_all` out: nobody has more than three of four, so that there are some for others.
    fn of(of_all: usize) -> Self {
        let of_all = of_all.min(CONNECTIONS_MAX);
        let per_user = u32::try_from(of_all / 4 * 3).unwrap_or(u32::MAX);
        Self {
            of_all,
            per_user: per_user.clamp(1, CONNECTIONS_PER_USER_MAX),
        }
    }
}

/// How many connections each local user has.
type Users = Arc<Mutex<HashMap<u32, u32>>>;

/// A connection's place among all, and among its user's.
#[derive(Debug)]
pub(crate) struct Place {
    uid: u32,
    users: Users,
    _of_all: OwnedSemaphorePermit,
}

impl WorkloadSocket {
    /// Binds the socket at `path`, open to every local user who can reach it: the estate says who is whom.
    ///
    /// Called while the database's lock is held, so a socket that is there already is a dead one.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => {
                let kind = io::ErrorKind::AlreadyExists;
                return Err(io::Error::new(kind, "it is no socket"));
            }
            Err(_) => (),
        }
        let listener = UnixListener::bind(path)?;
        let socket = Self {
            listener,
            path: path.to_owned(),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(socket)
    }

    /// Accepts connections, so many at once, until dropped.
    pub(crate) fn connections(self, most: usize) -> ReceiverStream<io::Result<Connection<Place>>> {
        self.connections_up_to(Most::of(most))
    }

    fn connections_up_to(self, most: Most) -> ReceiverStream<io::Result<Connection<Place>>> {
        let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
        tokio::spawn(async move { self.accept(most, sender).await });
        ReceiverStream::new(receiver)
    }

    async fn accept(self, most: Most, sender: mpsc::Sender<io::Result<Connection<Place>>>) {
        let places = Arc::new(Semaphore::new(most.of_all));
        let (users, looks) = (Users::default(), Arc::new(Looks::default()));
        loop {
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = sender.closed() => return,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            match hold(stream, (place, most.per_user), &users, &looks) {
                Ok(connection) => {
                    if sender.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the Workload API was closed")
                }
            }
        }
    }
}

impl Drop for WorkloadSocket {
    fn drop(&mut self) {
        // The next start removes what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Holds the process at the other end of `stream`.
fn hold(
    stream: UnixStream,
    (of_all, per_user): (OwnedSemaphorePermit, u32),
    users: &Users,
    looks: &Arc<Looks>,
) -> io::Result<Connection<Place>> {
    let credentials = credentials(&stream)?;
    let place = Place::take(credentials.uid, users, (of_all, per_user))?;
    let process = Arc::new(Process::hold(&stream, credentials)?);
    let (key, looks) = (process.key(), Arc::clone(looks));
    let (looked_at, waited_for) = (Arc::clone(&process), process);
    let peer = Peer {
        credentials,
        process: key,
        look: Arc::new(move |agents| {
            let (process, looks) = (Arc::clone(&looked_at), Arc::clone(&looks));
            Box::pin(async move {
                let looking = tokio::task::spawn_blocking(move || process.look(&agents, &looks));
                match looking.await {
                    Ok(seen) => seen.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            })
        }),
        ended: Arc::new(move || {
            let process = Arc::clone(&waited_for);
            Box::pin(async move { process.ended().await })
        }),
    };
    Ok(Connection::new(stream, peer, place))
}

impl Place {
    fn take(
        uid: u32,
        users: &Users,
        (of_all, per_user): (OwnedSemaphorePermit, u32),
    ) -> io::Result<Self> {
        let mut counted = users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(uid).or_insert(0);
        if *count >= per_user {
            return Err(io::Error::other(format!(
                "user {uid} has {per_user} connections already"
            )));
        }
        *count += 1;
        Ok(Self {
            uid,
            users: Arc::clone(users),
            _of_all: of_all,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counted.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counted.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_user_does_not_take_all_places() {
        let (all, users) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Users::default());
        let take = |uid| {
            let of_all = Arc::clone(&all).try_acquire_owned().unwrap();
            Place::take(uid, &users, (of_all, CONNECTIONS_PER_USER_MAX))
        };
        let held: Vec<_> = (0..CONNECTIONS_PER_USER_MAX)
            .map(|_| take(7).unwrap())
            .collect();
        assert!(take(7).is_err());
        assert!(take(8).is_ok());
        drop(held);
        assert!(take(7).is_ok());
        assert!(users.lock().unwrap().is_empty());
    }

    /// What is beyond a user's places is closed at once, and the listener goes on.
    #[tokio::test]
    async fn connections_beyond_the_most_of_one_user_are_closed() {
        use tokio::io::AsyncReadExt;
        use tokio_stream::StreamExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("workload.sock");
        let socket = WorkloadSocket::bind(&path).unwrap();
        let most = Most {
            of_all: 8,
            per_user: 3,
        };
        let mut connections = socket.connections_up_to(most);
        let mut held = Vec::new();
        for _ in 0..most.per_user {
            let ours = UnixStream::connect(&path).await.unwrap();
            held.push((ours, connections.next().await.unwrap().unwrap()));
        }
        for _ in 0..20 {
            let mut beyond = UnixStream::connect(&path).await.unwrap();
            assert_eq!(beyond.read(&mut [0]).await.unwrap(), 0);
        }
        held.pop();
        let _ours = UnixStream::connect(&path).await.unwrap();
        connections.next().await.unwrap().unwrap();
        for (most, of_all, per_user) in [(usize::MAX, 16_384, 12_288), (8, 8, 6), (1, 1, 1)] {
            let it = Most::of(most);
            assert_eq!((it.of_all, it.per_user), (of_all, per_user));
        }
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("workload.sock");
        fs::write(&path, "x").unwrap();
        assert!(WorkloadSocket::bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}
