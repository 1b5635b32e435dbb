//! Where a stranger comes from, as far as places are shared out by it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whose share of what strangers may take: one IPv4 address, or one IPv6 network of 64 bits, because whoever has an address
/// of it has all of them.
///
/// A request from this machine has no share: it comes from a proxy, behind which everybody is, or from somebody with better
/// ways to do harm.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// This machine.
    Here,
    /// An IPv4 address.
    Address(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    Network(u64),
}

impl Origin {
    /// Returns the origin of who connects from `peer`.
    pub fn of(peer: SocketAddr) -> Self {
        match peer.ip().to_canonical() {
            address if address.is_loopback() => Self::Here,
            IpAddr::V4(address) => Self::Address(address),
            IpAddr::V6(address) => {
                let [first, second, third, fourth, ..] = address.segments();
                let high = [first, second, third, fourth];
                Self::Network(high.iter().fold(0, |sum, it| sum << 16 | u64::from(*it)))
            }
        }
    }

    /// Returns the origin of whoever nobody knows anything of: all of them share one.
    pub const fn unknown() -> Self {
        Self::Network(0)
    }

    /// Returns what is as good as one, where it is asked who has most: networks of one site (RFC 6177: 48 bits) are.
    pub const fn crowd(&self) -> Self {
        match *self {
            Self::Network(high) => Self::Network(high & !0xffff),
            Self::Here => Self::Here,
            Self::Address(address) => Self::Address(address),
        }
    }

    /// Returns how many of `all` places it may have, where others may have `share`.
    pub fn places(self, all: usize, share: usize) -> usize {
        match self {
            Self::Here => all,
            Self::Address(_) | Self::Network(_) => share.min(all),
        }
    }

    /// Says whether one more is too many, when `taken` of the places that it shares are taken by it.
    pub fn share(self, taken: usize, share: usize) -> Share {
        if self == Self::Here || taken < share {
            Share::Free
        } else {
            Share::Taken
        }
    }
}

/// Whether an origin has a place left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// It has.
    Free,
    /// Its share is taken.
    Taken,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Origin {
        Origin::of(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn an_address_of_a_network_is_as_good_as_another() {
        let cases = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("127.0.0.1", "127.9.9.9", true),
            ("127.0.0.1", "::1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
        ];
        for (one, other, same) in cases {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }

    #[test]
    fn networks_of_one_site_are_one_crowd() {
        let crowd = |address| of(address).crowd();
        assert_eq!(crowd("2001:db8:0:1::1"), crowd("2001:db8:0:ffff::1"));
        assert_ne!(crowd("2001:db8:0:1::1"), crowd("2001:db8:1:1::1"));
        assert_ne!(crowd("192.0.2.1"), crowd("192.0.2.2"));
        assert_eq!(of("192.0.2.1").places(8, 2), 2);
        assert_eq!(of("192.0.2.1").places(1, 2), 1);
        assert_eq!(of("::1").places(8, 2), 8);
    }

    #[test]
    fn a_share_ends_and_this_machine_has_none() {
        let far = of("192.0.2.1");
        assert_eq!(far.share(2, 3), Share::Free);
        assert_eq!(far.share(3, 3), Share::Taken);
        assert_eq!(of("::1").share(3, 3), Share::Free);
    }
}
