//! Sign-ins under way. The browser carries its own, so that strangers fill no memory of ours.
//!
//! What is secret in a flow (`state`, `nonce`, the PKCE verifier) is a MAC over the random bytes that the
//! browser's cookie carries. The cookie tells none of it to whoever has no key.

use std::fmt;

use ambit_core::{Digest, Millis, Timestamp};
use aws_lc_rs::hmac;

use crate::jose::base64url;

/// How long a person may take at the provider.
pub const FLOW_TTL_MAX: Millis = Millis::from_seconds(600);
/// The longest path to which a sign-in returns, in bytes. With it the cookie stays below 4096 bytes.
pub const RETURN_BYTES_MAX: usize = 2048;

/// The key of a server's flows. Nodes that share it end each other's.
pub struct FlowKey(hmac::Key);

/// One sign-in under way in one browser.
#[derive(Clone)]
pub struct Flow {
    cookie: String,
    state: String,
    nonce: String,
    verifier: String,
    return_to: String,
}

/// Why there is no sign-in to go on with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlowError {
    /// The path is not one of ours.
    #[error(
        "a sign-in returns to a path of this server, of at most {RETURN_BYTES_MAX} characters; leave `to` out"
    )]
    Return,
    /// The cookie is not ours.
    #[error("this browser began no sign-in here; begin again, and allow cookies of this site")]
    Unknown,
    /// It took too long.
    #[error("the sign-in took too long; begin again")]
    Expired,
}

impl FlowKey {
    /// Returns the key made of fresh, secret random bytes.
    pub fn new(chance: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, chance))
    }

    /// Begins a flow with fresh random bytes. It returns to `return_to`, a path of this server.
    ///
    /// # Errors
    /// [`FlowError::Return`] when that is anything else.
    pub fn begin(
        &self,
        chance: [u8; 32],
        return_to: &str,
        now: Timestamp,
    ) -> Result<Flow, FlowError> {
        if !is_own_path(return_to) {
            return Err(FlowError::Return);
        }
        let began = now.as_millis().to_be_bytes();
        let said = [chance.as_slice(), &began, return_to.as_bytes()].concat();
        let tag = self.mac(b"cookie", &said);
        let cookie = base64url::encode([tag.as_ref(), &said].concat());
        Ok(self.flow(cookie, &chance, return_to))
    }

    /// Returns the flow whose cookie a browser sent.
    ///
    /// # Errors
    /// [`FlowError`] when this server did not begin it, or too long ago.
    pub fn resume(&self, cookie: &str, now: Timestamp) -> Result<Flow, FlowError> {
        let bytes = base64url::decode(cookie).map_err(|_| FlowError::Unknown)?;
        let (tag, said) = bytes.split_first_chunk::<32>().ok_or(FlowError::Unknown)?;
        let message = [PURPOSE, b"cookie\0", said].concat();
        hmac::verify(&self.0, &message, tag).map_err(|_| FlowError::Unknown)?;
        let (chance, rest) = said.split_first_chunk::<32>().ok_or(FlowError::Unknown)?;
        let (began, path) = rest.split_first_chunk::<8>().ok_or(FlowError::Unknown)?;
        let began = Timestamp::from_millis(u64::from_be_bytes(*began));
        if now >= began.plus(FLOW_TTL_MAX) {
            return Err(FlowError::Expired);
        }
        let path = str::from_utf8(path).map_err(|_| FlowError::Unknown)?;
        Ok(self.flow(cookie.to_owned(), chance, path))
    }

    fn flow(&self, cookie: String, chance: &[u8; 32], return_to: &str) -> Flow {
        let secret = |name: &[u8]| base64url::encode(self.mac(name, chance));
        Flow {
            cookie,
            state: secret(b"state"),
            nonce: secret(b"nonce"),
            verifier: secret(b"verifier"),
            return_to: return_to.to_owned(),
        }
    }

    fn mac(&self, name: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &[PURPOSE, name, b"\0", message].concat())
    }
}

impl Flow {
    /// Returns what the browser's cookie says.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Returns what comes back with the code: 43 characters.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Returns what the ID token repeats: 43 characters.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Returns the PKCE verifier (RFC 7636 §4.1): 43 characters.
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    /// Returns the PKCE challenge, `S256` of the verifier (RFC 7636 §4.2).
    pub fn challenge(&self) -> String {
        base64url::encode(Digest::of(self.verifier.as_bytes()).as_bytes())
    }

