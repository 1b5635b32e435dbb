//! Sealing: AES-256-GCM under a key derived for one purpose and context (HKDF-SHA256, RFC 5869).
//!
//! No key seals for two contexts. So a nonce that a faulty source of chance repeats does no harm
//! in another context, and bytes sealed in one context open in no other.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk},
};
use zeroize::Zeroizing;

/// How many bytes longer the sealed form is: nonce and tag.
#[cfg(test)]
pub(crate) const OVERHEAD_BYTES: usize = NONCE_LEN + 16;

/// What bytes are sealed for. Every context of one label has the same length, or ends in its only
/// part of variable length.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) label: &'static str,
    pub(crate) parts: [&'a [u8]; 2],
}

/// The bytes were not sealed in this context with this key, or were changed since. Why is not said.
#[derive(Debug)]
pub(crate) struct Refused;

/// Appends nonce, ciphertext and tag of `plaintext` to `sealed`.
pub(crate) fn seal(
    parent: &[u8; 32],
    context: Context<'_>,
    nonce: [u8; NONCE_LEN],
    plaintext: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<(), Refused> {
    let key = key(parent, context)?;
    sealed.reserve_exact(NONCE_LEN + plaintext.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&nonce);
    let start = sealed.len();
    sealed.extend_from_slice(plaintext);
    let (_, body) = sealed.split_at_mut_checked(start).ok_or(Refused)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(context.bytes()), body)
        .map_err(|_| Refused)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(())
}

/// Returns the plaintext of what [`seal`] appended.
pub(crate) fn open(
    parent: &[u8; 32],
    context: Context<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key(parent, context)?
        .open_in_place(nonce, Aad::from(context.bytes()), &mut body)
        .map_err(|_| Refused)?
        .len();
    body.truncate(length);
    Ok(body)
}

/// Fills `N` bytes from `parent` for `label` and nothing else.
pub(crate) fn derive<const N: usize>(
    parent: &[u8; 32],
    info: &[&[u8]],
) -> Result<Zeroizing<[u8; N]>, Refused> {
    let mut bytes = Zeroizing::new([0; N]);
    // The library panics over its limit of 64 bytes; the type says 32.
    Prk::new_less_safe(HKDF_SHA256, parent)
        .expand(info, Length(N))
        .and_then(|it| it.fill(&mut *bytes))
        .map_err(|_| Refused)?;
    Ok(bytes)
}

impl Context<'_> {
    /// Returns the context as bytes. A label has no NUL, so no two contexts give the same bytes.
    fn bytes(self) -> Vec<u8> {
        let [first, second] = self.parts;
        [self.label.as_bytes(), &[0], first, second].concat()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn key(parent: &[u8; 32], context: Context<'_>) -> Result<LessSafeKey, Refused> {
    let key = derive::<32>(parent, &[&context.bytes()])?;
    let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| Refused)?;
    Ok(LessSafeKey::new(key))
}
