//! What a server's files take, and what is left for them.

use std::{fs, sync::Arc};

use ambit_control::api::{MeasureStorage, Storage};
use rustix::fs::statvfs;

use crate::config::StateDirectory;

/// Returns what looks at the files in `state`. What can't be looked at counts as nothing.
pub(super) fn measure(state: &StateDirectory) -> MeasureStorage {
    let state = state.clone();
    Arc::new(move || Storage {
        database_bytes: database_bytes(&state),
        free_bytes: statvfs(state.root()).map_or(0, |it| it.f_bavail.saturating_mul(it.f_frsize)),
    })
}

/// Returns the bytes of the database and of all files whose names begin with its name: its journal, its reserve.
fn database_bytes(state: &StateDirectory) -> u64 {
    let database = state.database();
    let name = database
        .file_name()
        .map(|it| it.as_encoded_bytes().to_vec());
    let name = name.unwrap_or_default();
    let found = fs::read_dir(state.root()).into_iter().flatten().flatten();
    let of_it = found.filter(|it| it.file_name().as_encoded_bytes().starts_with(&name));
    of_it.filter_map(|it| Some(it.metadata().ok()?.len())).sum()
}
