//! Kept HTTP/1.1 connections to one upstream.
//!
//! Written over hyper's connection level, because the gateway must know whether a failed request had
//! left: an act that was not sent is another fact than an act with an unknown outcome.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};

use super::{Departure, UpstreamError};
use crate::limits::{UPSTREAM_CONNECT_TIMEOUT, UPSTREAM_IDLE_CONNECTIONS_MAX};

/// A connection that carries one request at a time.
pub(crate) type Sender = http1::SendRequest<Full<Bytes>>;

/// The connections to one upstream.
pub(crate) struct Pool {
    host: String,
    port: u16,
    path: String,
    authority: String,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    idle: Mutex<Vec<Sender>>,
}

impl Pool {
    /// Returns a pool for `url` without opening a connection.
    ///
    /// # Errors
    /// [`UpstreamError::Address`] for anything but an absolute `http` or `https` URL without credentials.
    pub(crate) fn new(
        url: &str,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> Result<Self, UpstreamError> {
        let wrong = |why: &str| UpstreamError::Address(why.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it carries credentials"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'))
            .unwrap_or(host)
            .to_owned();
        let encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(wrong("it is neither http nor https")),
        };
        let tls = match (encrypted, tls) {
            (false, _) => None,
            (true, None) => return Err(wrong("no roots for https are configured")),
            (true, Some(config)) => {
                let name =
                    ServerName::try_from(host.clone()).map_err(|_| wrong("its host is no name"))?;
                Some((Arc::clone(config), name))
            }
        };
        Ok(Self {
            port: authority
                .port_u16()
                .unwrap_or(if encrypted { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or("/", |it| it.as_str())
                .to_owned(),
            authority: authority.as_str().to_owned(),
            host,
            tls,
            idle: Mutex::default(),
        })
    }

    /// Returns the path and query of the upstream's endpoint.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns what the `Host` header says.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns a kept or new connection.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`].
    pub(crate) async fn connection(&self) -> Result<Sender, UpstreamError> {
        match self.take() {
            Some(sender) => Ok(sender),
            None => self.connect().await,
        }
    }

    /// Sends `request` on the connection of `departure`, a kept or a new one; returns the head of the answer and the
    /// connection, which goes back with [`Pool::keep`] once the body was read whole.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`] when nothing was sent, [`UpstreamError::Late`] when nothing may be sent any more,
    /// [`UpstreamError::Closed`] when something may have been.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        departure: Option<Departure>,
    ) -> Result<(Response<Incoming>, Sender), UpstreamError> {
        let (line, leave) = departure.map(|it| (it.line.0, it.leave)).unzip();
        let in_time = || leave.as_ref().map_or(Ok(()), super::Leave::check);
        let mut first = line.flatten();
        while let Some(mut sender) = first.take().or_else(|| self.take()) {
            in_time()?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                // hyper gives the message back exactly when not one byte of it was written.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(UpstreamError::Closed),
                },
            }
        }
        let mut sender = self.connect().await?;
        in_time()?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, sender)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => UpstreamError::Unreachable(io::ErrorKind::ConnectionAborted.into()),
                None => UpstreamError::Closed,
            }),
        }
    }

    /// Keeps a connection whose last answer was read whole.
    pub(crate) fn keep(self: &Arc<Self>, mut sender: Sender) {
        if sender.is_ready() {
            return self.put(sender);
        }
        // The driver marks the connection ready a moment after the last byte was read.
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                pool.put(sender);
            }
        });
    }

    fn put(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < UPSTREAM_IDLE_CONNECTIONS_MAX {
            idle.push(sender);
        }
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Sender, UpstreamError> {
        let opened = timeout(UPSTREAM_CONNECT_TIMEOUT, self.open()).await;
        opened
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(UpstreamError::Unreachable)
    }

    async fn open(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => handshake(TokioIo::new(stream)).await,
            Some((config, name)) => {
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                handshake(TokioIo::new(connector.connect(name.clone(), stream).await?)).await
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

async fn handshake<T>(io: T) -> io::Result<Sender>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to an upstream ended");
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_addresses_are_taken() {
        let check = |url: &str| Pool::new(url, None).map(|it| (it.host.clone(), it.port, it.path));
        assert_eq!(
            check("http://h/mcp").unwrap(),
            ("h".into(), 80, "/mcp".into())
        );
        assert_eq!(
            check("http://[::1]:81").unwrap(),
            ("::1".into(), 81, "/".into())
        );
        for url in [
            "",
            "/mcp",
            "h:80",
            "ftp://h/",
            "http://u:p@h/",
            "https://h/",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn nothing_goes_out_at_the_end_of_its_permit() {
        use crate::upstream::{Leave, Line};
        use ambit_core::Timestamp;
        let check = async |now: u64| {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let pool = Pool::new(&url, None).unwrap();
            let line = Line(Some(pool.connection().await.unwrap()));
            let moment = move || ambit_engine::Moment {
                now: Timestamp::from_millis(now),
                wall: Timestamp::from_millis(now),
                chance: [0; 32],
            };
            let leave = Leave {
                act_by: Timestamp::from_millis(10),
                clock: Arc::new(moment),
                departed: crate::upstream::Departed::default(),
            };
            let departure = Some(Departure { line, leave });
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut first = [0];
                // The end of the connection, or the first byte of the request; then it is cut either way.
                tokio::io::AsyncReadExt::read(&mut stream, &mut first)
                    .await
                    .unwrap()
            };
            let (sent, read) = tokio::join!(pool.send(Request::default(), departure), answering);
            (sent.err().map(|it| it.code()), read)
        };
        assert_eq!(check(9).await, (Some("server_closed"), 1));
        assert_eq!(check(10).await, (Some("permit_stale"), 0));
    }

    #[tokio::test]
    async fn only_so_many_idle_connections_are_kept() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let pool = Pool::new(&url, None).unwrap();
        for count in 1..=UPSTREAM_IDLE_CONNECTIONS_MAX + 1 {
            pool.put(pool.connect().await.unwrap());
            let kept = pool.idle.lock().unwrap().len();
            assert_eq!(kept, count.min(UPSTREAM_IDLE_CONNECTIONS_MAX));
        }
    }
}
