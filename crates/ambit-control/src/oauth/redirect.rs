//! Where a person is sent back to: an address of the client's, which it declared (RFC 6749 §3.1.2, RFC 8252).

use http::Uri;

/// The longest redirect address, in bytes.
pub const REDIRECT_BYTES_MAX: usize = 2048;

/// An address to which a person can be sent back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Redirect {
    /// As it is written.
    text: String,
    /// Its scheme, host and port as forms name them (CSP Level 3 `form-action`).
    origin: String,
    /// Its host, or for a program's own scheme that scheme.
    host: String,
    kind: Kind,
}

/// Who can be behind an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Whoever holds the host's certificate.
    Web,
    /// Any program of the person's own computer.
    Loopback,
    /// Any program of the person's own computer that registered the scheme.
    Program,
}

impl Redirect {
    /// Reads an address: `https`, `http` on the person's own computer, or a scheme that a program has for itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > REDIRECT_BYTES_MAX {
            return Err("is empty or too long");
        }
        if !text.bytes().all(|it| it.is_ascii_graphic())
            || text.contains(['#', '*', '\\', '"', '<'])
        {
            return Err("has a fragment, or characters that no address has");
        }
        let (scheme, rest) = text.split_once(':').ok_or("has no scheme")?;
        match scheme {
            "https" | "http" => Self::web(text),
            _ => Self::program(text, scheme, rest),
        }
    }

    fn web(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "is no URL")?;
        let authority = uri.authority().ok_or("has no host")?.as_str();
        let host = uri.host().ok_or("has no host")?;
        let scheme = uri.scheme_str().ok_or("has no scheme")?;
        if authority.contains('@') || !is_plain_host(host) {
            return Err("has a host or user of an unusual form");
        }
        let kind = match (scheme, is_loopback(host)) {
            ("https", _) => Kind::Web,
            ("http", true) => Kind::Loopback,
            _ => return Err("has no https, which only the person's own computer may leave out"),
        };
        // A form can name no address in brackets; its scheme is the next best.
        let origin = match host.starts_with('[') {
            true => format!("{scheme}:"),
            false => format!("{scheme}://{authority}"),
        };
        Ok(Self {
            text: text.to_owned(),
            origin,
            host: authority.to_owned(),
            kind,
        })
    }

    /// A program's own scheme is the reversed name of a domain (RFC 8252 §7.1): so it is no scheme of browsers.
    fn program(text: &str, scheme: &str, rest: &str) -> Result<Self, &'static str> {
        let is_word =
            |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"+-.".contains(&it);
        let begins = scheme
            .bytes()
            .next()
            .is_some_and(|it| it.is_ascii_lowercase());
        if !begins
            || !scheme.bytes().all(is_word)
            || !scheme.contains('.')
            || !rest.starts_with('/')
        {
            return Err("has a scheme that is neither https nor a domain's name reversed");
        }
        Ok(Self {
            text: text.to_owned(),
            origin: format!("{scheme}:"),
            host: scheme.to_owned(),
            kind: Kind::Program,
        })
    }

    /// Says whether a client that declared `declared` meant this address: letter by letter, but for the port on the
    /// person's own computer, which a program gets anew each time (RFC 8252 §7.3).
    pub(super) fn fits(&self, declared: &str) -> Fits {
        if self.text == declared {
            return Fits::Yes;
        }
        let other = match Self::parse(declared) {
            Ok(other) if other.kind == Kind::Loopback && self.kind == Kind::Loopback => other,
            Ok(_) | Err(_) => return Fits::No,
        };
        match self.without_port() == other.without_port() {
            true => Fits::Yes,
            false => Fits::No,
        }
    }

    /// Returns host, and what stands behind the port.
    fn without_port(&self) -> (&str, &str) {
        let rest = self.text.get("http://".len()..).unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            Some(_) | None => authority,
        };
        (host, path)
    }

    /// Returns the address as it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns what a form must be allowed to lead to.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the host with its port, or the program's scheme.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns who can be behind it.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }
}

/// Whether an address is one that a client declared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fits {
    /// It is.
    Yes,
    /// It is not.
    No,
}

