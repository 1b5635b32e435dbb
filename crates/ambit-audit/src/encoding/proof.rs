//! The kinds of records that passkeys and logins leave, both ways.

use ambit_core::{
    proof::{Enrolment, Login, LoginBy, Passkey, PasskeyAlgorithm, PasskeyKept, ProofFact},
    record::Body,
};

use super::{
    DecodeError, kind,
    read::{Members as Read, warrant as read_warrant},
    write::{Members as Written, members, time, warrant},
};

pub(super) fn write(fact: &ProofFact) -> (&'static str, Written<'_>) {
    match fact {
        ProofFact::LoginOpened { login, warrant: by } => (
            kind::LOGIN_OPENED,
            write_login(login).add("warrant", warrant(by)),
        ),
        ProofFact::LoginEnded { login, warrant: by } => (
            kind::LOGIN_ENDED,
            members()
                .text("login", login)
                .maybe("warrant", by.as_ref().map(warrant)),
        ),
        ProofFact::EnrolmentOffered {
            enrolment,
            warrant: by,
        } => (
            kind::ENROLMENT_OFFERED,
            members()
                .text("person", &enrolment.person)
                .text("secret", &enrolment.secret)
                .add("expires_at", time(enrolment.expires_at))
                .add("warrant", warrant(by)),
        ),
        ProofFact::PasskeyRegistered { passkey, enrolment } => (
            kind::PASSKEY_REGISTERED,
            write_passkey(passkey).text("enrolment", enrolment),
        ),
        ProofFact::PasskeyUsed {
            passkey,
            sign_count,
        } => (
            kind::PASSKEY_USED,
            members()
                .text("passkey", passkey)
                .add("sign_count", u64::from(*sign_count)),
        ),
        ProofFact::PasskeyRemoved {
            passkey,
            warrant: by,
        } => (
            kind::PASSKEY_REMOVED,
            members()
                .text("passkey", passkey)
                .add("warrant", warrant(by)),
        ),
    }
}

pub(super) fn read(kind: &str, it: &mut Read) -> Result<Body, DecodeError> {
    let fact = match kind {
        kind::LOGIN_OPENED => ProofFact::LoginOpened {
            login: read_login(it)?,
            warrant: it.object("warrant", read_warrant)?,
        },
        kind::LOGIN_ENDED => ProofFact::LoginEnded {
            login: it.text("login")?,
            warrant: it.maybe_object("warrant", read_warrant)?,
        },
        kind::ENROLMENT_OFFERED => ProofFact::EnrolmentOffered {
            enrolment: Enrolment {
                person: it.text("person")?,
                secret: it.text("secret")?,
                expires_at: it.time("expires_at")?,
            },
            warrant: it.object("warrant", read_warrant)?,
        },
        kind::PASSKEY_REGISTERED => ProofFact::PasskeyRegistered {
            passkey: read_passkey(it)?,
            enrolment: it.text("enrolment")?,
        },
        kind::PASSKEY_USED => ProofFact::PasskeyUsed {
            passkey: it.text("passkey")?,
            sign_count: sign_count(it)?,
        },
        kind::PASSKEY_REMOVED => ProofFact::PasskeyRemoved {
            passkey: it.text("passkey")?,
            warrant: it.object("warrant", read_warrant)?,
        },
        unknown => return Err(DecodeError::Kind(unknown.chars().take(64).collect())),
    };
    Ok(Body::Proof(Box::new(fact)))
}

fn write_login(login: &Login) -> Written<'_> {
    let (by, subject, passkey) = match &login.by {
        LoginBy::Provider { subject } => (PROVIDER, Some(subject), None),
        LoginBy::Passkey { passkey } => (PASSKEY, None, Some(passkey)),
    };
    members()
        .text("login", &login.id)
        .text("person", &login.person)
        .text("key", &login.key)
        .text("secret", &login.secret)
        .add("by", by)
        .maybe_text("subject", subject)
        .maybe_text("passkey", passkey)
        .add("expires_at", time(login.expires_at))
}

fn read_login(it: &mut Read) -> Result<Login, DecodeError> {
    let by = it.string("by")?;
    let (subject, passkey) = (it.maybe_text("subject")?, it.maybe_text("passkey")?);
    let by = match (by.as_str(), subject, passkey) {
        (PROVIDER, Some(subject), None) => LoginBy::Provider { subject },
        (PASSKEY, None, Some(passkey)) => LoginBy::Passkey { passkey },
        _ => return Err(DecodeError::Invalid("by")),
    };
    Ok(Login {
        id: it.text("login")?,
        person: it.text("person")?,
        key: it.text("key")?,
        secret: it.text("secret")?,
        by,
        expires_at: it.time("expires_at")?,
    })
}

fn write_passkey(passkey: &Passkey) -> Written<'_> {
    members()
        .text("passkey", &passkey.id)
        .text("person", &passkey.person)
        .add("credential", passkey.credential.as_str())
        .add("algorithm", passkey.algorithm.as_str())
        .add("public_key", passkey.public_key.as_str())
        .add("sign_count", u64::from(passkey.sign_count))
        .add("kept", passkey.kept.as_str())
}

fn read_passkey(it: &mut Read) -> Result<Passkey, DecodeError> {
    Ok(Passkey {
        id: it.text("passkey")?,
        person: it.text("person")?,
        credential: it.string("credential")?,
        algorithm: it.word("algorithm", PasskeyAlgorithm::ALL, PasskeyAlgorithm::as_str)?,
        public_key: it.string("public_key")?,
        sign_count: sign_count(it)?,
        kept: it.word("kept", PasskeyKept::ALL, PasskeyKept::as_str)?,
    })
}

fn sign_count(it: &mut Read) -> Result<u32, DecodeError> {
    u32::try_from(it.number("sign_count")?).map_err(|_| DecodeError::Invalid("sign_count"))
}

const PROVIDER: &str = "provider";
const PASSKEY: &str = "passkey";
