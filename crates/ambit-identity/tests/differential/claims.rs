//! Claims that are wrong, or look so: each is signed anew, so that it is what is read that is judged.

use std::collections::BTreeMap;

use ambit_core::json::Value;

use crate::{
    corpus::{
        Expect::{self, Accepted, Refused},
        Variant,
    },
    profiles::{
        Kind::{
            self, Access, Assertion, ForeignSvid, IdToken, OwnSvid, Proof, SvidAssertion,
            WorkloadToken,
        },
        Site, TTL_SECONDS,
    },
};

/// A claim with another value, and who takes it nevertheless. An access token takes none that it does not name, and who
/// does not read a claim takes any of its type.
struct Row(&'static str, &'static str, &'static [Kind]);

const NOBODY: &[Kind] = &[];
const SVIDS: &[Kind] = &[OwnSvid, ForeignSvid];
const ALL_SVIDS: &[Kind] = &[OwnSvid, ForeignSvid, SvidAssertion];

/// `NOW` stands for the time, `SOON` for the end of a good token, `EDGE` for the last second of the leeway backwards,
/// `PAST` and `LATER` for an hour before and after, `FAR` for a year after, and `AUD` for the audience.
const ROWS: &[Row] = &[
    Row("exp", "null", NOBODY),
    Row("exp", "true", NOBODY),
    Row("exp", "[]", NOBODY),
    Row("exp", "[SOON]", NOBODY),
    Row("exp", "{}", NOBODY),
    Row("exp", "-1", NOBODY),
    Row("exp", "-SOON", NOBODY),
    Row("exp", "0", NOBODY),
    Row("exp", "1e400", NOBODY),
    Row("exp", "PAST", NOBODY),
    Row("exp", "NOW", NOBODY),
    Row("exp", "SOON.5", NOBODY),
    Row("exp", "SOON.0", NOBODY),
    Row("exp", "SOONe0", NOBODY),
    Row("exp", "\"SOON\"", NOBODY),
    Row("exp", "\"\"", NOBODY),
    Row("exp", "FAR", &[Proof]),
    Row("exp", "9007199254740993", NOBODY),
    Row("exp", "18446744073709551616", NOBODY),
    Row("exp", "99999999999999999999999999", NOBODY),
    Row("nbf", "PAST", FOREIGN_AND_PROOF),
    Row("nbf", "NOW", FOREIGN_AND_PROOF),
    Row("nbf", "LATER", NOBODY),
    Row("nbf", "FAR", NOBODY),
    Row("nbf", "-1", NOBODY),
    Row("nbf", "\"NOW\"", NOBODY),
    Row("nbf", "NOW.5", NOBODY),
    Row("nbf", "PAST.0", NOBODY),
    Row("nbf", "1e400", NOBODY),
    Row("nbf", "null", NOBODY),
    Row("nbf", "false", NOBODY),
    Row("nbf", "[NOW]", NOBODY),
    Row("iat", "PAST", Kind::BUT_PROOF),
    Row("iat", "LATER", NOBODY),
    Row("iat", "FAR", NOBODY),
    Row("iat", "0", Kind::BUT_PROOF),
    Row("iat", "-1", NOBODY),
    Row("iat", "\"now\"", NOBODY),
    Row("iat", "\"NOW\"", NOBODY),
    Row("iat", "NOW.5", NOBODY),
    Row("iat", "NOW.0", NOBODY),
    Row("iat", "1e400", NOBODY),
    Row("iat", "null", NOBODY),
    Row("iat", "true", NOBODY),
    Row("iat", "9007199254740993", NOBODY),
    Row("aud", "\"AUD\"", Kind::BUT_PROOF),
    Row("aud", "[\"AUD\"]", Kind::BUT_PROOF),
    Row("aud", "[]", NOBODY),
    Row("aud", "null", NOBODY),
    Row("aud", "7", NOBODY),
    Row("aud", "{}", NOBODY),
    Row("aud", "{\"AUD\":true}", NOBODY),
    Row("aud", "\"\"", NOBODY),
    Row("aud", "\"https://other.example\"", NOBODY),
    Row("aud", "\"AUD/\"", NOBODY),
    Row("aud", "\"AUD \"", NOBODY),
    Row("aud", "\"AUD,https://other.example\"", NOBODY),
    Row("aud", "[\"https://other.example\"]", NOBODY),
    Row("aud", "[\"AUD\",\"https://other.example\"]", SVIDS),
    Row("aud", "[\"https://other.example\",\"AUD\"]", SVIDS),
    Row("aud", "[\"AUD\",\"AUD\"]", SVIDS),
    Row("aud", "[\"AUD\",7]", NOBODY),
    Row("aud", "[\"AUD\",null]", NOBODY),
    Row("aud", "[\"AUD\",\"\"]", NOBODY),
    Row("aud", "[[\"AUD\"]]", NOBODY),
    Row("iss", "\"https://other.example\"", ALL_SVIDS),
    Row("iss", "\"spiffe://else.example\"", SVIDS),
    Row("iss", "[\"https://other.example\"]", NOBODY),
    Row("iss", "null", NOBODY),
    Row("iss", "7", NOBODY),
    Row("iss", "\"\"", NOBODY),
    Row("sub", "7", NOBODY),
    Row("sub", "null", NOBODY),
    Row("sub", "\"\"", NOBODY),
    Row("sub", "[\"person_1\"]", NOBODY),
    Row(
        "sub",
        "\"spiffe://else.example/a\"",
        &[Access, WorkloadToken, IdToken],
    ),
    Row(
        "sub",
        "\"spiffe://else.example\"",
        &[Access, WorkloadToken, IdToken],
    ),
    Row("jti", "7", NOBODY),
    Row("jti", "null", NOBODY),
    Row("jti", "[\"t\"]", NOBODY),
    Row("jti", "\"\"", NOBODY),
    Row("client_id", "null", NOBODY),
    Row("act", "{\"sub\":\"person_1\"}", NOBODY),
    Row(
        "act",
        "{\"sub\":\"spiffe://example.org/a\",\"act\":\"x\"}",
        NOBODY,
    ),
    Row("act", "[]", NOBODY),
    Row("mission", "{}", NOBODY),
    Row("cnf", "{}", NOBODY),
    Row("cnf", "{\"jwk\":{}}", NOBODY),
    Row("authorization_details", "{}", NOBODY),
    Row("azp", "\"https://other.example\"", NOBODY),
    Row("azp", "7", NOBODY),
    Row("nonce", "\"x\"", &[Proof]),
    Row("nonce", "7", NOBODY),
    Row("nonce", "null", NOBODY),
    Row("htm", "\"GET\"", NOBODY),
    Row("htm", "\"post\"", NOBODY),
    Row("htm", "7", NOBODY),
    Row("htu", "\"https://other.example/oauth/token\"", NOBODY),
    Row("htu", "\"https://ambit.example.org/oauth/token/\"", NOBODY),
    Row(
        "htu",
        "\"https://ambit.example.org:444/oauth/token\"",
        NOBODY,
    ),
    Row("htu", "\"http://ambit.example.org/oauth/token\"", NOBODY),
    Row("htu", "\"https://u@ambit.example.org/oauth/token\"", NOBODY),
    Row(
        "htu",
        "\"https://ambit.example.org/oauth/./token?a#b\"",
        &[Proof],
    ),
    Row("htu", "null", NOBODY),
    Row(
        "ath",
        "\"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\"",
        NOBODY,
    ),
    Row("ath", "7", NOBODY),
    // What nobody reads may be anything that has one reading.
    Row("score", "0.5", NOBODY),
    Row("score", "9007199254740993", NOBODY),
    Row("score", "-1e-7", NOBODY),
    Row("score", "null", NOBODY),
    Row("score", "\"\\u0000\"", NOBODY),
    Row("b64", "false", NOBODY),
    Row("crit", "[\"exp\"]", NOBODY),
];

const FOREIGN_AND_PROOF: &[Kind] = &[
    OwnSvid,
    ForeignSvid,
    SvidAssertion,
    Assertion,
    WorkloadToken,
    IdToken,
    Proof,
];

/// Members that have more than one reading, or none.
const UNREADABLE: &[&str] = &[
    "\"n\":NaN",
    "\"n\":Infinity",
    "\"n\":01",
    "\"n\":+1",
    "\"n\":.5",
    "\"n\":0x10",
    "\"n\":1e400",
    "\"n\":{\"a\":1,\"a\":2}",
    "\"n\":\"\\ud800\"",
    "\"n\":\"\\x41\"",
    "\"n\":\"\t\"",
    "\"n\":[1,]",
    "\"n\":undefined",
    "n:1",
    "\"n\":1,",
    "/* */\"n\":1",
];

/// Returns every variant of the claims of a site.
pub(crate) fn variants(site: &Site) -> Vec<Variant> {
    let good = site.claims();
    let kind = site.kind;
    let mut all: Vec<Variant> = Vec::new();
    let mut add = |name: String, text: String, expect| all.push((name, text.into_bytes(), expect));
    add("good".to_owned(), good.clone(), Accepted);
    add(
        "good, spaced".to_owned(),
        good.replace(',', " ,\n "),
        Accepted,
    );
    let escaped = good.replacen("\"jti\"", "\"\\u006ati\"", 1);
    add("good, escaped".to_owned(), escaped, Accepted);
    for row in ROWS {
        let Row(claim, template, _) = row;
        let value = filled(site, template);
        let text = replaced(&good, claim, &value);
        add(
            format!("{claim} = {template}"),
            text,
            expected(kind, row, &value),
        );
    }
    for (name, text, expect) in edges(site) {
        add(name, text, expect);
    }
    for claim in members(&good) {
        let text = good.replacen(&format!("\"{claim}\""), &format!("\"{claim}_\""), 1);
        let is_needed = kind == Access || kind.required().contains(&claim.as_str());
        let expect = if is_needed { Refused } else { Accepted };
        add(format!("no {claim}"), text, expect);
        let first = good.replacen('{', &format!("{{\"{claim}\":\"x\","), 1);
        add(format!("{claim} twice, wrong first"), first, Refused);
        let last = format!("{},\"{claim}\":\"x\"}}", good.strip_suffix('}').unwrap());
        add(format!("{claim} twice, wrong last"), last, Refused);
    }
    for member in UNREADABLE {
        let text = good.replacen('{', &format!("{{{member},"), 1);
        add(format!("with {member}"), text, Refused);
    }
    all.extend(whole(&good));
    all
}

/// Texts that are no object, or not one.
fn whole(good: &str) -> Vec<Variant> {
    let deep = format!("{{\"n\":{}{},", "[".repeat(200), "]".repeat(200));
    let unreadable = good.replacen('{', "{\"n\":\"\u{1}\",", 1).into_bytes();
    let unreadable: Vec<u8> = unreadable
        .into_iter()
        .map(|it| if it == 1 { 0xff } else { it })
        .collect();
    let texts: [(&str, Vec<u8>); 11] = [
        ("claims in a list", format!("[{good}]").into()),
        ("claims as a text", Value::from(good).to_canonical().into()),
        ("claims twice", format!("{good} {good}").into()),
        ("claims after a mark", format!("\u{feff}{good}").into()),
        ("claims in other quotes", good.replace('"', "'").into()),
        (
            "claims without an end",
            good.strip_suffix('}').unwrap().into(),
        ),
        ("claims of nothing", Vec::new()),
        ("claims null", b"null".to_vec()),
        ("claims 7", b"7".to_vec()),
        ("claims very deep", good.replacen('{', &deep, 1).into()),
        ("claims in no UTF-8", unreadable),
    ];
    texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text, Refused))
        .collect()
}

