//! What ES256 itself costs here: the floor below every token that is issued for a signed assertion and a signed proof.

use std::{hint::black_box, time::Instant};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        ParsedPublicKey,
    },
};

use crate::Failure;

/// Returns how long one core takes for two verifications and one signature, with keys that are parsed already, in µs.
pub(crate) fn of_one_token() -> Result<f64, Failure> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())?;
    let (chance, token) = (SystemRandom::new(), [b'a'; TOKEN_BYTES]);
    let begun = Instant::now();
    for _ in 0..TOKENS {
        let signature = key.sign(&chance, black_box(&token))?;
        for _ in 0..2 {
            public.verify_sig(black_box(&token), signature.as_ref())?;
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(TOKENS))
}

/// About as long as assertions and proofs are.
const TOKEN_BYTES: usize = 500;
const TOKENS: u32 = 2_000;
