//! The tokens: good ones, every trick that has a name, and mutants bred from a seed.

use ambit_core::{Timestamp, json::Value};
use ambit_identity::{
    SvidKey,
    jose::{Algorithm, Jwk, JwkSet, KeyUse, SigningKey, VerifyingKeys, base64url},
    token::access::AccessVerifier,
};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

pub(crate) const ISSUER: &str = "https://ambit.example.org";
pub(crate) const AUDIENCE: &str = "https://ambit.example.org/mcp";
/// 2026-11-22T00:00:00Z.
pub(crate) const NOW_SECONDS: u64 = 1_795_305_600;

/// How many mutants are bred.
const MUTANTS: usize = 600;
const DIGEST: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// A token and what Ambit must answer.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) expect: Expect,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expect {
    Accepted,
    Refused,
    /// Bred: only that nobody refuses what Ambit accepts.
    Either,
}

/// A key pair of the corpus.
pub(crate) struct Pair {
    pub(crate) public: Jwk,
    pkcs8: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(chance: u8) -> Self {
        let pem = SvidKey::generate([chance; 32]).unwrap().to_pem();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let pkcs8 = der.secret_pkcs8_der().to_vec();
        let key = SigningKey::from_pkcs8(&pkcs8, KeyUse::Signature).unwrap();
        let public = key.public().clone();
        Self { public, pkcs8 }
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    fn sign(&self, signed: &str) -> Vec<u8> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).unwrap();
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        signature.as_ref().to_vec()
    }

    /// Signs whatever header and claims.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let signed = joined(header, claims);
        format!("{signed}.{}", base64url::encode(self.sign(&signed)))
    }
}

/// The keys of the issuer: the one that signs and an older one.
pub(crate) fn key_set() -> JwkSet {
    JwkSet::new(vec![Pair::new(1).public, Pair::new(2).public]).unwrap()
}

/// Asks Ambit.
pub(crate) fn accepts(token: &str) -> Result<(), String> {
    let keys = VerifyingKeys::new(&key_set(), &[KeyUse::Signature], &[Algorithm::Es256]).unwrap();
    let verifier = AccessVerifier::new(ISSUER.to_owned(), keys);
    let now = Timestamp::from_millis(NOW_SECONDS * 1000);
    let verified = verifier.verify(token, AUDIENCE, now);
    verified.map(drop).map_err(|error| error.to_string())
}

/// Returns all tokens.
pub(crate) fn cases() -> Vec<Case> {
    let own = Pair::new(1);
    let kid = own.public.key_id().unwrap().to_owned();
    let mut cases = Vec::new();
    let mut add = |name: &str, token: String, expect| {
        let name = name.to_owned();
        cases.push(Case {
            name,
            token,
            expect,
        });
    };
    let (header, claims) = (good_header(&kid), good_claims());
    let good = own.token(&header, &claims);
    add("good", good.clone(), Expect::Accepted);
    let spaced = claims.replace(',', " ,\n ");
    add(
        "good, spaced",
        own.token(&header, &spaced),
        Expect::Accepted,
    );
    let escaped = claims.replace("\"sub\"", "\"\\u0073ub\"");
    add(
        "good, escaped",
        own.token(&header, &escaped),
        Expect::Accepted,
    );
    for (place, claims) in wrong_claims(&claims).into_iter().enumerate() {
        let name = format!("claims {place}: {claims}");
        add(&name, own.token(&header, &claims), Expect::Refused);
    }
    for (place, header) in wrong_headers(&kid).into_iter().enumerate() {
        let name = format!("header {place}: {header}");
        add(&name, own.token(&header, &claims), Expect::Refused);
    }
    for (name, token) in confusions(&own, &kid, &claims) {
        add(name, token, Expect::Refused);
    }
    for (name, token) in deformed(&own, &header, &claims) {
        add(name, token, Expect::Refused);
    }
    let mut seed = Seed(0x9e37_79b9_7f4a_7c15);
    for number in 0..MUTANTS {
        let token = seed.mutant(&own, &kid, &good);
        add(&format!("mutant {number}"), token, Expect::Either);
    }
    cases
}

