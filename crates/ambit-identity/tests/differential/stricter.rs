//! Where Ambit is stricter than all judges, and why.

use crate::profiles::Kind::{
    self, Access, Assertion, ForeignSvid, IdToken, OwnSvid, Proof, SvidAssertion, WorkloadToken,
};

/// Tokens that all judges take and Ambit refuses, for one reason.
pub(crate) struct Row {
    pub(crate) why: &'static str,
    pub(crate) kinds: &'static [Kind],
    pub(crate) names: &'static [&'static str],
}

const ALL: &[Kind] = &Kind::ALL;
const UNTYPED: &[Kind] = &[
    OwnSvid,
    ForeignSvid,
    SvidAssertion,
    Assertion,
    WorkloadToken,
    IdToken,
];
const IDENTIFIED: &[Kind] = &[
    Access,
    OwnSvid,
    SvidAssertion,
    Assertion,
    WorkloadToken,
    Proof,
];

/// Every such token.
pub(crate) const STRICTER: &[Row] = &[
    Row {
        why: "a date is an integer: who rounds, and which way, is nobody's guess",
        kinds: ALL,
        names: &[
            "exp = SOON.5",
            "exp = SOON.0",
            "exp = SOONe0",
            "nbf = NOW.5",
            "nbf = PAST.0",
            "iat = NOW.5",
            "iat = NOW.0",
        ],
    },
    Row {
        why: "a date lies between 1970 and the year 9999",
        kinds: Kind::BUT_PROOF,
        names: &["iat = -1"],
    },
    Row {
        why: "a date lies between 1970 and the year 9999, and no token lives for ever",
        kinds: ALL,
        names: &["exp = 9007199254740993"],
    },
    Row {
        why: "each kind of token has a longest life",
        kinds: Kind::BUT_PROOF,
        names: &["exp = FAR"],
    },
    Row {
        why: "a token that ends when it begins was never good, and a proof is over at its end",
        kinds: ALL,
        names: &["exp = NOW"],
    },
    Row {
        why: "the age of a proof has no leeway beyond its maximum",
        kinds: &[Proof],
        names: &["iat, just stale"],
    },
    Row {
        why: "two members of one name have two readings",
        kinds: ALL,
        names: &["iat twice, wrong first", "with \"n\":{\"a\":1,\"a\":2}"],
    },
    Row {
        why: "two members of one name have two readings",
        kinds: IDENTIFIED,
        names: &["jti twice, wrong first", "jti twice, wrong last"],
    },
    Row {
        why: "two members of one name have two readings",
        kinds: &[Access],
        names: &[
            "act twice, wrong first",
            "act twice, wrong last",
            "authorization_details twice, wrong first",
            "authorization_details twice, wrong last",
            "client_id twice, wrong first",
            "client_id twice, wrong last",
            "cnf twice, wrong first",
            "cnf twice, wrong last",
            "mission twice, wrong first",
            "mission twice, wrong last",
        ],
    },
    Row {
        why: "two members of one name have two readings",
        kinds: &[Proof],
        names: &[
            "htm twice, wrong first",
            "htm twice, wrong last",
            "htu twice, wrong first",
            "htu twice, wrong last",
        ],
    },
    Row {
        why: "two members of one name have two readings",
        kinds: &[IdToken],
        names: &["nonce twice, wrong first", "nonce twice, wrong last"],
    },
    Row {
        why: "two members of one name have two readings",
        kinds: &[WorkloadToken],
        names: &["job twice, wrong first", "job twice, wrong last"],
    },
    Row {
        why: "whoever else the token is for could show it here",
        kinds: &[Access, SvidAssertion, Assertion, WorkloadToken, IdToken],
        names: &[
            "aud = [\"AUD\",\"https://other.example\"]",
            "aud = [\"https://other.example\",\"AUD\"]",
            "aud = [\"AUD\",\"AUD\"]",
        ],
    },
    Row {
        why: "a name that is empty names nobody",
        kinds: Kind::BUT_PROOF,
        names: &["aud = [\"AUD\",\"\"]"],
    },
    Row {
        why: "a name that is empty names nobody",
        kinds: &[OwnSvid, ForeignSvid, SvidAssertion],
        names: &["iss = \"\"", "jti = \"\""],
    },
    Row {
        why: "a name that is empty names nobody",
        kinds: &[WorkloadToken],
        names: &["jti = \"\""],
    },
    Row {
        why: "a key or a content that the header brings is the sender's choice",
        kinds: ALL,
        names: &[
            "header jku = \"https://other.example/keys\"",
            "header x5u = \"https://other.example/chain\"",
            "header x5c = [\"AA==\"]",
            "header cty = \"JWT\"",
            "header b64 = true",
        ],
    },
    Row {
        why: "a key or a content that the header brings is the sender's choice",
        kinds: Kind::BUT_PROOF,
        names: &["header jwk"],
    },
    Row {
        why: "a key or a content that the header brings is the sender's choice",
        kinds: &[Proof],
        names: &["header kid beside jwk"],
    },
    Row {
        why: "only issuers that are not ours write it, and nobody reads it",
        kinds: &[
            Access,
            OwnSvid,
            ForeignSvid,
            SvidAssertion,
            Assertion,
            Proof,
        ],
        names: &["header x5t"],
    },
    Row {
        why: "a token of another kind by the same key must not pass (RFC 8725 §3.11); letters are compared exactly",
        kinds: UNTYPED,
        names: &[
            "header typ = at+jwt",
            "header typ = dpop+jwt",
            "header typ = jwt",
            "header typ = \"\"",
            "header typ = \"at+JWT\"",
            "header typ = \"application/at+jwt\"",
            "header typ = \"dpop+JWT\"",
            "header typ = \"logout+jwt\"",
        ],
    },
    Row {
        why: "a token of another kind by the same key must not pass (RFC 8725 §3.11); letters are compared exactly",
        kinds: &[Assertion, WorkloadToken, IdToken],
        names: &["header typ = JOSE"],
    },
    Row {
        why: "a token of another kind by the same key must not pass (RFC 8725 §3.11); letters are compared exactly",
        kinds: &[OwnSvid, ForeignSvid, SvidAssertion, WorkloadToken, IdToken],
        names: &["header typ = client-authentication+jwt"],
    },
    Row {
        why: "more is not read than fits",
        kinds: ALL,
        names: &["oversized"],
    },
    Row {
        why: "an access token has the claims that Ambit writes, and no others",
        kinds: &[Access],
        names: &[
            "nbf = NOW",
            "nbf = PAST",
            "no cnf",
            "b64 = false",
            "crit = [\"exp\"]",
            "score = 0.5",
            "score = -1e-7",
            "score = 9007199254740993",
            "score = null",
            "score = \"\\u0000\"",
            "azp = \"https://other.example\"",
            "azp = 7",
            "nonce = \"x\"",
            "nonce = 7",
            "nonce = null",
            "ath = \"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\"",
            "ath = 7",
            "htm = \"GET\"",
            "htm = \"post\"",
            "htm = 7",
            "htu = null",
            "htu = \"http://ambit.example.org/oauth/token\"",
            "htu = \"https://ambit.example.org/oauth/./token?a#b\"",
            "htu = \"https://ambit.example.org/oauth/token/\"",
            "htu = \"https://ambit.example.org:444/oauth/token\"",
            "htu = \"https://other.example/oauth/token\"",
            "htu = \"https://u@ambit.example.org/oauth/token\"",
        ],
    },
    Row {
        why: "no other library knows this claim of the kind",
        kinds: &[Access],
        names: &[
            "act = {\"sub\":\"person_1\"}",
            "act = {\"sub\":\"spiffe://example.org/a\",\"act\":\"x\"}",
            "cnf = {}",
            "cnf = {\"jwk\":{}}",
        ],
    },
    Row {
        why: "no other library knows this claim of the kind",
        kinds: &[Proof],
        names: &[
            "ath = \"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\"",
            "ath = 7",
            "htm = \"GET\"",
            "htm = \"post\"",
            "htm = 7",
            "htu = \"http://ambit.example.org/oauth/token\"",
            "htu = \"https://ambit.example.org/oauth/token/\"",
            "htu = \"https://ambit.example.org:444/oauth/token\"",
            "htu = \"https://other.example/oauth/token\"",
            "htu = \"https://u@ambit.example.org/oauth/token\"",
            "nonce = 7",
            "nonce = null",
        ],
    },
    Row {
        why: "no other library knows this claim of the kind",
        kinds: &[IdToken],
        names: &[
            "azp = \"https://other.example\"",
            "azp = 7",
            "nonce = \"x\"",
            "nonce = 7",
        ],
    },
    Row {
        why: "whose key signs names workloads of its own trust domain alone, and a client is who it says",
        kinds: &[OwnSvid, ForeignSvid, SvidAssertion, Assertion],
        names: &[
            "sub = \"spiffe://else.example/a\"",
            "sub = \"spiffe://else.example\"",
        ],
    },
    Row {
        why: "a key for which everybody can sign proves nothing",
        kinds: &[Proof],
        names: &["a key of small order"],
    },
    Row {
        why: "who names itself by a SPIFFE ID is the workload, or its trust domain",
        kinds: &[SvidAssertion],
        names: &["iss = \"spiffe://else.example\""],
    },
];
