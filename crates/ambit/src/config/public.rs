//! `[public]` of `ambit.toml`: the port for anybody, and the URL by which others name it.

use std::{net::SocketAddr, path::PathBuf};

use http::Uri;
use serde::Deserialize;

/// The public port.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublicConfig {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// How others name it, such as `https://ambit.example.org`. On loopback it may be left out.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// Certificates for the url's host (PEM, leaf first). Without them the trust domain's own authority signs one.
    #[serde(default)]
    pub(crate) certificate: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
    /// Whether anybody may read checkpoint and hash tiles.
    #[serde(default = "yes")]
    pub(crate) log: bool,
    /// Whether anybody may read the records too.
    #[serde(default)]
    pub(crate) entries: bool,
    /// Whom it serves; no file says that.
    #[serde(skip, default = "anybody")]
    pub(crate) guests: Guests,
}

/// Whom the public port serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guests {
    /// Whoever reaches it.
    Anybody,
    /// Processes of the local user who runs the server, on both loopbacks, whichever a browser takes for `localhost`.
    /// Browsers send cookies of `localhost` to every port of the machine, so others must have no use for them.
    ThisUser,
}

const fn yes() -> bool {
    true
}

const fn anybody() -> Guests {
    Guests::Anybody
}

/// A public URL: scheme, host and port, and nothing else, as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicUrl {
    text: String,
    host: String,
    scheme: Scheme,
}

/// How the public port is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    /// Without TLS, on loopback only.
    Http,
    /// With TLS.
    Https,
}

impl PublicConfig {
    /// Returns a port of `localhost` for a server of one user, without TLS: `port`, or with 0 one that is free.
    ///
    /// Browsers trust `localhost` as they trust https (Secure Contexts §3.1), and passkeys can be bound to that name.
    pub(crate) fn of_this_user(port: u16) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            url: None,
            certificate: None,
            key: None,
            log: true,
            entries: false,
            guests: Guests::ThisUser,
        }
    }

    /// Says whether the parts fit together, or what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err(
                "public.certificate and public.key belong together; write both, or none to have Ambit's own \
                 authority sign a certificate"
                    .to_owned(),
            );
        }
        if self.entries && !self.log {
            return Err(
                "public.entries serves records of the log, and public.log is false; leave one out"
                    .to_owned(),
            );
        }
        let url = self.url_at(self.listen)?;
        if url.scheme == Scheme::Http && self.certificate.is_some() {
            return Err(
                "public.certificate is for TLS, and public.url begins with http://; write https://"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Returns the URL of a port that listens at `address`.
    pub(crate) fn url_at(&self, address: SocketAddr) -> Result<PublicUrl, String> {
        if self.guests == Guests::ThisUser {
            return PublicUrl::parse(&format!("http://localhost:{}", address.port()));
        }
        let Some(text) = &self.url else {
            if !address.ip().is_loopback() {
                return Err(format!(
                    "public.url is missing; write how others reach {address}, such as \"https://ambit.example.org\""
                ));
            }
            let scheme = if self.certificate.is_some() {
                "https"
            } else {
                "http"
            };
            return PublicUrl::parse(&format!("{scheme}://{address}"));
        };
        let url = PublicUrl::parse(text)?;
        if url.scheme == Scheme::Http && !address.ip().is_loopback() {
            return Err(format!(
                "public.url may begin with http:// only where public.listen is a loopback address, and it is {address}; \
                 write https://"
            ));
        }
        Ok(url)
    }
}

impl PublicUrl {
    /// Reads the URL of the public port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::of_key("public.url", text)
    }

    /// Reads the URL that the configuration has under `key`.
    pub(crate) fn of_key(key: &str, text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            Err(format!(
                "{key} `{text}` {what}; write it as \"https://ambit.example.org\""
            ))
        };
        let Ok(uri) = text.parse::<Uri>() else {
            return wrong("is no URL");
        };
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return wrong("has no scheme https"),
        };
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return wrong("has no host");
        };
        // Others compare it byte for byte (RFC 8414 §3.3): there is one spelling.
        let word = if scheme == Scheme::Https {
            "https"
        } else {
            "http"
        };
        if text != format!("{word}://{}", authority.as_str().to_ascii_lowercase())
            || authority.as_str().contains('@')
            || host.is_empty()
        {
            return wrong(
                "has more than scheme, host and port, or capitals, or a slash at its end",
            );
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        let local = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|it| it.is_loopback());
        if scheme == Scheme::Http && !local {
            return wrong("begins with http:// and is not of this machine alone");
        }
        Ok(Self {
            text: text.to_owned(),
            host,
            scheme,
        })
    }

    /// Returns it as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host: a DNS name, or an IP address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, where it is written.
    pub(crate) fn port(&self) -> Option<u16> {
        self.text.rsplit_once(':')?.1.parse().ok()
    }

    /// Returns how the port is spoken to.
    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_spelling() {
        let check = |text: &str, wanted: Result<(&str, Scheme), &str>| match (
            PublicUrl::parse(text),
            wanted,
        ) {
            (Ok(url), Ok((host, scheme))) => {
                assert_eq!(
                    (url.as_str(), url.host(), url.scheme()),
                    (text, host, scheme)
                );
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (found, _) => panic!("{text}: {found:?}"),
        };
        check(
            "https://ambit.example.org",
            Ok(("ambit.example.org", Scheme::Https)),
        );
        check(
            "https://ambit.example.org:8443",
            Ok(("ambit.example.org", Scheme::Https)),
        );
        check("https://[::1]:1", Ok(("::1", Scheme::Https)));
        check("http://127.0.0.1:7422", Ok(("127.0.0.1", Scheme::Http)));
        check("http://localhost", Ok(("localhost", Scheme::Http)));
        check("http://ambit.example.org", Err("of this machine alone"));
        check("http://10.0.0.1", Err("of this machine alone"));
        check("https://ambit.example.org/", Err("a slash at its end"));
        check("https://Ambit.example.org", Err("capitals"));
        check("https://a@b.example", Err("more than"));
        check("https://b.example/x?y", Err("more than"));
        check("ftp://b.example", Err("scheme"));
        check("b.example", Err("scheme"));
        check("", Err("no URL"));
    }

    #[test]
    fn the_parts_fit_together() {
        let check = |text: &str, part: &str| {
            let config: Result<PublicConfig, _> = toml::from_str(text);
            let found = config
                .map_err(|it| it.to_string())
                .and_then(|it| it.check());
            let found = found.err().unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{text}: {found}"
            );
        };
        check("listen = '127.0.0.1:1'", "");
        check("listen = '127.0.0.1:1'\nurl = 'http://localhost:1'", "");
        check("listen = '127.0.0.1:1'\nurl = 'https://a.example'", "");
        check("listen = '0.0.0.0:1'", "public.url is missing");
        check(
            "listen = '0.0.0.0:1'\nurl = 'http://localhost:1'",
            "only where public.listen is a loopback",
        );
        check("listen = '0.0.0.0:1'\nurl = 'https://a.example'", "");
        check(
            "listen = '0.0.0.0:1'\nurl = 'https://a.example'\nkey = 'k'",
            "belong together",
        );
        check(
            "listen = '127.0.0.1:1'\nurl = 'http://localhost'\ncertificate = 'c'\nkey = 'k'",
            "is for TLS",
        );
        check(
            "listen = '127.0.0.1:1'\nlog = false\nentries = true",
            "leave one out",
        );
        check("listen = '127.0.0.1:1'\nports = 2", "unknown field");
        check("url = 'https://a.example'", "listen");
    }
}
