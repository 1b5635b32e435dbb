//! What the gateway says of itself to clients without a token (RFC 9728), and to those whose token it refuses
//! (RFC 6750 §3, RFC 9449 §7.1 and §9).

use ambit_core::{Reason, Timestamp, json::Value, quotable::quotable};
use ambit_identity::{KeyBinding, dpop::ALGORITHMS};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Scheme, Tokens, Unidentified};
use crate::{
    body::{self, Body},
    mcp::acts::Door,
};

/// Where a resource describes itself (RFC 9728 §3.1). The path of the resource follows; without one it is `/mcp`.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// The type of what tokens grant (RFC 9396).
const DETAILS_TYPE: &str = "ambit_task";
/// The longest description of an error, in characters.
const DESCRIPTION_CHARACTERS_MAX: usize = 256;

/// Returns the resource that a path describes, when it is such a path.
pub(crate) fn described(path: &str) -> Option<Option<Door>> {
    let resource = path.strip_prefix(WELL_KNOWN)?;
    Some(match resource {
        "" => Some(Door::All),
        path => Door::of_path(path),
    })
}

impl Tokens {
    /// Returns what clients must know to get a token for `door`. Whether there is such a server is not told.
    pub(crate) fn metadata(&self, door: &Door) -> Response<Body> {
        let config = &self.config;
        let texts = |items: &[&str]| items.iter().copied().collect::<Value>();
        let algorithms: Vec<&str> = ALGORITHMS.iter().map(|it| it.as_str()).collect();
        let name = match door {
            Door::All => "Ambit gateway".to_owned(),
            Door::One(server) => format!("Ambit gateway: {server}"),
        };
        let document = Value::object([
            ("resource", door.url(&config.url).into()),
            ("resource_name", name.into()),
            ("authorization_servers", texts(&[&config.issuer])),
            ("bearer_methods_supported", texts(&["header"])),
            (
                "authorization_details_types_supported",
                texts(&[DETAILS_TYPE]),
            ),
            ("dpop_signing_alg_values_supported", texts(&algorithms)),
            ("tls_client_certificate_bound_access_tokens", true.into()),
        ]);
        body::json(StatusCode::OK, document.to_canonical())
    }

