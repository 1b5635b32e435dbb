//! `[outbound]` of `ambit.toml`: how far Ambit itself reaches when it fetches what a document of others names.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;

/// The most inner networks that are named, for the estate's addresses and for clients' documents.
pub(crate) const INNER_NETWORKS_MAX: usize = 16;
/// The most ports that are named.
const CLIENT_DOCUMENT_PORTS_MAX: usize = 16;
/// The port of `https`.
const HTTPS_PORT: u16 = 443;
/// The longest file of roots, in bytes.
const ROOTS_BYTES_MAX: u64 = 1024 * 1024;

/// How far Ambit reaches.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutboundConfig {
    /// Networks that are not of the public internet and may be fetched from all the same, such as `10.1.0.0/16`, where the
    /// estate or what it believes names the address. Whoever operates this machine says so; no estate can.
    pub(crate) inner_networks: Vec<Network>,
    /// Such networks for the addresses that strangers name: of documents by which clients describe themselves, and of
    /// their keys.
    pub(crate) client_document_networks: Vec<Network>,
    /// The ports at which those addresses are asked.
    pub(crate) client_document_ports: Vec<u16>,
    /// Certificates (PEM) that are trusted besides this machine's.
    pub(crate) roots: Option<PathBuf>,
}

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(crate) struct Network {
    bits: u128,
    prefix: u32,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            inner_networks: Vec::new(),
            client_document_networks: Vec::new(),
            client_document_ports: vec![HTTPS_PORT],
            roots: None,
        }
    }
}

impl OutboundConfig {
    /// Says whether the parts are bounded, or what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, networks) in [
            ("inner_networks", &self.inner_networks),
            ("client_document_networks", &self.client_document_networks),
        ] {
            let count = networks.len();
            if count > INNER_NETWORKS_MAX {
                return Err(format!(
                    "outbound.{name} has {count} networks; write {INNER_NETWORKS_MAX} at most"
                ));
            }
        }
        let ports = &self.client_document_ports;
        if !(1..=CLIENT_DOCUMENT_PORTS_MAX).contains(&ports.len()) || ports.contains(&0) {
            return Err(format!(
                "outbound.client_document_ports must be 1 to {CLIENT_DOCUMENT_PORTS_MAX} ports; leave it out for {HTTPS_PORT} \
                 alone"
            ));
        }
        Ok(())
    }

    /// Returns the certificates that are trusted besides this machine's.
    pub(crate) fn read_roots(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(path) = &self.roots else {
            return Ok(Vec::new());
        };
        let wrong = |what: String| format!("outbound.roots {}: {what}", path.display());
        let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if length.len() > ROOTS_BYTES_MAX {
            return Err(wrong(format!("it has more than {ROOTS_BYTES_MAX} bytes")));
        }
        let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let all = all.map_err(|error| wrong(error.to_string()))?;
        if all.is_empty() {
            return Err(wrong("it has no certificate".to_owned()));
        }
        Ok(all)
    }
}

impl Network {
    /// Says whether `address` lies in it.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        (wide(address) ^ self.bits)
            .checked_shr(128 - self.prefix)
            .unwrap_or(0)
            == 0
    }
}

/// IPv4 lies within IPv6 as `::ffff:0:0/96` (RFC 4291 §2.5.5.2), so that there is one comparison.
fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits(),
        IpAddr::V6(it) => Ipv6Addr::to_bits(it),
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network; write it as \"10.1.0.0/16\"");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        let (longest, before) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        if prefix == 0 || prefix > longest {
            return Err(wrong());
        }
        let network = Self {
            bits: wide(address),
            prefix: prefix + before,
        };
        let host = network.bits.checked_shl(network.prefix).unwrap_or(0);
        if host != 0 {
            return Err(format!(
                "`{text}` has bits beyond its prefix; write the network's first address"
            ));
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_first_address_and_a_prefix() {
        let check = |text: &str, inside: &[&str], outside: &[&str]| {
            let network = Network::try_from(text.to_owned()).unwrap();
            for it in inside {
                assert!(network.contains(it.parse().unwrap()), "{text} {it}");
            }
            for it in outside {
                assert!(!network.contains(it.parse().unwrap()), "{text} {it}");
            }
        };
        check(
            "10.1.0.0/16",
            &["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"],
            &["10.2.0.0", "10.0.255.255", "::1", "::10.1.0.1"],
        );
        check("127.0.0.1/32", &["127.0.0.1"], &["127.0.0.2", "::1"]);
        check("fd00::/8", &["fd12::1"], &["fc00::1", "10.0.0.1"]);
        check("::1/128", &["::1"], &["::2", "127.0.0.1"]);
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "a/8",
            "10.0.0.0/+8x",
        ] {
            assert!(Network::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_few_and_roots_are_certificates() {
        let usual = OutboundConfig::default;
        let networks = |count| vec![Network::try_from("::1/128".to_owned()).unwrap(); count];
        let inner = |count| OutboundConfig {
            inner_networks: networks(count),
            ..usual()
        };
        let of_clients = |count| OutboundConfig {
            client_document_networks: networks(count),
            ..usual()
        };
        let at = |client_document_ports| OutboundConfig {
            client_document_ports,
            ..usual()
        };
        for good in [
            usual(),
            inner(INNER_NETWORKS_MAX),
            of_clients(INNER_NETWORKS_MAX),
            at(vec![8443; CLIENT_DOCUMENT_PORTS_MAX]),
        ] {
            assert_eq!(good.check(), Ok(()));
        }
        for (bad, part) in [
            (inner(INNER_NETWORKS_MAX + 1), "outbound.inner_networks"),
            (
                of_clients(INNER_NETWORKS_MAX + 1),
                "client_document_networks",
            ),
            (
                at(vec![8443; CLIENT_DOCUMENT_PORTS_MAX + 1]),
                "1 to 16 ports",
            ),
            (at(Vec::new()), "1 to 16 ports"),
            (at(vec![0]), "1 to 16 ports"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roots.pem");
        let config = OutboundConfig {
            roots: Some(path.clone()),
            ..usual()
        };
        let check = |bytes: Option<Vec<u8>>, part: &str| {
            if let Some(bytes) = bytes {
                fs::write(&path, bytes).unwrap();
            }
            let error = config.read_roots().unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(None, "No such file");
        check(Some(b"nothing".to_vec()), "no certificate");
        let most = usize::try_from(ROOTS_BYTES_MAX).unwrap();
        check(Some(vec![b'\n'; most]), "no certificate");
        check(Some(vec![b'\n'; most + 1]), "more than");
        assert_eq!(OutboundConfig::default().read_roots(), Ok(Vec::new()));
    }
}