fn good_header(kid: &str) -> String {
    format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#)
}

fn good_claims() -> String {
    format!(
        r#"{{"iss":"{ISSUER}","sub":"person_1","client_id":"spiffe://example.org/agent/a/1",
        "aud":"{AUDIENCE}","jti":"t","iat":{NOW_SECONDS},"exp":{},
        "act":{{"sub":"spiffe://example.org/agent/a/1"}},
        "mission":{{"id":"task_1","root":"task_1","issuer":"{ISSUER}","authority_hash":"h","expires_at":"e"}},
        "authorization_details":[{{"type":"ambit_task"}}],"cnf":{{"jkt":"{DIGEST}"}}}}"#,
        NOW_SECONDS + 300,
    )
}

/// Returns claims with one value replaced by another text of JSON.
fn replaced(claims: &str, name: &str, value: &str) -> String {
    let Ok(Value::Object(mut members)) = ambit_core::json::parse(claims.as_bytes()) else {
        panic!("the claims are an object");
    };
    members.remove(name);
    let rest = Value::Object(members).to_canonical();
    rest.replacen('{', &format!("{{\"{name}\":{value},"), 1)
}

/// Members of claims, each with a value that makes the claims wrong.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("exp", "null"),
    ("exp", "true"),
    ("exp", "[]"),
    ("exp", "-1"),
    ("exp", "0"),
    ("exp", "1e400"),
    ("exp", "1795305600"),
    ("exp", "1795305900.5"),
    ("exp", "1795305900.0"),
    ("exp", "1.7953059e9"),
    ("exp", "\"1795305900\""),
    ("exp", "9007199254740993"),
    ("exp", "18446744073709551616"),
    ("nbf", "1795306000"),
    ("nbf", "\"1795305600\""),
    ("nbf", "1795305600.5"),
    ("nbf", "null"),
    ("iat", "1795306000"),
    ("iat", "\"now\""),
    ("iat", "null"),
    ("aud", "[]"),
    ("aud", "null"),
    ("aud", "{}"),
    ("aud", "\"https://ambit.example.org\""),
    ("aud", "\"https://ambit.example.org/mcp/\""),
    (
        "aud",
        "[\"https://ambit.example.org/mcp\",\"https://other.example\"]",
    ),
    ("aud", "[\"https://ambit.example.org/mcp\",7]"),
    ("aud", "[[\"https://ambit.example.org/mcp\"]]"),
    ("iss", "\"https://other.example\""),
    ("iss", "[\"https://ambit.example.org\"]"),
    ("iss", "null"),
    ("sub", "7"),
    ("sub", "[\"person_1\"]"),
    ("jti", "7"),
    ("client_id", "null"),
    ("act", "{\"sub\":\"person_1\"}"),
    ("act", "{\"sub\":\"spiffe://example.org/a\",\"act\":\"x\"}"),
    ("act", "[]"),
    ("mission", "{}"),
    ("cnf", "{}"),
    ("cnf", "{\"jwk\":{}}"),
    ("authorization_details", "{}"),
    ("b64", "false"),
];

fn wrong_claims(claims: &str) -> Vec<String> {
    let late = NOW_SECONDS + 300;
    let mut wrong: Vec<String> = WRONG_VALUES
        .iter()
        .map(|(name, value)| replaced(claims, name, value))
        .collect();
    for name in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "client_id",
        "act",
        "mission",
    ] {
        wrong.push(claims.replacen(&format!("\"{name}\""), &format!("\"{name}_\""), 1));
    }
    for name in ["exp", "aud", "sub"] {
        wrong.push(claims.replacen('{', &format!("{{\"{name}\":{late},"), 1));
        wrong.push(claims.trim_end_matches('}').to_owned() + &format!("}},\"{name}\":{late}}}"));
    }
    wrong.push(claims.replacen("\"act\":{", "\"act\":{\"sub\":\"x\",", 1));
    wrong.push(format!("[{claims}]"));
    wrong.push(format!("{claims} {claims}"));
    wrong.push(format!("\u{feff}{claims}"));
    wrong.push(claims.replace('"', "'"));
    wrong.push(String::new());
    wrong.push("null".to_owned());
    wrong
}

