//! What people prove who they are with, in words.

use ambit_core::proof::{LoginBy, PasskeyKept, ProofFact};

use super::Names;

/// Says one change.
pub(super) fn fact(fact: &ProofFact, names: &Names) -> String {
    match fact {
        ProofFact::LoginOpened { login, .. } => {
            let by = match login.by {
                LoginBy::Provider { .. } => "the provider's word".to_owned(),
                LoginBy::Passkey { passkey } => passkey.to_string(),
            };
            format!(
                "{} let a command line act as them, by {by}: {}, until {}",
                names.person(login.person),
                login.id,
                login.expires_at
            )
        }
        ProofFact::LoginEnded { login, warrant } => match warrant {
            Some(warrant) => format!("{} ended {login}", names.person(warrant.by)),
            None => format!("{login} ended: a newer one took its place"),
        },
        ProofFact::EnrolmentOffered { enrolment, warrant } => format!(
            "{} let {} register a passkey, once, until {}",
            names.person(warrant.by),
            names.person(enrolment.person),
            enrolment.expires_at
        ),
        ProofFact::PasskeyRegistered { passkey, .. } => {
            let kept = match passkey.kept {
                PasskeyKept::Device => "in one device",
                PasskeyKept::Synced => "with a provider that copies it",
            };
            format!(
                "{} registered the passkey {}, kept {kept}",
                names.person(passkey.person),
                passkey.id
            )
        }
        ProofFact::PasskeyUsed { passkey, .. } => format!("{passkey} was shown to sign in"),
        ProofFact::PasskeyRemoved { passkey, warrant } => {
            format!("{} removed {passkey}", names.person(warrant.by))
        }
    }
}
