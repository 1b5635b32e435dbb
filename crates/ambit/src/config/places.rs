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

/// Writes `places` beside `socket`, for its owner, or for the members of `group` as well.
///
/// # Errors
/// A place has a line break in its name or is no text, or the list can't be written.
pub(crate) fn write(socket: &Path, group: Option<u32>, places: &[PathBuf]) -> io::Result<()> {
    let mut text = String::new();
    for place in places {
        let line = place.to_str().filter(|it| !it.contains('\n'));
        let odd = || io::Error::new(io::ErrorKind::InvalidInput, "its path is no line of text");
        text.push_str(line.ok_or_else(odd)?);
        text.push('\n');
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
/// They can't be read, or are too many.
pub(crate) fn read(socket: &Path) -> io::Result<Vec<PathBuf>> {
    // They lie beside the socket itself, wherever a link to it is.
    let path = beside(&socket.canonicalize()?);
    if fs::metadata(&path)?.len() > PLACES_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let text = fs::read_to_string(&path)?;
    Ok(text.lines().map(PathBuf::from).collect())
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
        let places = vec![PathBuf::from("/srv/estate"), PathBuf::from("/etc/a.toml")];
        write(&socket, None, &places).unwrap();
        assert_eq!(read(&socket).unwrap(), places);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert_eq!(read(&link).unwrap(), places);
        assert!(write(&socket, None, &[PathBuf::from("/a\nb")]).is_err());
        let longest = "x".repeat(PLACES_BYTES_MAX as usize);
        fs::write(beside(&socket), &longest).unwrap();
        assert_eq!(read(&socket).unwrap().len(), 1);
        fs::write(beside(&socket), longest + "x").unwrap();
        assert!(read(&socket).is_err());
    }
}