/// The last second at which a token is still taken, and the first at which it is not.
fn edges(site: &Site) -> Vec<(String, String, Expect)> {
    let (kind, now) = (site.kind, site.now_seconds);
    let (good, leeway) = (site.claims(), kind.leeway_seconds());
    let with = |pairs: &[(&str, u64)]| {
        pairs.iter().fold(good.clone(), |text, (name, at)| {
            replaced(&text, name, &at.to_string())
        })
    };
    let mut edges = Vec::new();
    let mut edge = |name: &str, text: String, expect| edges.push((name.to_owned(), text, expect));
    if kind == Proof {
        edge("iat, just fresh", with(&[("iat", now - 299)]), Accepted);
        edge("iat, just stale", with(&[("iat", now - 300)]), Refused);
        edge("exp, just good", with(&[("exp", now + 1)]), Accepted);
    } else {
        let (early, over) = (now - 600, now - leeway);
        edge(
            "exp, just good",
            with(&[("iat", early), ("exp", over + 1)]),
            Accepted,
        );
        edge(
            "exp, just over",
            with(&[("iat", early), ("exp", over)]),
            Refused,
        );
        let same = now + TTL_SECONDS;
        edge("iat, not before exp", with(&[("iat", same)]), Refused);
    }
    edge("iat, just ahead", with(&[("iat", now + leeway)]), Accepted);
    edge(
        "iat, too far ahead",
        with(&[("iat", now + leeway + 1)]),
        Refused,
    );
    if kind != Access {
        edge("nbf, just ahead", with(&[("nbf", now + leeway)]), Accepted);
        edge(
            "nbf, too far ahead",
            with(&[("nbf", now + leeway + 1)]),
            Refused,
        );
    }
    edges
}