fn wrong_headers(kid: &str) -> Vec<String> {
    let with = |members: &str| good_header(kid).replacen('{', &format!("{{{members},"), 1);
    let embedded = Pair::new(3).public.bare().to_value().to_canonical();
    let mut wrong: Vec<String> = [
        "\"crit\":[\"exp\"]",
        "\"crit\":[]",
        "\"crit\":[\"b64\"],\"b64\":false",
        "\"b64\":false",
        "\"zip\":\"DEF\"",
        "\"jku\":\"https://other.example/keys\"",
        "\"x5u\":\"https://other.example/chain\"",
        "\"x5c\":[\"AA==\"]",
        "\"alg\":\"none\"",
        "\"kid\":\"other\"",
        "\"typ\":\"JWT\"",
        "\"enc\":\"A256GCM\"",
    ]
    .iter()
    .map(|it| with(it))
    .collect();
    wrong.push(with(&format!("\"jwk\":{embedded}")));
    let good = good_header(kid);
    for (from, to) in [
        ("\"ES256\"", "\"none\""),
        ("\"ES256\"", "\"None\""),
        ("\"ES256\"", "\"HS256\""),
        ("\"ES256\"", "\"RS256\""),
        ("\"ES256\"", "\"ES384\""),
        ("\"ES256\"", "\"ES256K\""),
        ("\"ES256\"", "\"es256\""),
        ("\"ES256\"", "[\"ES256\"]"),
        ("\"ES256\"", "null"),
        ("\"alg\"", "\"ALG\""),
        ("at+jwt", "JWT"),
        ("at+jwt", "dpop+jwt"),
        ("at+jwt", "logout+jwt"),
        ("\"typ\"", "\"type\""),
        ("\"kid\"", "\"keyid\""),
        (kid, "../../etc/passwd"),
        (kid, "' OR 1=1 --"),
        (kid, ""),
    ] {
        wrong.push(good.replacen(from, to, 1));
    }
    wrong.push(good.replacen(&format!("\"{kid}\""), "7", 1));
    wrong.push(format!("[{good}]"));
    wrong.push(String::new());
    wrong
}

