//! Nonces that need no memory: a MAC over the time in which they were given out.

use std::fmt;

use ambit_core::{Millis, Timestamp};
use aws_lc_rs::hmac;

use crate::jose::base64url;

/// For how long one nonce is given out. It is taken for as long again.
pub const NONCE_SLOT: Millis = Millis::from_seconds(60);

/// The key of a server's nonces. Nodes that share it take each other's.
pub struct NonceKey(hmac::Key);

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NonceAge {
    /// This server gave it out in this slot or the last one.
    Fresh,
    /// It is older, ahead of the clock, or not of this server.
    Stale,
}

impl NonceKey {
    /// Returns the key made of fresh, secret random bytes.
    pub fn new(chance: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, chance))
    }

    /// Returns the nonce to give out now: base64url, 54 characters.
    pub fn nonce(&self, now: Timestamp) -> String {
        let slot = slot(now).to_be_bytes();
        let tag = hmac::sign(&self.0, &message(slot));
        base64url::encode([&slot, tag.as_ref()].concat())
    }

    /// Says what a nonce is worth now.
    pub fn check(&self, nonce: &str, now: Timestamp) -> NonceAge {
        let Ok(bytes) = base64url::decode(nonce) else {
            return NonceAge::Stale;
        };
        let Some((given_in, tag)) = bytes.split_first_chunk::<8>() else {
            return NonceAge::Stale;
        };
        if hmac::verify(&self.0, &message(*given_in), tag).is_err() {
            return NonceAge::Stale;
        }
        match slot(now).checked_sub(u64::from_be_bytes(*given_in)) {
            Some(0 | 1) => NonceAge::Fresh,
            Some(_) | None => NonceAge::Stale,
        }
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

const fn slot(now: Timestamp) -> u64 {
    now.as_millis() / NONCE_SLOT.as_millis()
}

fn message(slot: [u8; 8]) -> Vec<u8> {
    [PURPOSE, &slot].concat()
}

/// Keeps these tags apart from those of other uses of a key.
const PURPOSE: &[u8] = b"ambit dpop nonce v1\0";
