//! Archives of estates: an archive that is read is written again byte for byte.

use ambit_control::estate::EstateFiles;

use super::estate::FILES;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "archive",
    run,
    seeds,
    words: &[
        "\"ambit_estate\":1",
        "\"files\":{",
        "agents/",
        ".toml\":\"",
        "../",
        "\\u0000",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(files) = EstateFiles::from_archive(bytes) else {
        return;
    };
    let archive = files.archive();
    let again = EstateFiles::from_archive(&archive).expect("an archive reads back");
    assert_eq!(again.archive(), archive, "not a fixed point");
}

fn seeds() -> Vec<Vec<u8>> {
    let few = FILES.iter().take(2).copied();
    let whole = EstateFiles::from_texts(few).unwrap_or_default();
    vec![whole.archive(), EstateFiles::default().archive()]
}
