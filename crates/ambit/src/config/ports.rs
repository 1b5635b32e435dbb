//! Which ports an embedded server had last, so that it has them again: clients and logins know it by them.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    path::PathBuf,
};

use ambit_core::json::{Value, parse_bounded};

use super::StateDirectory;

/// The longest file that is read, in bytes.
const PORTS_BYTES_MAX: usize = 1024;

/// Ports of the loopback; 0 stands for any that is free.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ports {
    /// Where agents come.
    pub(crate) gateway: u16,
    /// Where health is told.
    pub(crate) health: u16,
    /// Where browsers come.
    pub(crate) public: u16,
}

impl Ports {
    /// Returns the ports of the server that was in `state` last, each of them where nobody else has it now.
    ///
    /// They are a convenience: what can't be read is any port.
    pub(crate) fn of_last(state: &StateDirectory) -> Self {
        let value = fs::read(file(state)).ok();
        let value = value.and_then(|it| parse_bounded(&it, PORTS_BYTES_MAX).ok());
        let port = |name| {
            let number = value.as_ref()?.get(name)?.as_integer()?;
            u16::try_from(number).ok().filter(|it| is_free(*it))
        };
        let port = |name| port(name).unwrap_or_default();
        Self {
            gateway: port("gateway"),
            health: port("health"),
            public: port("public"),
        }
    }

    /// Says whether the last server in `state` was an embedded one.
    pub(crate) fn are_kept(state: &StateDirectory) -> bool {
        file(state).is_file()
    }

    /// Forgets the ports in `state`: a server that is not embedded has others.
    pub(crate) fn forget(state: &StateDirectory) -> io::Result<()> {
        match fs::remove_file(file(state)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Keeps the ports in `state` for the next server.
    pub(crate) fn keep(self, state: &StateDirectory) -> io::Result<()> {
        let port = |name, port: u16| (name, Value::Integer(port.into()));
        let members = [
            port("gateway", self.gateway),
            port("health", self.health),
            port("public", self.public),
        ];
        fs::write(file(state), Value::object(members).to_canonical())
    }
}

fn is_free(port: u16) -> bool {
    let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && !second.is_err_and(|it| taken(&it))
}

fn file(state: &StateDirectory) -> PathBuf {
    state.root().join("ports.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_had_again_unless_somebody_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(directory.path().join("state"));
        assert_eq!(Ports::of_last(&state), Ports::default());
        state.prepare().unwrap();
        let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [gateway, health, public] = listeners
            .each_ref()
            .map(|it| it.local_addr().unwrap().port());
        let ports = Ports {
            gateway,
            health,
            public,
        };
        ports.keep(&state).unwrap();
        assert_eq!(Ports::of_last(&state), Ports::default());
        let [_gateway, _, still_taken] = listeners;
        drop(_gateway);
        let found = Ports::of_last(&state);
        assert_eq!((found.gateway, found.public), (gateway, 0));
        drop(still_taken);
        assert_eq!(Ports::of_last(&state).public, public);
        for text in [
            "",
            "[]",
            "{}",
            "{\"public\":70000}",
            &" ".repeat(PORTS_BYTES_MAX + 1),
        ] {
            fs::write(file(&state), text).unwrap();
            assert_eq!(Ports::of_last(&state), Ports::default(), "{text}");
        }
    }
}
