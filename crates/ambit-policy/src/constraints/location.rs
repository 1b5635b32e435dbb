//! Paths and URLs under a prefix.

use fluent_uri::Uri;

/// The longest path or URL that is looked at, in bytes.
pub(crate) const LOCATION_BYTES_MAX: usize = 8192;

/// Says whether `text` is an absolute path that lies at or under `prefix`, also an absolute path.
pub fn path_is_under(text: &str, prefix: &str) -> bool {
    match (path_segments(text), path_segments(prefix)) {
        (Some(own), Some(prefix)) => own.starts_with(&prefix),
        (None, _) | (_, None) => false,
    }
}

/// Says whether `text` is a URL whose scheme, host and port equal those of `prefix` and whose path lies
/// at or under the path of `prefix`.
///
/// Only `http` and `https` (RFC 3986 syntax, ASCII). A query is free; a fragment and a user name are
/// refused, and so is a prefix with a query.
pub fn url_is_under(text: &str, prefix: &str) -> bool {
    match (Location::parse(text), Location::parse(prefix)) {
        (Some(own), Some(prefix)) => {
            own.scheme == prefix.scheme
                && own.host == prefix.host
                && own.port == prefix.port
                && prefix.query == Query::Absent
                && own.segments.starts_with(&prefix.segments)
        }
        (None, _) | (_, None) => false,
    }
}

/// Says whether `text` is an `https` URL in the form that [`url_is_under`] takes.
pub(crate) fn is_https_url(text: &str) -> bool {
    Location::parse(text).is_some_and(|it| it.scheme == "https")
}

struct Location {
    scheme: String,
    host: String,
    port: u16,
    segments: Vec<String>,
    query: Query,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Query {
    Absent,
    Present,
}

impl Location {
    fn parse(text: &str) -> Option<Self> {
        if text.len() > LOCATION_BYTES_MAX || !text.bytes().all(|it| it.is_ascii_graphic()) {
            return None;
        }
        let uri = Uri::parse(text).ok()?;
        let authority = uri.authority()?;
        if authority.has_userinfo() || uri.fragment().is_some() {
            return None;
        }
        let scheme = uri.scheme().as_str().to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = authority.host().to_ascii_lowercase();
        // A percent sign in a host and a dot at its end have more than one reading.
        if host.is_empty() || host.contains('%') || host.ends_with('.') {
            return None;
        }
        let path = uri.path().as_str();
        if !has_plain_escapes(path) || !uri.query().is_none_or(|it| has_no_controls(it.as_str())) {
            return None;
        }
        Some(Self {
            scheme,
            host,
            port: authority.port_to_u16().ok()?.unwrap_or(usual),
            segments: match path {
                "" => Vec::new(),
                path => segments(path)?,
            },
            query: match uri.query() {
                Some(_) => Query::Present,
                None => Query::Absent,
            },
        })
    }
}

fn path_segments(text: &str) -> Option<Vec<String>> {
    let plain = text.len() <= LOCATION_BYTES_MAX
        && !text.contains(is_treacherous)
        && has_plain_escapes(text);
    if plain { segments(text) } else { None }
}

/// Takes `/a/b` apart. One slash at the end is the same place; an empty or dot segment is none.
fn segments(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return if path == "/" { Some(Vec::new()) } else { None };
    }
    let plain = |segment: &str| {
        // Some servers cut a segment at `;` before they look for dots.
        let name = segment.split(';').next().unwrap_or_default().trim();
        !segment.is_empty() && !name.is_empty() && name != "." && name != ".."
    };
    let all: Vec<&str> = inner.split('/').collect();
    all.iter()
        .all(|it| plain(it))
        .then(|| all.into_iter().map(str::to_owned).collect())
}

/// Says whether no percent escape hides a separator, a dot, a percent sign or anything treacherous: a
/// reader that decodes once more than another would see a different place.
fn has_plain_escapes(text: &str) -> bool {
    let plain = escapes(text).all(|byte| {
        !byte.is_ascii_control() && !matches!(byte, b'/' | b'\\' | b'.' | b'%' | b'?' | b'#' | b';')
    });
    plain && !decoded(text).is_none_or(|it| it.contains(is_treacherous))
}

/// Returns the text with its escapes decoded once; none when that is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(window) = rest.as_slice().get(..3) {
        let hidden = escaped(window);
        bytes.extend(hidden.or_else(|| window.first().copied()));
        // An escape is three bytes, anything else is one.
        rest.nth(if hidden.is_some() { 2 } else { 0 });
    }
    bytes.extend(rest);
    String::from_utf8(bytes).ok()
}

fn has_no_controls(query: &str) -> bool {
    escapes(query).all(|byte| !byte.is_ascii_control())
}

fn escapes(text: &str) -> impl Iterator<Item = u8> {
    text.as_bytes().windows(3).filter_map(escaped)
}

fn escaped(window: &[u8]) -> Option<u8> {
    let [b'%', high, low] = window else {
        return None;
    };
    let digit = |it: &u8| char::from(*it).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Says whether a character changes how a path reads: separators of other systems, control and
/// invisible characters, and characters that compatibility normalisation (NFKC) turns into dots or
/// slashes.
fn is_treacherous(character: char) -> bool {
    matches!(
        character,
        '\\' | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2024}'..='\u{2026}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2044}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}'
            | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}'
            | '\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{fe68}'
            | '\u{feff}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}' | '\u{fff9}'..='\u{fffb}'
    ) || character.is_control()
}
