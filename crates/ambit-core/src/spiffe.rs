//! SPIFFE IDs and trust domains (SPIFFE-ID standard, §2).
//!
//! Scheme and trust domain are read in any case and kept in lowercase (§2.4); the path says exactly what it
//! says. So two identifiers are the same when their texts are.

use std::{fmt, str::FromStr};

use crate::{
    AgentName, InstanceId,
    limits::{SPIFFE_ID_BYTES_MAX, TRUST_DOMAIN_BYTES_MAX},
};

/// The name of a domain that vouches for its workloads.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(String);

/// A workload's name, as the SPIFFE ID standard defines it.
///
/// ```
/// use ambit_core::SpiffeId;
///
/// let id: SpiffeId = "spiffe://example.org/agent/billing".parse()?;
/// assert_eq!(id.trust_domain().as_str(), "example.org");
/// assert!("https://example.org/agent".parse::<SpiffeId>().is_err());
/// # Ok::<(), ambit_core::spiffe::InvalidSpiffeId>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    /// Empty, or begins with `/`.
    path: String,
}

/// The text is not a SPIFFE ID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It does not begin with `spiffe://`.
    #[error("a SPIFFE ID begins with `spiffe://`")]
    Scheme,
    /// The trust domain is empty, too long or has a character outside `[a-z0-9.-_]`.
    #[error("a trust domain is 1 to 255 lowercase letters, digits, `.`, `-`, `_`")]
    TrustDomain,
    /// The path has an empty, relative or ill-spelled segment.
    #[error("a path segment is empty, relative, or has a character outside `[a-zA-Z0-9.-_]`")]
    Path,
    /// It is longer than 2048 bytes.
    #[error("a SPIFFE ID is at most 2048 bytes")]
    Length,
}

/// In which form an instance got its SVID.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SvidKind {
    /// An X.509 certificate: whoever holds its key is the instance.
    X509,
    /// A signed text: whoever has it is the instance there.
    Jwt {
        /// Where it is good.
        audiences: Vec<String>,
    },
}

impl TrustDomain {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the SPIFFE ID of one run of an agent: `spiffe://TD/agent/NAME/INSTANCE`.
    pub fn instance(&self, agent: &AgentName, instance: InstanceId) -> SpiffeId {
        SpiffeId {
            trust_domain: self.clone(),
            path: format!("/agent/{agent}/{instance}"),
        }
    }

    /// Returns the SPIFFE ID of a part of Ambit itself, such as its gateway: `spiffe://TD/ambit/gateway`.
    pub fn gateway(&self) -> SpiffeId {
        SpiffeId {
            trust_domain: self.clone(),
            path: "/ambit/gateway".to_owned(),
        }
    }

    /// Returns the SPIFFE ID of the domain itself, as signing certificates carry it (X509-SVID §4.3).
    pub fn authority(&self) -> SpiffeId {
        SpiffeId {
            trust_domain: self.clone(),
            path: String::new(),
        }
    }
}

impl SpiffeId {
    /// Returns the trust domain that vouches for this workload.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the path: empty, or beginning with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the agent and the run that this names, when it has the form `/agent/NAME/INSTANCE`.
    pub fn as_instance(&self) -> Option<(AgentName, InstanceId)> {
        let (agent, instance) = self.path.strip_prefix("/agent/")?.split_once('/')?;
        Some((agent.parse().ok()?, instance.parse().ok()?))
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let fits = (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(is_trust_domain_byte) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidSpiffeId::TrustDomain)
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(InvalidSpiffeId::Length);
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidSpiffeId::Scheme)?;
        if !scheme.eq_ignore_ascii_case("spiffe") {
            return Err(InvalidSpiffeId::Scheme);
        }
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        let trust_domain = trust_domain.to_ascii_lowercase().parse()?;
        if path.is_some_and(|path| !path.split('/').all(is_segment)) {
            return Err(InvalidSpiffeId::Path);
        }
        let path = path.map(|path| format!("/{path}")).unwrap_or_default();
        Ok(Self { trust_domain, path })
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain, self.path)
    }
}

fn is_trust_domain_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
}

