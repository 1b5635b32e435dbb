//! How the first process inside hands its listening socket to the runner outside.
//!
//! The two speak over one Unix stream: inside → outside, one byte with the listener (SCM_RIGHTS);
//! outside → inside, one [`GO`], then one byte per signal to pass on; inside → outside, at the end, one
//! [`Report`]. By the time the command runs, nothing that comes from inside is believed but the report,
//! and that only decides the exit code.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{fd::AsFd, unix::net::UnixStream},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The byte that carries the listener.
const LISTENER: u8 = b'L';
/// The byte that lets the command begin.
pub(crate) const GO: u8 = b'G';
/// Room for one descriptor in a control message, aligned.
const CONTROL_BYTES: usize = 64;

/// How the command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Report {
    /// With this exit code (128 + n for signal n).
    Ended(u8),
    /// It could not be started: no such program inside.
    NotFound,
    /// It could not be started: not executable, or another reason.
    NotStarted,
}

impl Report {
    /// Returns the two bytes on the wire.
    pub(crate) const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Ended(code) => [b'E', code],
            Self::NotFound => [b'M', 127],
            Self::NotStarted => [b'X', 126],
        }
    }

    /// Reads the two bytes.
    pub(crate) const fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            [b'E', code] => Some(Self::Ended(code)),
            [b'M', _] => Some(Self::NotFound),
            [b'X', _] => Some(Self::NotStarted),
            _ => None,
        }
    }
}

/// Sends `listener` over `stream`.
pub(crate) fn send_listener(mut stream: &UnixStream, listener: &TcpListener) -> io::Result<()> {
    let descriptors = [listener.as_fd()];
    let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for the descriptor"));
    }
    sendmsg(
        stream,
        &[IoSlice::new(&[LISTENER])],
        &mut control,
        SendFlags::empty(),
    )?;
    stream.flush()
}

/// Receives the listener. Fails with [`io::ErrorKind::WouldBlock`] when it has not come yet.
pub(crate) fn receive_listener(stream: impl AsFd) -> io::Result<TcpListener> {
    let mut byte = [0];
    let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let parts = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the first message has no listener",
        )
    };
    match (byte, descriptors.pop(), descriptors.is_empty()) {
        ([LISTENER], Some(descriptor), true) => Ok(TcpListener::from(descriptor)),
        _ => Err(wrong()),
    }
}

/// Waits for the word to begin.
pub(crate) fn await_go(mut stream: &UnixStream) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte == [GO] {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the runner did not say to begin",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_arrives_and_listens() {
        let (inside, outside) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send_listener(&inside, &listener).unwrap();
        drop(listener);
        let listener = receive_listener(&outside).unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_message_without_a_listener_is_refused() {
        let (mut inside, outside) = UnixStream::pair().unwrap();
        inside.write_all(b"L").unwrap();
        assert!(receive_listener(&outside).is_err());
        drop(inside);
        assert!(receive_listener(&outside).is_err(), "end of stream");
    }

    #[test]
    fn a_report_reads_back() {
        for report in [
            Report::Ended(0),
            Report::Ended(143),
            Report::NotFound,
            Report::NotStarted,
        ] {
            assert_eq!(Report::from_bytes(report.to_bytes()), Some(report));
        }
        assert_eq!(Report::from_bytes(*b"??"), None);
    }
}
