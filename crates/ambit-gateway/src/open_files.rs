//! Which open files a started program gets: those that it is handed, and no other.
//!
//! What this process opens is closed when another program starts. What whoever started this process left open is not,
//! and could be a key or a socket of theirs.

use std::{
    fs::{self, File},
    io,
    os::fd::RawFd,
    process::Command,
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::OFlags;

/// Has the program of `command` get its three streams and no file that whoever started this process left open: in place
/// of each of those, it finds one that is empty. Files that are left open later are not seen: start `command` at once.
///
/// # Errors
/// What is open can't be listed: then start nothing.
pub fn hand_nothing_over(command: &mut Command) -> io::Result<()> {
    hand_over(command, Vec::new())
}

/// Has the program of `command` get `handed` beside its streams, and nothing else, as [`hand_nothing_over`] does.
pub(crate) fn hand_over(command: &mut Command, mut handed: Vec<FdMapping>) -> io::Result<()> {
    let taken: Vec<RawFd> = handed.iter().map(|it| it.child_fd).collect();
    for number in left_open()? {
        if !taken.contains(&number) {
            handed.push(FdMapping {
                parent_fd: File::open("/dev/null")?.into(),
                child_fd: number,
            });
        }
    }
    command.fd_mappings(handed).map_err(io::Error::other)?;
    Ok(())
}

/// Returns the numbers of all files that every started program would get, but for the three streams.
fn left_open() -> io::Result<Vec<RawFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|it| it.parse().ok());
        let Some(number) = number.filter(|it| *it > LAST_STREAM_FD) else {
            continue;
        };
        // What is gone by now was opened here, and such files are closed at the start of another program.
        let Ok(text) = fs::read_to_string(entry.path()) else {
            continue;
        };
        let flags = text.lines().find_map(|it| it.strip_prefix("flags:"));
        let flags = flags.and_then(|it| u32::from_str_radix(it.trim(), 8).ok());
        if flags.is_none_or(|it| it & OFlags::CLOEXEC.bits() == 0) {
            found.push(number);
        }
    }
    Ok(found)
}

/// Standard error; what is beyond is not a stream.
const LAST_STREAM_FD: RawFd = 2;
