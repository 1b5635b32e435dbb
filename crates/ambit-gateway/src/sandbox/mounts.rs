//! What a server's mounts lead to, opened once: the object that was checked is the object that is mounted.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use ambit_core::estate::Mount;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat,
};

use crate::upstream::UpstreamError;

/// A mount with its source, which nobody can exchange any more.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    /// The folder or file.
    pub object: OwnedFd,
    /// What the estate says of it.
    pub mount: &'a Mount,
}

/// Opens the sources of `mounts`, and refuses those that lead out of the estate or to what is Ambit's own.
///
/// # Errors
/// [`UpstreamError::Start`] that names the mount.
pub(super) fn open<'a>(
    mounts: &'a [Mount],
    estate: &Path,
    protected: &[PathBuf],
) -> Result<Vec<Opened<'a>>, UpstreamError> {
    let rules = ESTATE_FILES.iter().map(|it| estate.join(it));
    let protected: Vec<PathBuf> = protected.iter().cloned().chain(rules).collect();
    let one = |mount: &'a Mount| {
        let declared = &mount.source;
        let refused = |why: String| UpstreamError::Start(format!("its mount `{declared}` {why}"));
        let unresolved = |error: io::Error| refused(format!("can't be resolved: {error}"));
        let source = Source::open(&estate.join(declared)).map_err(unresolved)?;
        let below = fs::canonicalize(estate).map_err(unresolved)?;
        if Path::new(declared).is_relative() && !source.path.starts_with(below) {
            let why = "leads out of the estate's folder; write where it leads as an absolute path";
            return Err(refused(why.to_owned()));
        }
        match source.overlaps(&protected).map_err(unresolved)? {
            Some(own) => Err(refused(format!(
                "overlaps {}, which is Ambit's own; mount another folder",
                own.display()
            ))),
            None => Ok(Opened {
                object: source.object,
                mount,
            }),
        }
    };
    mounts.iter().map(one).collect()
}

/// A source that was opened by a path without links.
struct Source {
    object: OwnedFd,
    path: PathBuf,
}

/// What makes a file or folder the same by whatever name: its device and its inode.
type Identity = (u64, u64);

impl Source {
    /// Follows the links of `path`, then opens what it found without following any. A link that somebody puts there in
    /// between makes this fail.
    fn open(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let object = openat2(CWD, &path, LOOK, Mode::empty(), PLAIN)?;
        Ok(Self { object, path })
    }

    /// Returns which of `protected` the source would show, or would be a part of, when there is one: by path, and by
    /// identity, because a folder may have several names. A protected path that does not exist yet counts by the part of
    /// it that does.
    fn overlaps<'a>(&self, protected: &'a [PathBuf]) -> io::Result<Option<&'a Path>> {
        let own = identity(&self.object)?;
        let around = self.around()?;
        for path in protected {
            let whole = resolved_as_far_as_there(path)?;
            if whole.starts_with(&self.path) || self.path.starts_with(&whole) {
                return Ok(Some(path));
            }
            for (depth, folder) in whole.ancestors().enumerate() {
                let there = match statat(CWD, folder, AtFlags::empty()) {
                    Ok(found) => (found.st_dev, found.st_ino),
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                };
                if there == own || (depth == 0 && around.contains(&there)) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// Returns the identities of the source and of the folders that it lies in.
    fn around(&self) -> io::Result<Vec<Identity>> {
        let mut around = vec![identity(&self.object)?];
        let is_folder = FileType::from_raw_mode(fstat(&self.object)?.st_mode).is_dir();
        let mut folder = if is_folder {
            openat(&self.object, "..", LOOK, Mode::empty())?
        } else {
            let parent = self.path.parent().unwrap_or(Path::new("/"));
            openat2(CWD, parent, LOOK, Mode::empty(), PLAIN)?
        };
        for _ in 0..=FOLDERS_DEEP_MAX {
            let here = identity(&folder)?;
            if around.last() == Some(&here) {
                return Ok(around);
            }
            around.push(here);
            folder = openat(&folder, "..", LOOK, Mode::empty())?;
        }
        Err(io::Error::other("it lies too deep"))
    }
}

fn identity(object: impl AsFd) -> io::Result<Identity> {
    let found = fstat(object)?;
    Ok((found.st_dev, found.st_ino))
}

/// Resolves the links of what exists of `path`, and keeps the rest as it is.
fn resolved_as_far_as_there(path: &Path) -> io::Result<PathBuf> {
    // A relative path has an empty ancestor, which can't be resolved.
    let path = std::path::absolute(path)?;
    for there in path.ancestors() {
        match fs::canonicalize(there) {
            Ok(found) => {
                let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                return Ok(found.join(rest).components().collect());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

/// What makes up an estate's rules, inside its folder.
const ESTATE_FILES: [&str; 6] = [
    "estate.toml",
    "agents",
    "servers",
    "templates",
    "policies",
    "tests",
];
/// The most folders around the source of a mount.
pub(super) const FOLDERS_DEEP_MAX: usize = 256;
/// A handle that names an object and reads nothing of it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// No component of the path may be a link.
const PLAIN: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);
