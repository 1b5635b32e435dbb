//! Whether it helps to ask for newer keys.

use super::{HEADER_BYTES_MAX, JoseError, jws};

/// What a refused token says of the keys that refused it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Doubt {
    /// Newer keys of the same issuer would refuse it as well.
    Settled,
    /// It may be signed with a key that its issuer has published since.
    NewerKeys,
}

impl Doubt {
    /// Says whether a token that was refused may be signed with a newer key. One that names its key is if that key is not
    /// known; one that names none is if the keys that are known did not sign it. The profiles of OpenID Connect and of
    /// RFC 7523 let an issuer with one key leave the name out.
    pub fn of(token: &str, error: &JoseError) -> Self {
        let unknown = matches!(
            error,
            JoseError::UnknownKey { .. } | JoseError::WhichKey { .. }
        );
        if unknown || matches!(error, JoseError::Signature) && names_no_key(token) {
            return Self::NewerKeys;
        }
        Self::Settled
    }
}

fn names_no_key(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = (header.len() <= HEADER_BYTES_MAX).then_some(header);
    let read =
        header.and_then(|it| jws::object("header", it, ambit_core::json::parse_integers).ok());
    read.is_some_and(|it| !it.contains_key("kid"))
}

#[cfg(test)]
mod tests {
    use super::{super::base64url, *};

    #[test]
    fn newer_keys_are_asked_for_where_they_could_help() {
        let token = |header: &str| format!("{}.e30.AA", base64url::encode(header));
        let (named, unnamed) = (r#"{"alg":"ES256","kid":"a"}"#, r#"{"alg":"ES256"}"#);
        let algorithm = crate::jose::Algorithm::Es256;
        let unknown = JoseError::UnknownKey {
            key_id: "a".to_owned(),
            algorithm,
        };
        let which = JoseError::WhichKey { seen: 0, algorithm };
        for (header, error, wanted) in [
            (named, unknown, Doubt::NewerKeys),
            (unnamed, which, Doubt::NewerKeys),
            (unnamed, JoseError::Signature, Doubt::NewerKeys),
            (named, JoseError::Signature, Doubt::Settled),
            (unnamed, JoseError::Shape, Doubt::Settled),
            ("[]", JoseError::Signature, Doubt::Settled),
            ("no", JoseError::Signature, Doubt::Settled),
        ] {
            let found = Doubt::of(&token(header), &error);
            assert_eq!(found, wanted, "{header} {error}");
        }
        let long = token(&format!("{{\"a\":\"{}\"}}", "a".repeat(HEADER_BYTES_MAX)));
        assert_eq!(Doubt::of(&long, &JoseError::Signature), Doubt::Settled);
    }
}
