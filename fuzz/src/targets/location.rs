//! Paths and URLs under a prefix: what is said to lie there lies there for every other reader too.
//!
//! The input is the location in one line, then the prefix.

use ambit_policy::{path_is_under, url_is_under};

use crate::{Target, halves};

pub(super) const TARGET: Target = Target {
    name: "location",
    run,
    seeds,
    words: &[
        "https://api.example.com/",
        "/files/a",
        "/../",
        "/./",
        "//",
        "%2e%2e",
        "%252e",
        "%2f",
        "\\",
        "..;/",
        ":443",
        "user@",
        "?q=1",
        "#f",
        "\u{2024}\u{2024}",
        "\u{ff0f}",
        "%c0%ae",
    ],
};

fn run(bytes: &[u8]) {
    let Some((text, prefix)) = halves(bytes) else {
        return;
    };
    if path_is_under(text, prefix) {
        assert!(is_within(text, prefix), "`{text}` is not under `{prefix}`");
        is_treacherous(text, text);
    }
    if url_is_under(text, prefix) {
        let (own, bound) = (Place::of(text), Place::of(prefix));
        assert_eq!(own.authority, bound.authority, "`{text}` leaves `{prefix}`");
        assert!(
            is_within(&own.path, &bound.path),
            "`{text}` is not under `{prefix}`"
        );
        is_treacherous(&own.path, text);
        assert!(text.is_ascii() && !own.authority.contains('@'), "{text}");
    }
}

/// A URL taken apart by hand, as the simplest reader would.
struct Place {
    authority: String,
    path: String,
}

impl Place {
    fn of(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let scheme = scheme.to_ascii_lowercase();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).expect("a boundary");
        let authority = authority.to_ascii_lowercase();
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let bare = authority.strip_suffix(usual).unwrap_or(&authority);
        let bare = bare.strip_suffix(':').unwrap_or(bare);
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        Self {
            authority: format!("{scheme}://{bare}"),
            path: path.to_owned(),
        }
    }
}

/// Whether `path` is `prefix`, or goes on after a slash.
fn is_within(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
}

/// Looks for ways out that some reader would take, after decoding escapes up to three times.
fn is_treacherous(path: &str, whole: &str) {
    let mut seen = path.to_owned();
    for _ in 0..3 {
        let names = seen
            .split(['/', '\\'])
            .map(|it| it.split(';').next().unwrap_or_default());
        for name in names {
            assert!(!matches!(name, "." | ".."), "`{whole}` climbs");
        }
        assert!(!seen.contains(['\\', '\0']), "`{whole}` hides a separator");
        seen = decoded(&seen);
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hidden = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let hidden = hidden.and_then(|it| std::str::from_utf8(it).ok());
        let hidden = hidden.and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.push(hidden.unwrap_or(*first));
        rest = if hidden.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "/files/a/b\n/files",
        "/files/../etc\n/files",
        "/files/%2e%2e/etc\n/files",
        "/files/a;x/b/\n/files/",
        "https://api.example.com/v1/users?q=1\nhttps://api.example.com/v1",
        "HTTPS://API.example.com:443/v1/\nhttps://api.example.com/v1",
        "http://[::1]:80/\nhttp://[::1]",
        "https://api.example.com@evil.example/v1\nhttps://api.example.com/v1",
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}
