//! How a connection ends so that whoever is at its other end hears what was said last.
//!
//! A socket that is closed while something unread is in it takes the last answer back (RFC 9112 section 9.6), and a TLS
//! connection that ends without a word could have been cut by anybody (RFC 8446 section 6.1). So the end is said first, and
//! what still comes is read and dropped, for a short time.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::limits::{PARTING_BYTES_MAX, PARTING_TIMEOUT};

/// The end of one connection.
#[derive(Debug)]
pub(crate) struct Parting {
    patience: Duration,
    is_said: bool,
    over: Option<Pin<Box<Sleep>>>,
    dropped_bytes: usize,
}

impl Default for Parting {
    fn default() -> Self {
        Self::new(PARTING_TIMEOUT)
    }
}

impl Parting {
    const fn new(patience: Duration) -> Self {
        Self {
            patience,
            is_said: false,
            over: None,
            dropped_bytes: 0,
        }
    }

    /// Says that nothing more is sent, and drops what still comes, until the other end is gone or it has been waited for
    /// long enough.
    pub(crate) fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let over = self
            .over
            .get_or_insert_with(|| Box::pin(sleep(self.patience)));
        if over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_said(io, context))?;
        let mut piece = [0; PIECE_BYTES];
        while self.dropped_bytes < PARTING_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut piece);
            // That it broke off is an end like another.
            let read = ready!(Pin::new(&mut *io).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.dropped_bytes += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more is sent.
    pub(crate) fn poll_said<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_said {
            ready!(Pin::new(io).poll_shutdown(context))?;
            self.is_said = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Says so to whoever can take it at once: the connection is not kept any longer.
    pub(crate) fn say_now<T: AsyncWrite + Unpin>(&mut self, io: &mut T) {
        let _unheard = self.poll_said(io, &mut Context::from_waker(Waker::noop()));
    }
}

/// Ends a connection that carries no answer, so that its peer hears that it was ended on purpose.
pub(crate) async fn part<T: AsyncRead + AsyncWrite + Unpin>(mut io: T) {
    let mut parting = Parting::default();
    // Whoever is gone need not hear it.
    let _gone = poll_fn(|context| parting.poll(&mut io, context)).await;
}

/// How much is read and dropped at once, in bytes.
const PIECE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Ends the connection of `server`, and returns how many bytes it dropped.
    async fn part(server: &mut DuplexStream, mut parting: Parting) -> usize {
        poll_fn(|context| parting.poll(server, context))
            .await
            .unwrap();
        parting.dropped_bytes
    }

    #[tokio::test]
    async fn what_was_said_is_heard_and_what_comes_is_dropped() {
        let (mut client, mut server) = duplex(64);
        server.write_all(b"no").await.unwrap();
        let sending = tokio::spawn(async move {
            // More than fits: without a reader it would not be sent.
            client.write_all(&[1; 1000]).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        });
        assert_eq!(part(&mut server, Parting::default()).await, 1000);
        assert_eq!(sending.await.unwrap(), b"no");
    }

    #[tokio::test]
    async fn so_much_is_dropped_and_no_more() {
        let (mut client, mut server) = duplex(PIECE_BYTES);
        let sending =
            tokio::spawn(async move { while client.write_all(&[1; PIECE_BYTES]).await.is_ok() {} });
        assert_eq!(
            part(&mut server, Parting::default()).await,
            PARTING_BYTES_MAX
        );
        drop(server);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_is_waited_for_longer() {
        let (client, mut server) = duplex(64);
        let short = Parting::new(Duration::from_millis(1));
        assert_eq!(part(&mut server, short).await, 0);
        drop(client);
    }
}