fn is_segment(segment: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows of the standard, restated: what is read, and what it is kept as.
    #[test]
    fn the_standard_form_reads_back() {
        let check = |text: &str, kept: &str| {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), kept);
        };
        // §2.2: a service, its owner, something opaque.
        for text in [
            "spiffe://staging.example.com/payments/mysql",
            "spiffe://k8s-west.example.com/ns/staging/sa/default",
            "spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453",
            // §2.1: an address in dotted quads is a name like any other; dots and dashes may stand anywhere.
            "spiffe://1.2.3.4/x",
            "spiffe://_.-",
            "spiffe://example.org",
            // §2.2: three dots are no relative segment, and case is kept.
            "spiffe://td/...",
            "spiffe://td/a/B.c-d_e/.hidden",
        ] {
            check(text, text);
        }
        // §2.4: scheme and trust domain are case-insensitive, the path is not.
        check("SPIFFE://example.org/A", "spiffe://example.org/A");
        check("Spiffe://Example.ORG/a", "spiffe://example.org/a");
    }

    #[test]
    fn every_other_form_is_refused() {
        use InvalidSpiffeId::{Path, Scheme, TrustDomain};
        let check = |text: &str, error| assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        for text in ["", "spiffe", "spiffe:", "spiffe:/a", "http://example.org/a"] {
            check(text, Scheme);
        }
        for text in [
            " spiffe://td",
            "spiffe ://td",
            "xspiffe://td",
            "://td/a",
            // A Kelvin sign and a long s are no letters of ASCII.
            "\u{17f}piffe://td",
        ] {
            check(text, Scheme);
        }
        for text in [
            "spiffe://",
            "spiffe:///a",
            "spiffe://user@example.org/a",
            "spiffe://user:word@example.org/a",
            "spiffe://@example.org/a",
            "spiffe://example.org:80/a",
            "spiffe://example.org:/a",
            "spiffe://[::1]/a",
            "spiffe://ex%61mple.org/a",
            "spiffe://b\u{fc}cher.example/a",
            "spiffe://\u{212a}ube/a",
            "spiffe://example.org?q",
            "spiffe://example.org#f",
            "spiffe://example.org\\a",
            "spiffe://example.org\n/a",
        ] {
            check(text, TrustDomain);
        }
        for text in [
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a//b",
            "spiffe://example.org/a/",
            "spiffe://example.org/.",
            "spiffe://example.org/./a",
            "spiffe://example.org/../a",
            "spiffe://example.org/a/..",
            "spiffe://example.org/%61",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/a b",
            "spiffe://example.org/a:b",
            "spiffe://example.org/a\0",
            "spiffe://example.org/\u{e4}",
            "spiffe://example.org/a/spiffe://example.org",
        ] {
            check(text, Path);
        }
    }

    /// Files of the estate write a trust domain as it is kept.
    #[test]
    fn a_trust_domain_alone_is_lowercase() {
        assert!("Example.org".parse::<TrustDomain>().is_err());
        assert!("example.org/a".parse::<TrustDomain>().is_err());
    }

    #[test]
    fn lengths_end_at_their_maximum() {
        let domain = "a".repeat(TRUST_DOMAIN_BYTES_MAX);
        assert!(domain.parse::<TrustDomain>().is_ok());
        assert!(format!("{domain}a").parse::<TrustDomain>().is_err());
        let id = format!("spiffe://td/{}", "a".repeat(SPIFFE_ID_BYTES_MAX - 12));
        assert!(id.parse::<SpiffeId>().is_ok());
        assert_eq!(
            format!("{id}a").parse::<SpiffeId>(),
            Err(InvalidSpiffeId::Length)
        );
    }

    #[test]
    fn an_instance_reads_back() {
        let domain: TrustDomain = "example.org".parse().unwrap();
        let (agent, instance) = ("billing".parse().unwrap(), InstanceId::from_bits(7));
        let id = domain.instance(&agent, instance);
        assert_eq!(
            id.to_string().parse::<SpiffeId>().unwrap().as_instance(),
            Some((agent, instance))
        );
        assert_eq!(domain.gateway().as_instance(), None);
    }

    proptest! {
        /// What is kept reads back as itself, whatever was read.
        #[test]
        fn what_is_kept_is_canonical(text in "[sS][pP][iI][fF][fF][eE]://[a-zA-Z0-9._-]{1,12}(/[a-zA-Z0-9._-]{1,4}){0,4}") {
            let Ok(id) = text.parse::<SpiffeId>() else {
                // Only a relative segment makes this form invalid.
                prop_assert!(text.split('/').any(|it| it == "." || it == ".."), "{text}");
                return Ok(());
            };
            let kept = id.to_string();
            prop_assert!(kept.eq_ignore_ascii_case(&text));
            prop_assert!(text.ends_with(id.path()), "{text}");
            prop_assert_eq!(kept.parse::<SpiffeId>(), Ok(id));
        }

        /// No text panics, and what is accepted has only the letters of the standard.
        #[test]
        fn any_text_is_judged(text in "(spiffe://)?[ -~\u{e4}\u{17f}]{0,40}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                let kept = id.to_string();
                let rest = kept.strip_prefix("spiffe://").unwrap_or_default();
                prop_assert!(rest.bytes().all(|it| it.is_ascii_alphanumeric() || b"./-_".contains(&it)));
                prop_assert!(!rest.ends_with('/') && !rest.contains("//"));
            }
        }
    }
}