fn expected(kind: Kind, row: &Row, value: &str) -> Expect {
    let Row(claim, _, takers) = row;
    if takers.contains(&kind) || !kind.reads(claim) && has_its_type(claim, value) {
        return Accepted;
    }
    Refused
}

/// Says whether a value is of the type that a registered claim has (RFC 7519 §4.1).
fn has_its_type(claim: &str, value: &str) -> bool {
    let value = ambit_core::json::parse_as_written(value.as_bytes(), value.len()).unwrap();
    let is_text = |it: &Value| it.as_str().is_some();
    match claim {
        "iss" | "sub" | "jti" => is_text(&value),
        "aud" => is_text(&value) || value.as_array().is_some_and(|it| it.iter().all(is_text)),
        _ => true,
    }
}

fn filled(site: &Site, value: &str) -> String {
    let now = site.now_seconds;
    let audience = site.kind.audience().unwrap_or("x");
    value
        .replace("AUD", audience)
        .replace("NOW", &now.to_string())
        .replace("SOON", &(now + TTL_SECONDS).to_string())
        .replace("PAST", &(now - 3600).to_string())
        .replace("LATER", &(now + 3600).to_string())
        .replace("FAR", &(now + 365 * 86_400).to_string())
}

fn members(claims: &str) -> Vec<String> {
    read(claims).into_keys().collect()
}

/// Returns an object with one value replaced by another text of JSON.
pub(crate) fn replaced(object: &str, name: &str, value: &str) -> String {
    let mut members = read(object);
    members.remove(name);
    let rest = Value::Object(members).to_canonical();
    let comma = if rest == "{}" { "" } else { "," };
    rest.replacen('{', &format!("{{\"{name}\":{value}{comma}"), 1)
}

fn read(object: &str) -> BTreeMap<String, Value> {
    let read = ambit_core::json::parse_as_written(object.as_bytes(), object.len());
    let Ok(Value::Object(members)) = read else {
        panic!("an object: {object}");
    };
    members
}
