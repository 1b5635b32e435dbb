//! Addresses that strangers name: which are good, and what host each is at.

use ambit_core::limits::CLIENT_BYTES_MAX;
use http::Uri;

/// An `https` address that a stranger named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    host: String,
    port: Option<u16>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What it does or has that none may.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > CLIENT_BYTES_MAX || !text.bytes().all(|it| it.is_ascii_graphic()) {
            return Err("is too long, or has characters that no address has");
        }
        if !text.starts_with("https://") {
            return Err("does not begin with https://");
        }
        let uri: Uri = text.parse().map_err(|_| "is no address")?;
        let authority = uri.authority().map_or("", |it| it.as_str());
        let host = uri.host().unwrap_or_default().trim_end_matches('.');
        if host.is_empty() || authority.contains('@') {
            return Err("has a user, or no host");
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().filter(|it| *it != HTTPS_PORT),
        })
    }

    /// Returns its host, written in the one way, with its port where that is another than the usual one.
    pub(super) fn host(&self) -> String {
        match self.port {
            None => self.host.clone(),
            Some(port) => format!("{}:{port}", self.host),
        }
    }
}

const HTTPS_PORT: u16 = 443;

/// Says whether a name is the address of a document: `https`, a host and a path, written in the one way.
pub(in crate::oauth) fn check_address(client_id: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        format!(
            "client_id {what}; a client that describes itself is named by its document, such as \
             https://app.example/client.json"
        )
    };
    Address::parse(client_id).map_err(wrong)?;
    let rest = client_id.strip_prefix("https://").unwrap_or_default();
    let Some((authority, path)) = rest.split_once('/') else {
        return Err(wrong("has no path"));
    };
    if authority.bytes().any(|it| it.is_ascii_uppercase()) {
        return Err(wrong("has a host with capitals"));
    }
    let is_relative = |it: &str| {
        let it = it.to_ascii_lowercase().replace("%2e", ".");
        it == "." || it == ".."
    };
    if path.is_empty() || path.contains(['#', '\\']) || path.split('/').any(is_relative) {
        return Err(wrong("has no path, a fragment, or steps such as `..`"));
    }
    Ok(())
}

/// Returns the host of an address, as [`Address::host`] does.
pub(in crate::oauth) fn host(url: &str) -> String {
    Address::parse(url).map_or_else(|_| String::new(), |it| it.host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_in_one_way() {
        let check = |url: &str, expected: Result<&str, &str>| {
            let host = Address::parse(url).map(|it| it.host());
            match (&host, expected) {
                (Ok(host), Ok(expected)) => assert_eq!(host, expected, "{url}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{url}: {why}"),
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{url}: {host:?}"),
            }
        };
        for url in [
            "https://keys.example/set",
            "https://KEYS.example/set",
            "https://keys.example./set",
            "https://keys.example:443/",
            "https://Keys.Example.:443",
        ] {
            check(url, Ok("keys.example"));
        }
        check("https://keys.example:8443/set", Ok("keys.example:8443"));
        check("https://[2001:DB8::1]/set", Ok("[2001:db8::1]"));
        check("http://keys.example/set", Err("https://"));
        check("HTTPS://keys.example/set", Err("https://"));
        check("https://a@keys.example/set", Err("user"));
        check("https://./set", Err("no host"));
        check("https:///set", Err(""));
        let long = |bytes: usize| {
            let begin = "https://keys.example/";
            format!("{begin}{}", "x".repeat(bytes - begin.len()))
        };
        check(&long(CLIENT_BYTES_MAX), Ok("keys.example"));
        check(&long(CLIENT_BYTES_MAX + 1), Err("too long"));
    }
}
