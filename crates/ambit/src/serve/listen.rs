//! The listeners for people and for health: who connects is asked of the kernel.

use std::{
    fs,
    future::pending,
    hash::Hash,
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ambit_gateway::{Notice, Punctual, Seat, Seats, serve_http};
use ambit_identity::PeerCredentials;
use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioTimer, service::TowerToHyperService};
use rustix::{fs::Mode, process::umask};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
};

/// How many connections each listener serves at once; for one more, the one that is idle longest of the local user who has
/// most ends.
pub(super) const CONNECTIONS_MAX: usize = 128;
/// How many connections one local user has at the control socket; for one more, the user's own that is idle longest ends.
const CONNECTIONS_PER_USER_MAX: usize = 96;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait after an accept failed, as when there are no descriptors left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The control socket. Removed when dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket at `path`, open to its owner, or to the members of `group` as well.
    ///
    /// Called while the database's lock is held, so a socket that is there already is a dead one.
    pub(crate) fn bind(path: &Path, group: Option<u32>) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is no socket",
                ));
            }
            Err(_) => (),
        }
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let socket = Self {
            listener: bound?,
            path: path.to_owned(),
        };
        if let Some(group) = group {
            chown(path, None, Some(group))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        }
        Ok(socket)
    }

    /// Serves `router` until dropped. Each request carries the peer's [`PeerCredentials`].
    pub(crate) async fn serve(self, router: Router) {
        let seats = Seats::new(CONNECTIONS_MAX, u32::clone);
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Whom the kernel does not name is not served.
            let Ok(peer) = credentials(&stream) else {
                continue;
            };
            let notice = Notice::default();
            let seat = seats.take(peer.uid, CONNECTIONS_PER_USER_MAX, &notice);
            tokio::spawn(connection(
                stream,
                router.clone(),
                (seat, notice),
                Some(peer),
            ));
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The next start removes what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves `router` on `listener` until dropped.
pub(crate) async fn health(listener: TcpListener, router: Router) {
    // All come from this machine.
    let seats = Seats::new(CONNECTIONS_MAX, <()>::clone);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let notice = Notice::default();
        let seat = seats.take((), CONNECTIONS_MAX, &notice);
        tokio::spawn(connection(stream, router.clone(), (seat, notice), None));
    }
}

async fn connection<S, H>(
    stream: S,
    router: Router,
    (seat, notice): (Seat<H>, Notice),
    peer: Option<PeerCredentials>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Clone + Eq + Hash + 'static,
{
    let (service, seat) = (TowerToHyperService::new(router), Arc::new(seat));
    let answer = |request: Request<Incoming>, _framing| {
        let mut request = request.map(|body| Punctual::new(body, BODY_TIMEOUT));
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let (answering, seat) = (service.call(request), Arc::clone(&seat));
        async move {
            let Ok(response) = seat.answers(answering).await;
            seat.goes_out(response)
        }
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let served = tokio::select! {
        served = serve_http(&http, stream, answer, pending()) => served,
        () = notice.heard() => return,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Returns what the kernel says of the process at the other end.
pub(super) fn credentials(stream: &UnixStream) -> io::Result<PeerCredentials> {
    let peer = stream.peer_cred()?;
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok(PeerCredentials {
        uid: peer.uid(),
        gid: peer.gid(),
        pid,
    })
}

#[cfg(test)]
mod tests {
    use axum::{Extension, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_kernel_says_who_connects() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::bind(&path, None).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let who = |Extension(peer): Extension<PeerCredentials>| async move { peer.uid.to_string() };
        let serving = tokio::spawn(socket.serve(Router::new().route("/", get(who))));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let uid = rustix::process::getuid().as_raw().to_string();
        assert!(answer.ends_with(&format!("\r\n\r\n{uid}")), "{answer}");
        serving.abort();
        assert!(serving.await.is_err());
        assert!(!path.exists());
    }

    /// An agent that runs as its person keeps its own revocation away by no number of requests that it begins.
    #[tokio::test]
    async fn asi10_half_sent_requests_keep_nobody_from_the_control_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = ControlSocket::bind(&path, None).unwrap();
        let read = |body: axum::body::Bytes| async move { body.len().to_string() };
        let router = Router::new().route("/", axum::routing::post(read));
        tokio::spawn(socket.serve(router));
        let begin = async |rest: &str| {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n";
            let request = format!("{head}\r\n{rest}");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        };
        let mut half_sent = Vec::new();
        for _ in 0..=CONNECTIONS_MAX {
            half_sent.push(begin("a").await);
            let mut answer = String::new();
            let mut whole = begin("abc").await;
            whole.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("\r\n\r\n3"), "{answer}");
        }
        // The first of them was let go; nobody waits for the rest of it.
        let mut answer = Vec::new();
        let _ended = half_sent[0].read_to_end(&mut answer).await;
        assert!(answer.is_empty());
        assert!(half_sent.len() > CONNECTIONS_PER_USER_MAX);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        fs::write(&path, "x").unwrap();
        assert!(ControlSocket::bind(&path, None).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}
