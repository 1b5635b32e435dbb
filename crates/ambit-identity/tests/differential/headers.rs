//! Headers that are wrong, and keys that are confused: each is signed anew.

use ambit_core::json::Value;
use ambit_identity::jose::{Algorithm, base64url};
use aws_lc_rs::hmac;

use crate::{
    claims::replaced,
    corpus::{
        Expect::{self, Accepted, Refused},
        Variant, joined,
    },
    keys,
    profiles::{self, Kind, Site},
};

/// Members that no header has, or none of this kind.
const MEMBERS: &[(&str, &str)] = &[
    ("crit", "[\"exp\"]"),
    ("crit", "[]"),
    ("crit", "[\"alg\"]"),
    ("crit", "\"exp\""),
    ("crit", "null"),
    ("b64", "false"),
    ("b64", "true"),
    ("zip", "\"DEF\""),
    ("jku", "\"https://other.example/keys\""),
    ("x5u", "\"https://other.example/chain\""),
    ("x5c", "[\"AA==\"]"),
    ("enc", "\"A256GCM\""),
    ("cty", "\"JWT\""),
    ("nonce", "\"x\""),
    ("exp", "1"),
    ("n", "0.5"),
    ("alg", "\"none\""),
    ("alg", "\"None\""),
    ("alg", "\"HS256\""),
    ("alg", "\"ES256K\""),
    ("alg", "\"EdDSA \""),
    ("alg", "\"\""),
    ("alg", "null"),
    ("alg", "7"),
    ("typ", "\"logout+jwt\""),
    ("typ", "\"at+JWT\""),
    ("typ", "\"application/at+jwt\""),
    ("typ", "\"dpop+JWT\""),
    ("typ", "\"\""),
    ("typ", "null"),
    ("typ", "7"),
    ("typ", "[\"JWT\"]"),
];

const KEY_IDS: &[&str] = &[
    "\"other\"",
    "\"../../etc/passwd\"",
    "\"' OR 1=1 --\"",
    "\"NOW\"",
    "\"now \"",
    "\"\"",
    "7",
    "null",
    "[\"now\"]",
];

/// Returns every variant of the header of a site.
pub(crate) fn variants(site: &Site) -> Vec<Variant> {
    let good = site.header();
    let mut all: Vec<(String, String, Expect)> = Vec::new();
    let mut add = |name: &str, text: String| all.push((format!("header {name}"), text, Refused));
    for (name, value) in MEMBERS {
        add(&format!("{name} = {value}"), replaced(&good, name, value));
    }
    add(
        "crit and b64",
        good.replacen('{', "{\"crit\":[\"b64\"],\"b64\":false,", 1),
    );
    let alg = site.algorithm.as_str();
    let lower = format!("\"{}\"", alg.to_lowercase());
    add("alg in small letters", replaced(&good, "alg", &lower));
    add(
        "alg in a list",
        replaced(&good, "alg", &format!("[\"{alg}\"]")),
    );
    for name in ["alg", "typ"] {
        add(
            &format!("{name} twice"),
            good.replacen('{', &format!("{{\"{name}\":\"none\","), 1),
        );
    }
    add("alg in capitals", good.replacen("\"alg\"", "\"ALG\"", 1));
    add("typ_", good.replacen("\"typ\"", "\"typ_\"", 1));
    for algorithm in Algorithm::ALL
        .into_iter()
        .filter(|it| *it != site.algorithm)
    {
        let value = format!("\"{algorithm}\"");
        add(
            &format!("alg = {algorithm}, signed as before"),
            replaced(&good, "alg", &value),
        );
    }
    add("in a list", format!("[{good}]"));
    add("twice", format!("{good}{good}"));
    add("after a mark", format!("\u{feff}{good}"));
    add("of nothing", String::new());
    add("null", "null".to_owned());
    add(
        "very long",
        good.replacen('{', &format!("{{\"f\":\"{}\",", "x".repeat(4096)), 1),
    );
    for (name, text, expect) in of_kind(site, &good) {
        all.push((format!("header {name}"), text, expect));
    }
    let all = all.into_iter();
    all.map(|(name, text, expect)| (name, text.into_bytes(), expect))
        .collect()
}

