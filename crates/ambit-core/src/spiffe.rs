//! SPIFFE IDs and trust domains (SPIFFE-ID standard, §2).

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
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(InvalidSpiffeId::Scheme)?;
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        let trust_domain = trust_domain.parse()?;
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
    use super::*;

    #[test]
    fn the_standard_form_reads_back() {
        for text in [
            "spiffe://example.org",
            "spiffe://td/a/B.c-d_e",
            "spiffe://1.2.3.4/x",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let check = |text: &str, error| assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        check("http://example.org/a", InvalidSpiffeId::Scheme);
        check("SPIFFE://example.org/a", InvalidSpiffeId::Scheme);
        check("spiffe://", InvalidSpiffeId::TrustDomain);
        check("spiffe:///a", InvalidSpiffeId::TrustDomain);
        check("spiffe://Example.org/a", InvalidSpiffeId::TrustDomain);
        check("spiffe://user@example.org/a", InvalidSpiffeId::TrustDomain);
        check("spiffe://example.org:80/a", InvalidSpiffeId::TrustDomain);
        check("spiffe://example.org/", InvalidSpiffeId::Path);
        check("spiffe://example.org//a", InvalidSpiffeId::Path);
        check("spiffe://example.org/a/", InvalidSpiffeId::Path);
        check("spiffe://example.org/../a", InvalidSpiffeId::Path);
        check("spiffe://example.org/%61", InvalidSpiffeId::Path);
        check("spiffe://example.org/a?b", InvalidSpiffeId::Path);
        check("spiffe://example.org/a#b", InvalidSpiffeId::Path);
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
}
