//! The files of the repository, read once.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;

/// One text file: its path from the root and its text.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// The crate that the file belongs to: `ambit-core`, `xtask`, `ambit-fuzz`, `judges`, or nothing.
    pub(super) fn room(&self) -> Option<&str> {
        let mut parts = self.path.split('/');
        match parts.next()? {
            "crates" => parts.next(),
            "xtask" => Some("xtask"),
            "fuzz" => Some("ambit-fuzz"),
            "judges" => Some("judges"),
            _ => None,
        }
    }

    /// Whether the file is Rust source.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The part of the file that only tests compile.
    pub(super) fn test_code(&self) -> &str {
        if !self.is_rust() {
            return "";
        }
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let directories = self.path.strip_suffix(name).unwrap_or_default();
        if directories.contains("/tests/") || name == "tests.rs" || name.ends_with("_tests.rs") {
            return &self.text;
        }
        self.text
            .split_once("#[cfg(test)]")
            .map_or("", |(_, tests)| tests)
    }
}

/// All text files that git tracks or would track.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads the tree under `root`; files that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When git can't list the files or one can't be read.
    pub(super) fn read(root: &Path) -> Result<Self, Failure> {
        let mut git = Command::new("git");
        git.current_dir(root)
            .args(["ls-files", "-z", "--cached", "--others"]);
        git.arg("--exclude-standard");
        let output = git.output().map_err(|source| Failure::Start {
            program: "git".to_owned(),
            source,
        })?;
        if !output.status.success() {
            let command = "git ls-files".to_owned();
            return Err(Failure::Exit {
                command,
                status: output.status,
            });
        }
        let mut files = Vec::new();
        for path in String::from_utf8_lossy(&output.stdout).split('\0') {
            if path.is_empty() || !root.join(path).is_file() {
                continue;
            }
            match fs::read_to_string(root.join(path)) {
                Ok(text) => files.push(File {
                    path: path.to_owned(),
                    text,
                }),
                Err(error) if error.kind() == ErrorKind::InvalidData => {}
                Err(source) => {
                    let path = root.join(path);
                    return Err(Failure::File {
                        attempt: "read",
                        path,
                        source,
                    });
                }
            }
        }
        Ok(Self { files })
    }

    /// A tree of the given files, for tests.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.into(),
            text: text.into(),
        };
        Self {
            files: files.iter().map(file).collect(),
        }
    }

    /// Every file.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// The text of one file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    }
}
