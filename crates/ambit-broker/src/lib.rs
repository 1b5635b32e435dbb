//! Custody of keys and credentials: what the gateway uses and the agent never holds.
//!
//! [`FileCustody`] seals what is kept beside the log and the credentials that are put on requests
//! to upstreams. Its key comes from a file that only its owner reads ([`keyfiles`]).
//!
//! **Architecture invariant:** no secret leaves this crate in a `Debug` or `Display` text or in an
//! error, and no secret type can be serialized.

mod aead;
mod custody;
pub mod keyfiles;
mod secrets;

pub use crate::{
    custody::{FileCustody, PLAINTEXT_BYTES_MAX, TASK_KEYS_CACHED_MAX},
    keyfiles::{KeyFileError, SecretKey},
    secrets::{CredentialError, CredentialHeader, REFERENCE_BYTES_MAX, SECRET_BYTES_MAX, Secret},
};
