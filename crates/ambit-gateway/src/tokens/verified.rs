//! Access tokens whose signature was checked already: the check costs more than everything else of a request.
//!
//! This remembers that a token is what it says, never what it is worth: possession of its key is proved at every request,
//! and every decision asks for the live state of its task.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use ambit_core::{Digest, Timestamp};
use ambit_identity::token::access::{AccessToken, AccessVerifier};

use crate::limits::VERIFIED_TOKENS_MAX;

/// Tokens by the digest of their text.
pub(super) struct Verified {
    /// Who verified them: other keys, and nothing is known.
    by: Option<Arc<AccessVerifier>>,
    tokens: HashMap<Digest, Arc<AccessToken>>,
    /// By their end.
    order: BTreeSet<(Timestamp, Digest)>,
}

impl Verified {
    /// Returns a memory without tokens.
    pub(super) fn new() -> Self {
        Self {
            by: None,
            tokens: HashMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Returns the token of this digest, when `verifier` verified it for `audience` and it is not over.
    pub(super) fn find(
        &self,
        verifier: &Arc<AccessVerifier>,
        digest: Digest,
        audience: &str,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        self.by.as_ref().filter(|it| Arc::ptr_eq(it, verifier))?;
        let token = self.tokens.get(&digest)?;
        let grant = token.grant();
        (grant.audience == audience && grant.expires_at > now).then(|| Arc::clone(token))
    }

    /// Remembers a token that `verifier` verified. When there is no room, the one that ends first is forgotten.
    pub(super) fn keep(
        &mut self,
        verifier: &Arc<AccessVerifier>,
        token: Arc<AccessToken>,
        now: Timestamp,
    ) {
        if !self.by.as_ref().is_some_and(|it| Arc::ptr_eq(it, verifier)) {
            *self = Self::new();
            self.by = Some(Arc::clone(verifier));
        }
        let (digest, expires_at) = (token.digest(), token.grant().expires_at);
        self.order.insert((expires_at, digest));
        self.tokens.insert(digest, token);
        while let Some((end, first)) = self.order.first().copied() {
            if end > now && self.tokens.len() <= VERIFIED_TOKENS_MAX {
                return;
            }
            self.order.pop_first();
            self.tokens.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests;
