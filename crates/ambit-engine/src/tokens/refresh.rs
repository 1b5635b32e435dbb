//! The texts of refresh tokens.
//!
//! The state remembers the few tokens of a family that were spent last. An older one is known by its own text: it carries a
//! tag that only the key of its task makes, so that whoever shows it ends the family, however many came after it.

use ambit_core::{
    Digest, TaskId, TokenId,
    token::{IssuedToken, TokenKind},
};

use crate::{Custody, EngineError};

/// A refresh token as its text names it. Nothing of it is believed before its secret or its tag was held against ours.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) token: TokenId,
    pub(super) task: TaskId,
    pub(super) family: TokenId,
    secret: Digest,
    tag: Digest,
}

/// Whether a text was made here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// It was, whole as it is.
    Ours,
    /// It was not, or was changed.
    Forged,
}

impl Shown {
    /// Takes a text apart: the token, its secret, the task, the family, the tag.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let shown = Self {
            token: parts.next()?.parse().ok()?,
            secret: hex(parts.next()?)?,
            task: parts.next()?.parse().ok()?,
            family: parts.next()?.parse().ok()?,
            tag: hex(parts.next()?)?,
        };
        parts.next().is_none().then_some(shown)
    }

    /// Says whether the text is of `token`. Digests of 32 random bytes tell nothing by how long they compare.
    pub(super) fn is_of(&self, token: &IssuedToken) -> Origin {
        let secret = Digest::of(self.secret.as_bytes());
        match token.kind == (TokenKind::Refresh { secret }) {
            true => Origin::Ours,
            false => Origin::Forged,
        }
    }

    /// Says whether the text was made here, under the key of its task, also when its token is forgotten.
    pub(super) fn origin(&self, custody: &dyn Custody, key: &[u8]) -> Result<Origin, EngineError> {
        let of = (self.task, self.token, self.family);
        Ok(match tag(custody, key, of, self.secret)? == self.tag {
            true => Origin::Ours,
            false => Origin::Forged,
        })
    }
}

/// Returns the text of a refresh token with this secret.
pub(super) fn text(
    custody: &dyn Custody,
    key: &[u8],
    token: &IssuedToken,
    secret: Digest,
) -> Result<String, EngineError> {
    let of = (token.task, token.id, token.family);
    let tag = bare(tag(custody, key, of, secret)?);
    let (id, task, family) = (token.id, token.task, token.family);
    Ok(format!("{id}.{}.{task}.{family}.{tag}", bare(secret)))
}

/// Makes the tag. No other commitment under a task's key is to a text that begins like this one.
fn tag(
    custody: &dyn Custody,
    key: &[u8],
    (task, token, family): (TaskId, TokenId, TokenId),
    secret: Digest,
) -> Result<Digest, EngineError> {
    let said = format!("refresh token v1\n{token}\n{family}\n{secret}\n");
    Ok(custody.commit(key, task, said.as_bytes())?)
}

fn hex(text: &str) -> Option<Digest> {
    format!("sha256:{text}").parse().ok()
}

fn bare(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}
