//! The places that a server's authority comes from, written down beside its control socket.
//!
//! Whoever may connect may read them: a runner must know what its command may not write.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// The longest list that is read, in bytes.
const PLACES_BYTES_MAX: u64 = 64 * 1024;

/// Where a server's power lies: no command that it governs may reach any of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Places {
    /// The server's own: state, keys, mark, sockets.
    pub(crate) of_ambit: Vec<PathBuf>,
    /// What its authority comes from: estate and configuration.
    pub(crate) of_authority: Vec<PathBuf>,
}

impl Places {
    fn lines(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let own = self.of_ambit.iter().map(|it| (OF_AMBIT, it));
        own.chain(self.of_authority.iter().map(|it| (OF_AUTHORITY, it)))
    }
}

const OF_AMBIT: &str = "state";
const OF_AUTHORITY: &str = "rules";

/// Writes `places` beside `socket`, for its owner, or for the members of `group` as well.
///
/// # Errors
/// A place has a line break in its name or is no text, or the list can't be written.
pub(crate) fn write(socket: &Path, group: Option<u32>, places: &Places) -> io::Result<()> {
    let mut text = String::new();
    for (kind, place) in places.lines() {
        // A runner reads the list in a working directory of its own.
        let place = std::path::absolute(place)?;
        let line = place.to_str().filter(|it| !it.contains('\n'));
        let odd = || io::Error::new(io::ErrorKind::InvalidInput, "its path is no line of text");
        text.push_str(&format!("{kind} {}\n", line.ok_or_else(odd)?));
    }
    let (path, mut fresh) = (beside(socket), beside(socket).into_os_string());
    fresh.push(".new");
    fs::write(&fresh, text)?;
    let mode = if group.is_some() { 0o640 } else { 0o600 };
    fs::set_permissions(&fresh, Permissions::from_mode(mode))?;
    if group.is_some() {
        chown(&fresh, None, group)?;
    }
    fs::rename(&fresh, path)
}

/// Reads the places of the server behind `socket`.
///
/// # Errors
/// They can't be read, are too many, or are of a kind that is not known.
pub(crate) fn read(socket: &Path) -> io::Result<Places> {
    // They lie beside the socket itself, wherever a link to it is.
    let path = beside(&socket.canonicalize()?);
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if fs::metadata(&path)?.len() > PLACES_BYTES_MAX {
        return Err(invalid("it is too long"));
    }
    let mut places = Places {
        of_ambit: Vec::new(),
        of_authority: Vec::new(),
    };
    for line in fs::read_to_string(&path)?.lines() {
        match line.split_once(' ') {
            Some((OF_AMBIT, place)) => places.of_ambit.push(place.into()),
            Some((OF_AUTHORITY, place)) => places.of_authority.push(place.into()),
            _ => return Err(invalid("it is of another version of ambit")),
        }
    }
    Ok(places)
}

/// Returns where the places of the server behind `socket` are written.
pub(crate) fn beside(socket: &Path) -> PathBuf {
    let mut name = OsString::from(socket);
    name.push(".places");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_up_to_its_maximum() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        assert!(read(&socket).is_err());
        fs::write(&socket, "").unwrap();
        assert!(read(&socket).is_err());
        let places = Places {
            of_ambit: vec!["/var/lib/the state".into(), "/run/mark".into()],
            of_authority: vec!["/srv/estate".into(), "/etc/a.toml".into()],
        };
        write(&socket, None, &places).unwrap();
        assert_eq!(read(&socket).unwrap(), places);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert_eq!(read(&link).unwrap(), places);
        let odd = Places {
            of_ambit: vec!["/a\nb".into()],
            of_authority: Vec::new(),
        };
        assert!(write(&socket, None, &odd).is_err());
        let relative = Places {
            of_ambit: vec!["state".into()],
            of_authority: Vec::new(),
        };
        write(&socket, None, &relative).unwrap();
        assert!(read(&socket).unwrap().of_ambit[0].is_absolute());
        for unknown in ["/srv/estate\n", "other /srv/estate\n", "\n"] {
            fs::write(beside(&socket), unknown).unwrap();
            assert!(read(&socket).is_err(), "{unknown:?}");
        }
        let longest = format!("state {}", "x".repeat(PLACES_BYTES_MAX as usize - 6));
        fs::write(beside(&socket), &longest).unwrap();
        assert_eq!(read(&socket).unwrap().of_ambit.len(), 1);
        fs::write(beside(&socket), longest + "x").unwrap();
        assert!(read(&socket).is_err());
    }
}
