//! People: on local sockets by the operating system's word, elsewhere by a provider's.

use std::collections::BTreeMap;

use ambit_core::estate::Person;

use crate::{
    Carrier, IdentityError, PersonCaller, PersonProof, passkey::PasskeySignIn,
    token::id_token::SignIn,
};

/// How somebody signed in, in a browser.
#[derive(Clone, Debug)]
pub enum SignedIn {
    /// The organisation's provider said so.
    Provider(SignIn),
    /// By a passkey of this server.
    Passkey(PasskeySignIn),
}

/// What the kernel says of the process at the other end of a Unix socket (`SO_PEERCRED`).
///
/// The door that owns the socket fills this in from the kernel's answer and from nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerCredentials {
    /// The effective user when the peer connected.
    pub uid: u32,
    /// The effective group when the peer connected.
    pub gid: u32,
    /// The process, where the kernel tells it. For records: it proves nothing.
    pub pid: Option<u32>,
}

/// Identifies the one person of the estate whose local user holds the other end of the socket.
///
/// `people` are those of the estate in force, by alias. The group and the process prove nothing.
///
/// # Errors
/// [`IdentityError::UnknownUid`] when nobody has the uid, [`IdentityError::AmbiguousUid`] when
/// several people have it.
pub fn identify_person(
    peer: PeerCredentials,
    people: &BTreeMap<String, Person>,
) -> Result<PersonCaller, IdentityError> {
    let seen = peer.uid;
    let aliases: Vec<&String> = people
        .iter()
        .filter(|(_, person)| person.unix_uid == Some(seen))
        .map(|(alias, _)| alias)
        .collect();
    match aliases.as_slice() {
        [] => Err(IdentityError::UnknownUid { seen }),
        [alias] => Ok(PersonCaller {
            alias: (*alias).clone(),
            proof: PersonProof::LocalUser { unix_uid: seen },
        }),
        several => Err(IdentityError::AmbiguousUid {
            seen,
            aliases: several.iter().map(|it| (*it).clone()).collect(),
        }),
    }
}

/// Identifies the one person of the estate who has the provider's name for whoever signed in.
///
/// `people` are those of the estate in force, by alias. Issuer and subject are compared byte for
/// byte (OpenID Connect Core §2). Names, addresses and groups that a provider tells prove nothing.
///
/// # Errors
/// [`IdentityError::UnknownSubject`] when nobody has it, [`IdentityError::AmbiguousSubject`] when
/// several people have it.
pub fn identify_signed_in(
    sign_in: &SignIn,
    carrier: Carrier,
    people: &BTreeMap<String, Person>,
) -> Result<PersonCaller, IdentityError> {
    let is_same = |person: &Person| {
        let named = person.oidc.as_ref();
        named.is_some_and(|it| it.issuer == sign_in.issuer() && it.subject == sign_in.subject())
    };
    let aliases: Vec<&String> = people
        .iter()
        .filter(|(_, person)| is_same(person))
        .map(|(alias, _)| alias)
        .collect();
    match aliases.as_slice() {
        [] => Err(IdentityError::UnknownSubject {
            issuer: sign_in.issuer().to_owned(),
            subject: sign_in.subject().to_owned(),
        }),
        [alias] => Ok(PersonCaller {
            alias: (*alias).clone(),
            proof: PersonProof::SignIn { carrier },
        }),
        several => Err(IdentityError::AmbiguousSubject {
            aliases: several.iter().map(|it| (*it).clone()).collect(),
        }),
    }
}

/// Identifies the person of the estate who holds the passkey with which somebody signed in.
///
/// `holder` is whose passkey it is by the live state, by alias.
///
/// # Errors
/// [`IdentityError::UnknownHolder`] when the estate does not have that person.
pub fn identify_passkey(
    sign_in: &PasskeySignIn,
    holder: &str,
    carrier: Carrier,
    people: &BTreeMap<String, Person>,
) -> Result<PersonCaller, IdentityError> {
    let passkey = sign_in.passkey();
    if !people.contains_key(holder) {
        return Err(IdentityError::UnknownHolder { passkey });
    }
    Ok(PersonCaller {
        alias: holder.to_owned(),
        proof: PersonProof::SignIn { carrier },
    })
}