/// What depends on how this kind names its key and itself.
fn of_kind(site: &Site, good: &str) -> Vec<(String, String, Expect)> {
    let kind = site.kind;
    let says = |is_taken| if is_taken { Accepted } else { Refused };
    let mut all = vec![(
        "good, spaced".to_owned(),
        good.replace(',', " ,\n "),
        Accepted,
    )];
    let is_typed = matches!(kind, Kind::Access | Kind::Proof);
    let untyped = good.replacen(&format!(",\"typ\":\"{}\"", kind.typ()), "", 1);
    all.push(("no typ".to_owned(), untyped, says(!is_typed)));
    for (typ, takers) in [
        ("at+jwt", [Kind::Access].as_slice()),
        ("dpop+jwt", &[Kind::Proof]),
        ("JWT", NOT_TYPED),
        ("jwt", &[]),
        (
            "JOSE",
            &[Kind::OwnSvid, Kind::ForeignSvid, Kind::SvidAssertion],
        ),
        ("client-authentication+jwt", &[Kind::Assertion]),
    ] {
        let text = replaced(good, "typ", &format!("\"{typ}\""));
        all.push((format!("typ = {typ}"), text, says(takers.contains(&kind))));
    }
    let takes_digest = matches!(kind, Kind::WorkloadToken | Kind::IdToken);
    let digest = replaced(good, "x5t", "\"AAAA\"");
    all.push(("x5t".to_owned(), digest, says(takes_digest)));
    if kind == Kind::Proof {
        all.extend(embedded(site, good));
        return all;
    }
    for value in KEY_IDS {
        all.push((
            format!("kid = {value}"),
            replaced(good, "kid", value),
            Refused,
        ));
    }
    let long = format!("\"{}\"", "k".repeat(257));
    all.push((
        "kid too long".to_owned(),
        replaced(good, "kid", &long),
        Refused,
    ));
    let twice = good.replacen('{', "{\"kid\":\"older\",", 1);
    all.push(("kid twice".to_owned(), twice, Refused));
    // Two keys could have signed.
    let nameless = good.replacen("\"kid\":\"now\",", "", 1);
    all.push(("no kid".to_owned(), nameless, Refused));
    for name in ["older", "second"] {
        let text = replaced(good, "kid", &format!("\"{name}\""));
        all.push((format!("kid of the {name} key"), text, Refused));
    }
    let own = site.ring.own.jwk([]).to_canonical();
    all.push(("jwk".to_owned(), replaced(good, "jwk", &own), Refused));
    all
}