/// Tokens that confuse keys and algorithms.
fn confusions(own: &Pair, kid: &str, claims: &str) -> Vec<(&'static str, String)> {
    let (header, other) = (good_header(kid), Pair::new(3));
    let unsigned = good_header(kid).replace("ES256", "none");
    let symmetric = good_header(kid).replace("ES256", "HS256");
    let hmac_with = |secret: &[u8]| {
        let signed = joined(&symmetric, claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", base64url::encode(tag))
    };
    let public = own.public.to_value().to_canonical();
    let ambit_identity::jose::PublicKey::Ec { point, .. } = own.public.public() else {
        panic!("the corpus' keys are on P-256");
    };
    let older = Pair::new(2);
    vec![
        ("unsigned", format!("{}.", joined(&unsigned, claims))),
        ("unsigned, no dot", joined(&unsigned, claims)),
        ("HS256 with the JWK", hmac_with(public.as_bytes())),
        ("HS256 with the point", hmac_with(point)),
        ("HS256 with nothing", hmac_with(&[])),
        ("another's key", other.token(&header, claims)),
        ("the older key's signature", older.token(&header, claims)),
    ]
}

/// Tokens whose text is not that of a compact JWS.
fn deformed(own: &Pair, header: &str, claims: &str) -> Vec<(&'static str, String)> {
    let signed = joined(header, claims);
    let raw = own.sign(&signed);
    let with = |signature: &[u8]| format!("{signed}.{}", base64url::encode(signature));
    let good = with(&raw);
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &own.pkcs8).unwrap();
    let der = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let resigned = |signed: &str| format!("{signed}.{}", base64url::encode(own.sign(signed)));
    let (head, body) = signed.split_once('.').unwrap();
    let long = claims.replacen('{', &format!("{{\"f\":\"{}\",", "x".repeat(16_384)), 1);
    vec![
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("one dot more", format!("{good}.")),
        ("one part more", format!("{good}.AAAA")),
        ("a dot first", format!(".{good}")),
        ("padded signature", format!("{good}==")),
        ("padded header", resigned(&format!("{head}=.{body}"))),
        ("padded claims", resigned(&format!("{head}.{body}="))),
        ("a space after", format!("{good} ")),
        ("a space before", format!(" {good}")),
        ("a line's end after", format!("{good}\n")),
        ("a space within", good.replacen('.', " .", 1)),
        ("no signature", format!("{signed}.")),
        ("short signature", with(&raw[..63])),
        ("long signature", with(&[raw.as_slice(), &[0]].concat())),
        ("zeros", with(&[0; 64])),
        ("ones", with(&[255; 64])),
        ("DER", with(der.as_ref())),
        ("swapped halves", with(&[&raw[32..], &raw[..32]].concat())),
        ("no claims", resigned(&format!("{head}."))),
        ("no header", resigned(&format!(".{body}"))),
        (
            "JSON serialisation",
            format!(
                r#"{{"protected":"{head}","payload":"{body}","signature":"{}"}}"#,
                base64url::encode(&raw)
            ),
        ),
        ("oversized", own.token(header, &long)),
    ]
}

fn joined(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        base64url::encode(header),
        base64url::encode(claims)
    )
}

/// A small generator (xorshift64*): the same mutants in each run.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Changes a letter of a good token, or signs a header and claims with a few values changed.
    fn mutant(&mut self, own: &Pair, kid: &str, good: &str) -> String {
        if self.below(4) == 0 {
            let place = self.below(good.len());
            let letter = self.pick(&["A", "B", "_", "-", "=", ".", " ", "+", ""]);
            let mut text = good.to_owned();
            text.replace_range(place..=place, letter);
            return text;
        }
        let (mut header, mut claims) = (good_header(kid), good_claims());
        for _ in 0..=self.below(2) {
            let name = self.pick(&[
                "exp", "nbf", "iat", "aud", "iss", "sub", "jti", "act", "cnf",
            ]);
            let value = self.pick(VALUES);
            match self.below(6) {
                0 => {
                    let name = self.pick(&["alg", "typ", "kid", "crit", "b64", "cty"]);
                    header = replaced(&header, name, self.pick(VALUES));
                }
                1 => claims = claims.replacen('{', &format!("{{\"{name}\":{value},"), 1),
                2 => claims = claims.replacen(&format!("\"{name}\":"), &format!("\"x{name}\":"), 1),
                _ if ambit_core::json::parse(claims.as_bytes()).is_ok() => {
                    claims = replaced(&claims, name, value);
                }
                _ => {}
            }
            if ambit_core::json::parse(header.as_bytes()).is_err() {
                break;
            }
        }
        own.token(&header, &claims)
    }
}

/// Texts of JSON for any member.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "1795305600",
    "1795305900",
    "1795305900.0",
    "1795306000",
    "1795305500",
    "\"\"",
    "\"x\"",
    "\"ES256\"",
    "\"at+jwt\"",
    "\"https://ambit.example.org\"",
    "\"https://ambit.example.org/mcp\"",
    "[\"https://ambit.example.org/mcp\"]",
    "[\"https://ambit.example.org/mcp\",\"x\"]",
    "{}",
    "[]",
    "{\"sub\":\"spiffe://example.org/agent/b/2\"}",
    "\"spiffe://example.org/agent/b/2\"",
    "{\"jkt\":\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\"}",
];
