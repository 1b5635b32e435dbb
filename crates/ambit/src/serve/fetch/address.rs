//! Where a request goes: the parts of its URL, and the addresses of its host as far as they may be reached.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use http::Uri;
use tokio::net::{TcpStream, lookup_host};

use super::{FetchError, Reach};
use crate::config::{Network, OutboundConfig};

/// The most addresses of one host that are tried.
const ADDRESSES_TRIED_MAX: usize = 4;

/// A URL, taken apart once.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) uri: Uri,
    /// A DNS name, or an IP address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) scheme: Scheme,
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scheme {
    Plain,
    Tls,
}

impl Target {
    /// Takes `url` apart: without user, with a host, and `https` unless `reach` lets it stay on this machine.
    pub(super) fn parse(url: &str, reach: Reach) -> Result<Self, FetchError> {
        let wrong = || FetchError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let scheme = match (uri.scheme_str(), reach) {
            (Some("https"), _) => Scheme::Tls,
            (Some("http"), Reach::Named) => Scheme::Plain,
            _ => return Err(wrong()),
        };
        let usual = if scheme == Scheme::Tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(usual);
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self {
            uri,
            host,
            port,
            scheme,
        })
    }

    /// Looks the host up, once: what was looked at is what is connected to. One address that may not be reached
    /// refuses all of them.
    pub(super) async fn addresses(
        &self,
        reach: Reach,
        bounds: &OutboundConfig,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        if reach == Reach::Stranger && !bounds.client_document_ports.contains(&self.port) {
            return Err(FetchError::Port(self.uri.to_string()));
        }
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(FetchError::Unreachable)?.collect();
        if found.is_empty() {
            return Err(FetchError::NoHost(self.host.clone()));
        }
        for address in found.iter().map(SocketAddr::ip) {
            // Without TLS nothing leaves this machine.
            if self.scheme == Scheme::Plain && !address.is_loopback() {
                return Err(FetchError::Address(self.uri.to_string()));
            }
            let Some((networks, name)) = reach.inner(bounds) else {
                continue;
            };
            let named = networks.iter().any(|it| it.contains(address));
            if !named && realm(address) == Realm::Inner {
                return Err(FetchError::NotPublic(self.host.clone(), address, name));
            }
        }
        Ok(found)
    }
}

impl Reach {
    /// Returns the networks that it reaches though they are not public, with the key that names them; none when it reaches
    /// all.
    fn inner(self, bounds: &OutboundConfig) -> Option<(&[Network], &'static str)> {
        match self {
            Self::Named => None,
            Self::Estate => Some((&bounds.inner_networks, "inner_networks")),
            Self::Stranger => Some((&bounds.client_document_networks, "client_document_networks")),
        }
    }
}

/// Connects to the first address that answers.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(ADDRESSES_TRIED_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether an address is of the public internet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Realm {
    Public,
    Inner,
}

/// Says what an address is, by the IANA registries of special-purpose addresses (RFC 6890): what is not surely public
/// is not.
fn realm(address: IpAddr) -> Realm {
    match address {
        IpAddr::V4(it) => realm_v4(it),
        IpAddr::V6(it) => realm_v6(it),
    }
}

const fn realm_v4(address: Ipv4Addr) -> Realm {
    let [a, b, c, _] = address.octets();
    let inner = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    if inner { Realm::Inner } else { Realm::Public }
}

const fn realm_v6(address: Ipv6Addr) -> Realm {
    // Mapped, translated and tunnelled IPv4 lies outside of 2000::/3 or below 2001::/23 and 2002::/16.
    let [a, b, ..] = address.segments();
    match (a, b) {
        (0x2001, 0..=0x01ff | 0x0db8) | (0x2002 | 0x3ffe, _) => Realm::Inner,
        (0x3fff, 0..=0x0fff) => Realm::Inner,
        (0x2000..=0x3fff, _) => Realm::Public,
        _ => Realm::Inner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_surely_public_is_not() {
        let check = |text: &str, expect| assert_eq!(realm(text.parse().unwrap()), expect, "{text}");
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "223.255.255.255",
            "2606:4700::1",
        ] {
            check(text, Realm::Public);
        }
        let inner = "0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 \
                     192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.9 224.0.0.1 255.255.255.255 :: ::1 ::ffff:10.0.0.1 \
                     ::ffff:8.8.8.8 64:ff9b::a00:1 2001::1 2001:db8::1 2002:a00:1:: fc00::1 fd12::1 fe80::1 ff02::1 3fff::1";
        for text in inner.split_whitespace() {
            check(text, Realm::Inner);
        }
    }
}