    /// Returns the path of this server to go to afterwards.
    pub fn return_to(&self) -> &str {
        &self.return_to
    }

    /// Says whether `state` came back as it went out.
    ///
    /// # Errors
    /// [`FlowError::Unknown`] when it did not.
    pub fn check_state(&self, state: &str) -> Result<(), FlowError> {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.state.as_bytes(), state.as_bytes())
            .map_err(|_| FlowError::Unknown)
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowKey(..)")
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow(to {:?}, ..)", self.return_to)
    }
}

/// Says whether browsers read `path` as one of the server that they are at. `//` and `/\` begin another one's name.
fn is_own_path(path: &str) -> bool {
    let mut bytes = path.bytes();
    let first = bytes.next();
    let second = bytes.next();
    first == Some(b'/')
        && !matches!(second, Some(b'/' | b'\\'))
        && path.len() <= RETURN_BYTES_MAX
        && path.bytes().all(|it| it.is_ascii_graphic())
}

/// Keeps these tags apart from those of other uses of a key.
const PURPOSE: &[u8] = b"ambit sign-in v1\0";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);

    #[test]
    fn a_flow_returns_to_this_server_alone() {
        let key = FlowKey::new(&[1; 32]);
        let longest = format!("/{}", "a".repeat(RETURN_BYTES_MAX - 1));
        let check = |path: &str, wanted: Result<(), FlowError>| {
            let found = key.begin([2; 32], path, NOW).map(|it| {
                assert_eq!(it.return_to(), path);
                assert!(it.cookie().len() < 3072);
            });
            assert_eq!(found, wanted, "{path}");
        };
        for path in [
            "/",
            "/account",
            "/oauth/authorize?request_uri=urn:x",
            &longest,
        ] {
            check(path, Ok(()));
        }
        let longer = format!("{longest}a");
        for path in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a b",
            "/\r\nx",
            "/é",
            &longer,
        ] {
            check(path, Err(FlowError::Return));
        }
    }

    #[test]
    fn only_the_browser_that_began_goes_on_in_time() {
        let key = FlowKey::new(&[1; 32]);
        let flow = key.begin([2; 32], "/account", NOW).unwrap();
        let check = |key: &FlowKey, cookie: &str, millis, wanted: Result<(), FlowError>| {
            let found = key.resume(cookie, NOW.plus(Millis::new(millis)));
            let found = found.map(|it| {
                assert_eq!(
                    (it.state(), it.nonce(), it.verifier(), it.return_to()),
                    (flow.state(), flow.nonce(), flow.verifier(), "/account")
                );
            });
            assert_eq!(found, wanted, "{cookie}");
        };
        let last = FLOW_TTL_MAX.as_millis() - 1;
        check(&key, flow.cookie(), 0, Ok(()));
        check(&key, flow.cookie(), last, Ok(()));
        check(&key, flow.cookie(), last + 1, Err(FlowError::Expired));
        check(
            &FlowKey::new(&[3; 32]),
            flow.cookie(),
            0,
            Err(FlowError::Unknown),
        );
        for bad in ["", "AAAA", "=", &format!("{}A", flow.cookie())] {
            check(&key, bad, 0, Err(FlowError::Unknown));
        }
        let mut bytes = base64url::decode(flow.cookie()).unwrap();
        for place in 0..bytes.len() {
            bytes[place] ^= 1;
            check(&key, &base64url::encode(&bytes), 0, Err(FlowError::Unknown));
            bytes[place] ^= 1;
        }
    }

    #[test]
    fn no_secret_of_a_flow_is_another_one() {
        let key = FlowKey::new(&[1; 32]);
        let one = key.begin([2; 32], "/", NOW).unwrap();
        let other = key.begin([4; 32], "/", NOW).unwrap();
        let all: std::collections::BTreeSet<_> = [&one, &other]
            .iter()
            .flat_map(|it| [it.state(), it.nonce(), it.verifier()])
            .collect();
        assert_eq!(all.len(), 6);
        assert_eq!(one.check_state(one.state()), Ok(()));
        for state in [other.state(), "", one.nonce()] {
            assert_eq!(one.check_state(state), Err(FlowError::Unknown), "{state}");
        }
    }
}