fn is_plain_host(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Some(address) = inside {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b".-".contains(&it))
}

fn is_loopback(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_sent_back_to_fit_addresses_alone() {
        let check = |text: &str, expect: Result<(Kind, &str, &str), &str>| {
            let found = Redirect::parse(text);
            match (&found, expect) {
                (Ok(found), Ok((kind, host, origin))) => {
                    assert_eq!(
                        (found.kind, found.host(), found.origin()),
                        (kind, host, origin)
                    );
                }
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                _ => panic!("{text}: {found:?}"),
            }
        };
        let web = Kind::Web;
        check(
            "https://app.example/cb?x=1",
            Ok((web, "app.example", "https://app.example")),
        );
        check(
            "https://app.example:8443/",
            Ok((web, "app.example:8443", "https://app.example:8443")),
        );
        let loopback = Kind::Loopback;
        check(
            "http://127.0.0.1:9/cb",
            Ok((loopback, "127.0.0.1:9", "http://127.0.0.1:9")),
        );
        check(
            "http://localhost/cb",
            Ok((loopback, "localhost", "http://localhost")),
        );
        check("http://[::1]:9/cb", Ok((loopback, "[::1]:9", "http:")));
        let program = Kind::Program;
        check(
            "com.example.app:/cb",
            Ok((program, "com.example.app", "com.example.app:")),
        );
        check("http://app.example/cb", Err("no https"));
        check("http://10.0.0.1/cb", Err("no https"));
        check("http://127.0.0.2/cb", Err("no https"));
        check("http://localhost.example/", Err("no https"));
        check("javascript:alert(1)", Err("neither https"));
        check("data:text/html,x", Err("neither https"));
        check("file:///etc/passwd", Err("neither https"));
        check("myapp://cb", Err("neither https"));
        check("Com.Example.app:/cb", Err("neither https"));
        check("com.example.app:", Err("neither https"));
        check("com.example.app:cb", Err("neither https"));
        check("https://*.example/cb", Err("fragment"));
        check("https://user@app.example/", Err("unusual"));
        check("https://a;script-src.example/", Err("unusual"));
        check("https://app.example/#x", Err("fragment"));
        check("https://app.example\\@evil.example/", Err("fragment"));
        check("https://app.example/ x", Err("fragment"));
        check("https://app.example/\u{e9}", Err("fragment"));
        check("https:///cb", Err("no URL"));
        check("nothing", Err("no scheme"));
        check("", Err("empty"));
        let longest = format!("https://a.example/{}", "a".repeat(REDIRECT_BYTES_MAX - 18));
        assert_eq!(longest.len(), REDIRECT_BYTES_MAX);
        check(&longest, Ok((web, "a.example", "https://a.example")));
        check(&format!("{longest}a"), Err("too long"));
    }

    #[test]
    fn only_the_port_of_ones_own_computer_may_differ() {
        let check = |declared: &str, asked: &str, expect: Fits| {
            let redirect = Redirect::parse(asked).unwrap();
            assert_eq!(redirect.fits(declared), expect, "{declared} {asked}");
        };
        let (yes, no) = (Fits::Yes, Fits::No);
        check("https://a.example/cb", "https://a.example/cb", yes);
        check("https://a.example/cb", "https://a.example/cb/", no);
        check("https://a.example/cb", "https://a.example:444/cb", no);
        check("https://a.example/cb", "https://A.example/cb", no);
        check("https://a.example/cb", "https://a.example/cb?x", no);
        check("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb", yes);
        check("http://127.0.0.1:1/cb", "http://127.0.0.1:4711/cb", yes);
        check("http://[::1]/cb?x", "http://[::1]:4711/cb?x", yes);
        check("http://localhost/cb", "http://localhost:4711/cb", yes);
        check("http://localhost/cb", "http://127.0.0.1:4711/cb", no);
        check("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb2", no);
        check("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb?x", no);
        check("http://127.0.0.1", "http://127.0.0.1:4711", yes);
        check("http://127.0.0.1/cb", "https://127.0.0.1:4711/cb", no);
        check("com.example.app:/cb", "com.example.app:/cb", yes);
        check("com.example.app:/cb", "com.example.app:/cb2", no);
    }
}
