//! Who may claim a task that waits for a run of an agent.

use ambit_core::{
    AgentName, Digest,
    claim::{ClaimProof, Footing},
};

use crate::AttestedWorkload;

/// The longest join token that is read, in bytes.
pub const JOIN_TOKEN_BYTES_MAX: usize = 128;
/// Begins every join token, so that scanners for secrets find it.
pub const JOIN_TOKEN_PREFIX: &str = "ambit_join_";

/// Somebody who is a run of one agent, or holds the join token of one task. Which task it gets is not said here.
///
/// Made only where the proof is checked.
///
/// ```compile_fail,E0451
/// use ambit_identity::Claimant;
///
/// fn forge(workload: ambit_core::Digest) {
///     let _ = Claimant { workload, proved: todo!(), footing: todo!() };
/// }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimant {
    workload: Digest,
    proved: Proved,
    footing: Footing,
}

/// What was proved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proved {
    /// To be a run of this agent.
    Agent(AgentName, ClaimProof),
    /// To hold the join token with this digest.
    JoinToken(Digest),
}

/// The secret with which one task is claimed, once. Only its digest is kept.
#[derive(Clone, Eq, PartialEq)]
pub struct JoinToken(String);

/// It is no join token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a join token begins with `{JOIN_TOKEN_PREFIX}` and is printed once by `ambit task start ... --join-token`"
)]
pub struct InvalidJoinToken;

impl Claimant {
    /// Returns the process that was attested: `process` names it among all of all time.
    pub fn process(attested: &AttestedWorkload, process: &[u8]) -> Self {
        let agent = attested.agent().clone();
        Self {
            footing: Footing {
                registration: Some(attested.registration()),
                unix_uid: Some(attested.seen().uid),
            },
            ..Self::agent(agent, ClaimProof::Process, &[process])
        }
    }

    /// Returns whoever shows `token` and proves to hold the key whose public half (DER) is `key`.
    pub fn joining(token: &JoinToken, key: &crate::ProvedKey) -> Self {
        Self {
            workload: name(
                ClaimProof::JoinToken,
                &[rcgen::PublicKeyData::der_bytes(&key.spki)],
            ),
            proved: Proved::JoinToken(token.digest()),
            footing: Footing::default(),
        }
    }

    /// Returns a run of `agent` whose names are `names`, each of which says more than the one before.
    pub(crate) fn agent(agent: AgentName, proof: ClaimProof, names: &[&[u8]]) -> Self {
        Self {
            workload: name(proof, names),
            proved: Proved::Agent(agent, proof),
            footing: Footing::default(),
        }
    }

    /// Says by what in the estate this is a run of its agent.
    #[must_use]
    pub(crate) fn registered(self, registration: Digest) -> Self {
        let registration = Some(registration);
        Self {
            footing: Footing {
                registration,
                ..self.footing
            },
            ..self
        }
    }

    /// Names what in the estate makes this a run of its agent; nothing when nothing there does alone. See
    /// [`crate::Grounds`].
    pub const fn registration(&self) -> Option<Digest> {
        self.footing.registration
    }

    /// Returns what its claims stand on.
    pub const fn footing(&self) -> Footing {
        self.footing
    }

    /// Returns the digest that names it in records: the same workload has the same.
    pub const fn workload(&self) -> Digest {
        self.workload
    }

    /// Returns what was proved.
    pub const fn proved(&self) -> &Proved {
        &self.proved
    }
}

impl JoinToken {
    /// Returns the token of fresh random bytes.
    pub fn of_chance(chance: [u8; 32]) -> Self {
        let digest = Digest::of_parts(&[b"ambit join token", &chance]).to_string();
        let secret = digest.trim_start_matches("sha256:");
        Self(format!("{JOIN_TOKEN_PREFIX}{secret}"))
    }

    /// Reads a token that somebody shows.
    ///
    /// # Errors
    /// [`InvalidJoinToken`] when it can't be one.
    pub fn parse(text: &str) -> Result<Self, InvalidJoinToken> {
        if text.len() > JOIN_TOKEN_BYTES_MAX || !text.starts_with(JOIN_TOKEN_PREFIX) {
            return Err(InvalidJoinToken);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the digest by which it is known.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Returns the secret, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

/// Names a workload.
fn name(proof: ClaimProof, names: &[&[u8]]) -> Digest {
    name_of(proof.as_str().as_bytes(), names)
}

/// Returns the digest of names of one kind: each with its length first, so that no two lists of names are the same bytes.
pub(crate) fn name_of(kind: &[u8], names: &[&[u8]]) -> Digest {
    let lengths: Vec<[u8; 8]> = names
        .iter()
        .map(|it| u64::try_from(it.len()).unwrap_or(u64::MAX).to_be_bytes())
        .collect();
    let mut parts: Vec<&[u8]> = vec![kind, &[0]];
    for (length, name) in lengths.iter().zip(names) {
        parts.extend([length.as_slice(), *name]);
    }
    Digest::of_parts(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_run_together() {
        let agent: AgentName = "clerk".parse().unwrap();
        let of = |proof, names: &[&[u8]]| Claimant::agent(agent.clone(), proof, names).workload();
        let token = ClaimProof::Token;
        assert_eq!(of(token, &[b"a", b"b"]), of(token, &[b"a", b"b"]));
        assert_ne!(of(token, &[b"a", b"b"]), of(token, &[b"ab", b""]));
        assert_ne!(of(token, &[b"a"]), of(ClaimProof::Svid, &[b"a"]));
    }

    #[test]
    fn a_join_token_says_nothing_of_itself() {
        let token = JoinToken::of_chance([7; 32]);
        assert_eq!(
            JoinToken::parse(token.reveal()).unwrap().digest(),
            token.digest()
        );
        let secret = token.reveal().strip_prefix(JOIN_TOKEN_PREFIX).unwrap();
        assert!(!format!("{token:?}").contains(secret));
        let longest = format!("{JOIN_TOKEN_PREFIX:a<JOIN_TOKEN_BYTES_MAX$}");
        assert!(JoinToken::parse(&longest).is_ok());
        for text in ["", "ambit_join", &format!("{longest}a")] {
            assert_eq!(JoinToken::parse(text), Err(InvalidJoinToken), "{text}");
        }
    }
}
