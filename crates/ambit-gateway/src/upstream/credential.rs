//! The credential that the gateway puts on a request, and the watch that it does not come back.

use ambit_core::estate::CredentialUse;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::UpstreamError;
use crate::Secrets;

/// A header with a credential.
#[derive(Debug)]
pub(super) struct Injected {
    name: HeaderName,
    /// Marked sensitive: it is never printed.
    value: HeaderValue,
}

impl Injected {
    /// Fetches the credential that `wanted` names; nothing when none is wanted.
    ///
    /// # Errors
    /// [`UpstreamError::CredentialMissing`] when it is not sealed here or can't stand in that header.
    pub(super) fn fetch(
        wanted: Option<&CredentialUse>,
        secrets: &Secrets,
    ) -> Result<Option<Self>, UpstreamError> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let missing = || UpstreamError::CredentialMissing(wanted.reference.clone());
        let secret = secrets(&wanted.reference).ok_or_else(missing)?;
        let header = secret.header(&wanted.placement).map_err(|_| missing())?;
        let name = HeaderName::from_bytes(header.name().as_bytes()).map_err(|_| missing())?;
        let mut value = HeaderValue::from_bytes(header.value()).map_err(|_| missing())?;
        value.set_sensitive(true);
        Ok(Some(Self { name, value }))
    }

    /// Puts the credential on a request, in the place of whatever stood there.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), self.value.clone());
    }

    /// Refuses an answer that repeats the credential.
    ///
    /// # Errors
    /// [`UpstreamError::Leak`].
    pub(super) fn check(injected: Option<&Self>, answer: &[u8]) -> Result<(), UpstreamError> {
        let Some(injected) = injected else {
            return Ok(());
        };
        let value = injected.value.as_bytes();
        let secret = value.strip_prefix(b"Bearer ").unwrap_or(value);
        if contains(answer, secret) {
            Err(UpstreamError::Leak)
        } else {
            Ok(())
        }
    }
}

/// Says whether `needle` stands in `text`. Skips to each first byte, which is fast on text without it.
fn contains(text: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else {
        return false;
    };
    let mut rest = text;
    while let Some(place) = rest.iter().position(|it| it == first) {
        let Some((_, tail)) = rest.split_at_checked(place) else {
            return false;
        };
        if tail.starts_with(needle) {
            return true;
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_that_comes_back_is_found_wherever_it_stands() {
        let check = |text: &str| contains(text.as_bytes(), b"s3cret");
        for text in ["s3cret", "xs3cret", "ss3cret", "{\"a\":\"s3crets\"}"] {
            assert!(check(text), "{text}");
        }
        for text in ["", "s3cre", "S3CRET", "s3cre s3cre"] {
            assert!(!check(text), "{text}");
        }
    }
}