    /// Returns the answer to a request at `door` that identifies nobody.
    pub(crate) fn refuse(&self, door: &Door, why: &Unidentified, now: Timestamp) -> Response<Body> {
        let (status, code, detail) = match why {
            Unidentified::NoToken => (
                StatusCode::UNAUTHORIZED,
                "no_token",
                "get an access token where the metadata of this resource says, or connect with an SVID",
            ),
            Unidentified::Request(why) => (StatusCode::BAD_REQUEST, INVALID_REQUEST, *why),
            Unidentified::Token(_, why) | Unidentified::Expired(_, why) => {
                (StatusCode::UNAUTHORIZED, INVALID_TOKEN, why.as_str())
            }
            Unidentified::Proof(why) => (StatusCode::UNAUTHORIZED, INVALID_PROOF, why.as_str()),
            Unidentified::Nonce => (
                StatusCode::UNAUTHORIZED,
                USE_NONCE,
                "repeat the request with a proof that has the nonce of the header DPoP-Nonce",
            ),
            Unidentified::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many proofs came within minutes; try again when some have expired",
            ),
        };
        let mut response = body::problem(status, code, detail);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return response;
        }
        let error = (*why != Unidentified::NoToken).then_some((code, detail));
        let of_bearer = matches!(
            why,
            Unidentified::Request(_)
                | Unidentified::Token(Scheme::Bearer, _)
                | Unidentified::Expired(Scheme::Bearer, _)
        );
        self.challenge(&mut response, door, error, of_bearer);
        if let Ok(nonce) = self.nonce(now).parse() {
            response.headers_mut().insert(DPOP_NONCE.clone(), nonce);
        }
        response
    }

    /// Returns the answer to a token that is worth nothing for `reason`, though its task lives.
    pub(crate) fn worth_nothing(
        &self,
        door: &Door,
        by: KeyBinding,
        reason: Reason,
        now: Timestamp,
    ) -> Response<Body> {
        let why = format!("{}; get another one", reason.for_agent());
        self.worthless(door, by, &why, now)
    }

    /// Returns the answer to a token that rests on the word of a trust domain that vouches no more.
    pub(crate) fn unvouched(&self, door: &Door, by: KeyBinding, now: Timestamp) -> Response<Body> {
        let why = "the trust domain of this token's client does not vouch for it as it did; prove yourself anew and get another token";
        self.worthless(door, by, why, now)
    }

    fn worthless(&self, door: &Door, by: KeyBinding, why: &str, now: Timestamp) -> Response<Body> {
        let scheme = match by {
            KeyBinding::Dpop { .. } => Scheme::Dpop,
            KeyBinding::Mtls { .. } | KeyBinding::Bearer => Scheme::Bearer,
        };
        self.refuse(door, &Unidentified::Token(scheme, why.to_owned()), now)
    }

    /// Returns the answer to a token that is good and grants too little: it is bound to no key, and the estate takes
    /// no such tokens.
    pub(crate) fn too_weak(&self, door: &Door) -> Response<Body> {
        let why =
            "tokens that are bound to no key are not taken here; get one with DPoP or mutual TLS";
        let mut response = body::problem(StatusCode::FORBIDDEN, INSUFFICIENT, why);
        self.challenge(&mut response, door, Some((INSUFFICIENT, why)), true);
        response
    }

    /// Adds what clients can do: each scheme, and what is wrong with the one that was tried.
    fn challenge(
        &self,
        response: &mut Response<Body>,
        door: &Door,
        error: Option<(&str, &str)>,
        of_bearer: bool,
    ) {
        let metadata = format!(
            "resource_metadata=\"{}{WELL_KNOWN}{door}\"",
            self.config.url
        );
        let error = error.map_or_else(String::new, |(code, why)| {
            format!(
                ", error=\"{code}\", error_description=\"{}\"",
                quotable(why, DESCRIPTION_CHARACTERS_MAX)
            )
        });
        let algorithms: Vec<&str> = ALGORITHMS.iter().map(|it| it.as_str()).collect();
        let (bearer, dpop) = if of_bearer {
            (error.as_str(), "")
        } else {
            ("", error.as_str())
        };
        let challenges = [
            format!("Bearer {metadata}{bearer}"),
            format!("DPoP {metadata}, algs=\"{}\"{dpop}", algorithms.join(" ")),
        ];
        for challenge in challenges {
            if let Ok(value) = HeaderValue::try_from(challenge) {
                response
                    .headers_mut()
                    .append(header::WWW_AUTHENTICATE, value);
            }
        }
    }
}

/// The header of nonces (RFC 9449 §8.1).
pub(crate) static DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const INVALID_REQUEST: &str = "invalid_request";
const INVALID_TOKEN: &str = "invalid_token";
const INVALID_PROOF: &str = "invalid_dpop_proof";
const USE_NONCE: &str = "use_dpop_nonce";
const INSUFFICIENT: &str = "insufficient_scope";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_describes_itself_and_the_root_is_mcp() {
        let check = |path: &str, wanted: Option<Option<&str>>| {
            let found = described(path).map(|it| it.map(|it| it.to_string()));
            assert_eq!(found, wanted.map(|it| it.map(str::to_owned)), "{path}");
        };
        check("/.well-known/oauth-protected-resource", Some(Some("/mcp")));
        check(
            "/.well-known/oauth-protected-resource/mcp",
            Some(Some("/mcp")),
        );
        check(
            "/.well-known/oauth-protected-resource/s/a/mcp",
            Some(Some("/s/a/mcp")),
        );
        check("/.well-known/oauth-protected-resource/s/a", Some(None));
        check("/.well-known/oauth-protected-resources", Some(None));
        check("/.well-known/other", None);
        check("/mcp", None);
    }
}