/// The key in a proof's header.
fn embedded(site: &Site, good: &str) -> Vec<(String, String, Expect)> {
    let own = &site.ring.own;
    let with = |members: &[(&'static str, &str)]| {
        let members = members.iter().map(|(name, it)| (*name, Value::from(*it)));
        replaced(good, "jwk", &own.jwk(members).to_canonical())
    };
    let operations = |it: &str| {
        let list: Value = std::iter::once(it).collect();
        replaced(good, "jwk", &own.jwk([("key_ops", list)]).to_canonical())
    };
    let other = site.ring.other.jwk([]).to_canonical();
    let foreign = keys::ring(profiles::another(site.algorithm))
        .own
        .jwk([])
        .to_canonical();
    let zero = base64url::encode([0; 32]);
    let refused = [
        ("no jwk", good.replacen("\"jwk\"", "\"jwk_\"", 1)),
        ("jwk = null", replaced(good, "jwk", "null")),
        ("jwk = {}", replaced(good, "jwk", "{}")),
        (
            "jwk in a list",
            replaced(good, "jwk", &format!("[{}]", own.jwk([]).to_canonical())),
        ),
        (
            "jwk as a text",
            replaced(
                good,
                "jwk",
                &Value::from(own.jwk([]).to_canonical()).to_canonical(),
            ),
        ),
        ("jwk of another", replaced(good, "jwk", &other)),
        ("jwk of another kind", replaced(good, "jwk", &foreign)),
        ("jwk with a private half", with(&[("d", "AAAA")])),
        ("jwk for another algorithm", with(&[("alg", "RS256")])),
        ("jwk for encryption", with(&[("use", "enc")])),
        ("jwk to sign with", operations("sign")),
        ("jwk at nothing", with(&[("x", &zero)])),
        ("jwk too short", with(&[("x", "AQ")])),
        ("jwk padded", with(&[("x", "AQ==")])),
        ("jwk on no curve", with(&[("crv", "P-192")])),
        ("jwk in small letters", with(&[("kty", "ec")])),
        (
            "jwk of a secret",
            replaced(good, "jwk", r#"{"kty":"oct","k":"AAAA"}"#),
        ),
        ("kid beside jwk", replaced(good, "kid", "\"now\"")),
    ];
    let accepted = [
        (
            "jwk for signatures",
            with(&[
                ("use", "sig"),
                ("kid", "k"),
                ("alg", site.algorithm.as_str()),
            ]),
        ),
        ("jwk to verify with", operations("verify")),
    ];
    let refused = refused.map(|(name, it)| (name.to_owned(), it, Refused));
    let accepted = accepted.map(|(name, it)| (name.to_owned(), it, Accepted));
    refused.into_iter().chain(accepted).collect()
}

/// Whole tokens that confuse keys and algorithms.
pub(crate) fn confusions(site: &Site) -> Vec<(String, String)> {
    let (header, claims) = (site.header(), site.claims());
    let says = |alg: &str| replaced(&header, "alg", &format!("\"{alg}\""));
    let (ring, algorithm) = (site.ring, site.algorithm);
    let by = |pair: &keys::Pair, algorithm: Algorithm, header: &str| {
        let signed = joined(header, &claims);
        format!(
            "{signed}.{}",
            base64url::encode(pair.sign(algorithm, &signed))
        )
    };
    let unsigned = joined(says("none"), &claims);
    let mut all = vec![
        ("unsigned".to_owned(), format!("{unsigned}.")),
        ("unsigned, no dot".to_owned(), unsigned),
        (
            "another's key".to_owned(),
            by(&ring.other, algorithm, &header),
        ),
        (
            "the older key".to_owned(),
            by(&ring.older, algorithm, &header),
        ),
    ];
    for (name, secret) in secrets(&ring.own) {
        for (alg, strength) in HMACS {
            let signed = joined(says(alg), &claims);
            let tag = hmac::sign(&hmac::Key::new(*strength, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", base64url::encode(tag));
            all.push((format!("{alg} with {name}"), token));
        }
    }
    // The same key under another algorithm than it says, rightly signed.
    let siblings = Algorithm::ALL
        .into_iter()
        .filter(|it| keys::is_rsa(*it) && *it != algorithm);
    for sibling in siblings.filter(|_| keys::is_rsa(algorithm)) {
        let token = by(&ring.own, sibling, &says(sibling.as_str()));
        all.push((format!("signed as {sibling} by a key for another"), token));
    }
    // A key that is published, under the name of one for another algorithm.
    let second = profiles::another(algorithm);
    let pair = &keys::ring(second).own;
    all.push(("the second key".to_owned(), by(pair, second, &header)));
    all.push((
        "the second key's algorithm".to_owned(),
        by(pair, second, &says(second.as_str())),
    ));
    all
}

/// What is public of a key, as somebody could take it for a secret.
fn secrets(own: &keys::Pair) -> Vec<(&'static str, Vec<u8>)> {
    let jwk = own.jwk([]);
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    let number = member("n").or_else(|| member("x")).unwrap();
    vec![
        ("the JWK", jwk.to_canonical().into_bytes()),
        ("the number", base64url::decode(number).unwrap()),
        ("the number's text", number.as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ]
}

const HMACS: &[(&str, hmac::Algorithm)] =
    &[("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)];

const NOT_TYPED: &[Kind] = &[
    Kind::OwnSvid,
    Kind::ForeignSvid,
    Kind::SvidAssertion,
    Kind::Assertion,
    Kind::WorkloadToken,
    Kind::IdToken,
];
