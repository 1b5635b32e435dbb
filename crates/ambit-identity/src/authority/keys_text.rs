//! The text of issuing keys, for one file that only its owner reads: lines that say where each pair stands,
//! each followed by its PEM sections. Anything else in it is refused.

use std::{fmt::Write as _, sync::Arc};

use ambit_core::{Timestamp, TrustDomain};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{
    Authority, AuthorityError, PEM_BYTES_MAX,
    issuing_keys::{IssuingKeys, Pair, RETIRED_KEYS_MAX, Retired, Standing},
};
use crate::{SvidKey, bundle::JwtAuthority, jose::Jwk, pem};

/// The first line: what this is, and its version.
const HEAD: &str = "ambit issuing keys 1";
/// The longest JWK of a retired key, in bytes.
const JWK_BYTES_MAX: usize = 4096;

/// One pair as it stands in the text.
#[derive(Default)]
struct Section<'a> {
    /// The words of its line.
    words: Vec<&'a str>,
    /// What follows.
    pem: Zeroizing<String>,
}

impl IssuingKeys {
    /// Returns all keys as text, for a file that only its owner reads.
    pub fn to_text(&self) -> Zeroizing<String> {
        let (active, prepared, retired) = self.parts();
        // Room for all at once: growing would leave copies of keys behind.
        let mut text = Zeroizing::new(String::with_capacity(PEM_BYTES_MAX));
        let line = |text: &mut String, line: std::fmt::Arguments<'_>| {
            // Writing to a string does not fail.
            let _ = text.write_fmt(line);
        };
        line(
            &mut text,
            format_args!("{HEAD}\nsequence {}\n", self.bundle().sequence()),
        );
        let live = [("active", Some(active)), ("prepared", prepared)];
        for (word, standing) in live {
            let Some(standing) = standing else { continue };
            let since = standing.since.as_millis();
            line(&mut text, format_args!("{word} {since}\n"));
            text.push_str(&standing.pair.authority.to_pem());
            text.push_str(&standing.pair.jwt.to_pem());
        }
        for it in retired {
            let (since, until) = (it.since.as_millis(), it.until.as_millis());
            let jwk = it.jwt.to_value().to_canonical();
            line(&mut text, format_args!("retired {since} {until} {jwk}\n"));
            text.push_str(&pem::certificate(&it.certificate));
        }
        text
    }

    /// Reads what [`IssuingKeys::to_text`] wrote.
    ///
    /// # Errors
    /// [`AuthorityError`] when anything is missing, of another trust domain, doubled, or not understood.
    pub fn from_text(trust_domain: &TrustDomain, text: &str) -> Result<Self, AuthorityError> {
        if text.len() > PEM_BYTES_MAX {
            let (certificates, bytes) = (0, text.len());
            return Err(AuthorityError::TooLarge {
                certificates,
                bytes,
            });
        }
        let rest = text.strip_prefix(HEAD).and_then(|it| it.strip_prefix('\n'));
        let (sequence, sections) = split(rest.ok_or(AuthorityError::KeysText { line: 1 })?)?;
        let (mut active, mut prepared, mut retired) = (None, None, Vec::new());
        for section in &sections {
            let wrong = AuthorityError::KeysText { line: 0 };
            match section.words.as_slice() {
                ["active", since] if active.is_none() => {
                    active = Some(standing(trust_domain, since, section)?);
                }
                ["prepared", since] if prepared.is_none() => {
                    prepared = Some(standing(trust_domain, since, section)?);
                }
                ["retired", since, until, jwk] if retired.len() < RETIRED_KEYS_MAX => {
                    retired.push(retired_pair((since, until), jwk, section)?);
                }
                _ => return Err(wrong),
            }
        }
        let active = active.ok_or(AuthorityError::KeysText { line: 3 })?;
        Self::assemble(active, prepared, retired, sequence)
    }
}

/// Says whether `text` is of this form, and not that of an authority alone.
pub fn is_issuing_keys(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// Splits the text after its head into the sequence and the pairs.
fn split(rest: &str) -> Result<(u64, Vec<Section<'_>>), AuthorityError> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut sequence = None;
    let mut in_pem = false;
    for (number, line) in rest.lines().enumerate() {
        let wrong = AuthorityError::KeysText { line: number + 2 };
        if line.starts_with("-----BEGIN ") {
            in_pem = true;
        }
        if in_pem {
            let section = sections.last_mut().ok_or(wrong)?;
            section.pem.push_str(line);
            section.pem.push('\n');
            in_pem = !line.starts_with("-----END ");
            continue;
        }
        if let Some(number) = line.strip_prefix("sequence ")
            && sequence.is_none()
            && sections.is_empty()
        {
            sequence = Some(number.parse::<u64>().map_err(|_| wrong)?);
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        if !matches!(words.first(), Some(&("active" | "prepared" | "retired"))) {
            return Err(wrong);
        }
        sections.push(Section {
            words,
            pem: Zeroizing::new(String::with_capacity(4096)),
        });
    }
    let sequence = sequence.ok_or(AuthorityError::KeysText { line: 2 })?;
    Ok((sequence, sections))
}

fn standing(
    trust_domain: &TrustDomain,
    since: &str,
    section: &Section<'_>,
) -> Result<Standing, AuthorityError> {
    // The first private key is the authority's, the one after its certificate signs JWT-SVIDs.
    let end = "-----END CERTIFICATE-----\n";
    let (first, second) = section
        .pem
        .split_once(end)
        .ok_or(AuthorityError::Certificates { seen: 0 })?;
    let first = Zeroizing::new(format!("{first}{end}"));
    let pair = Pair {
        authority: Authority::from_pem(trust_domain.clone(), &first)?,
        jwt: JwtAuthority::new(SvidKey::from_pem(second)?)?,
    };
    Ok(Standing {
        pair: Arc::new(pair),
        since: instant(since)?,
    })
}

fn retired_pair(
    (since, until): (&str, &str),
    jwk: &str,
    section: &Section<'_>,
) -> Result<Retired, AuthorityError> {
    let certificate = CertificateDer::from_pem_slice(section.pem.as_bytes())
        .map_err(|source| AuthorityError::Pem { source })?;
    let wrong = AuthorityError::KeysText { line: 0 };
    let jwk = Jwk::parse(jwk.as_bytes(), JWK_BYTES_MAX).ok();
    let jwk = jwk.filter(|it| it.key_id().is_some());
    Ok(Retired {
        certificate,
        jwt: jwk.ok_or(wrong)?,
        since: instant(since)?,
        until: instant(until)?,
    })
}

fn instant(text: &str) -> Result<Timestamp, AuthorityError> {
    let millis = text.parse::<u64>();
    millis
        .map(Timestamp::from_millis)
        .map_err(|_| AuthorityError::KeysText { line: 0 })
}
