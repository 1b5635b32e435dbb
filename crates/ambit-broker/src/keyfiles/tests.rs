use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("key")
    }

    fn with(bytes: &[u8], mode: u32) -> Self {
        let folder = Self::new();
        fs::write(folder.path(), bytes).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        folder
    }
}

/// Expects `part` in the refusal; an empty `part` expects none.
fn check<T>(part: &str, found: Result<T, KeyFileError>) {
    match found {
        Ok(_) => assert_eq!(part, "", "accepted"),
        Err(error) => {
            let text = error.to_string();
            assert!(
                !part.is_empty() && text.contains(part),
                "`{part}` not in `{text}`"
            );
        }
    }
}

#[test]
fn a_key_is_made_once_and_reads_back() {
    let folder = Folder::new();
    let path = folder.path();
    check("there is no key file", read_key(&path));
    assert_eq!(create_key(&path, [7; 32]).unwrap().expose(), &[7; 32]);
    assert_eq!(read_key(&path).unwrap().expose(), &[7; 32]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    check("never overwritten", create_key(&path, [8; 32]));
    check("never overwritten", create_text(&path, "text"));
    assert_eq!(read_key(&path).unwrap().expose(), &[7; 32]);
    assert_eq!(
        fs::read_dir(folder.0.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn only_a_private_file_of_32_bytes_is_a_key() {
    let read = |length, mode| read_key(&Folder::with(&vec![7; length], mode).path());
    check("", read(32, 0o600));
    check("", read(32, 0o400));
    check("has 31 bytes", read(31, 0o600));
    check("has 33 bytes", read(33, 0o600));
    check("has 5000 bytes", read(5000, 0o600));
    check("has 0 bytes", read(0, 0o600));
    for mode in [0o640, 0o604, 0o620, 0o601, 0o644, 0o777] {
        check(&format!("has mode {mode:03o}"), read(32, mode));
    }
}

#[test]
fn nothing_but_a_regular_file_is_read() {
    let folder = Folder::with(&[7; 32], 0o600);
    let link = folder.0.path().join("link");
    symlink(folder.path(), &link).unwrap();
    check("not a regular file", read_key(&link));
    check("not a regular file", read_key(folder.0.path()));
    let pipe = folder.0.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    check("not a regular file", read_key(&pipe));
    check("never overwritten", create_key(&link, [8; 32]));
}

#[test]
fn text_ends_at_its_maximum() {
    let folder = Folder::new();
    check(
        "",
        create_text(&folder.path(), &"k".repeat(KEY_TEXT_BYTES_MAX)),
    );
    assert_eq!(read_text(&folder.path()).unwrap().len(), KEY_TEXT_BYTES_MAX);
    let long = "k".repeat(KEY_TEXT_BYTES_MAX + 1);
    check(
        "not text of at most",
        create_text(&Folder::new().path(), &long),
    );
    check(
        "not text of at most",
        read_text(&Folder::with(long.as_bytes(), 0o600).path()),
    );
    check(
        "not text of at most",
        read_text(&Folder::with(b"\xff", 0o600).path()),
    );
    check(
        "has mode 644",
        read_text(&Folder::with(b"text", 0o644).path()),
    );
}

#[test]
fn what_a_crash_left_is_never_taken_for_a_key() {
    let folder = Folder::new();
    fs::write(beside(&folder.path()), [7; 5]).unwrap();
    check("key.unfinished", create_key(&folder.path(), [8; 32]));
    check("there is no key file", read_key(&folder.path()));
    check(
        "can't be made",
        create_key(Path::new("/proc/nowhere/key"), [8; 32]),
    );
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(format!("{:?}", SecretKey::new([7; 32])), "SecretKey(..)");
}
