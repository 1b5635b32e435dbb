//! The tokens of a site: good ones, every trick that has a name, and mutants bred from a seed.

use ambit_identity::jose::base64url;

use crate::{
    claims::{self, replaced},
    headers,
    profiles::{AUDIENCE, ISSUER, Kind, Site, TTL_SECONDS},
    shapes,
};

/// How many mutants are bred for each site, and for that of our own access tokens.
const MUTANTS: usize = 24;
const ACCESS_MUTANTS: usize = 600;

/// A header or claims, and what Ambit must answer.
pub(crate) type Variant = (String, Vec<u8>, Expect);

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

/// The tokens of one site.
pub(crate) struct Tokens {
    pub(crate) site: Site,
    pub(crate) cases: Vec<Case>,
}

/// Returns all tokens of all sites.
pub(crate) fn all(now_seconds: u64) -> Vec<Tokens> {
    let sites = Site::all(now_seconds).into_iter();
    sites
        .map(|site| Tokens {
            cases: cases(&site),
            site,
        })
        .collect()
}

fn cases(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, token, expect| {
        cases.push(Case {
            name,
            token,
            expect,
        });
    };
    let (header, claims) = (site.header(), site.claims());
    for (name, claims, expect) in claims::variants(site) {
        add(name, token(site, header.as_bytes(), &claims), expect);
    }
    for (name, header, expect) in headers::variants(site) {
        add(name, token(site, &header, claims.as_bytes()), expect);
    }
    for (name, token) in headers::confusions(site) {
        add(name, token, Expect::Refused);
    }
    for (name, token, expect) in shapes::deformed(site) {
        add(name, token, expect);
    }
    let mut seed = Seed(0x9e37_79b9_7f4a_7c15);
    let is_ours = site.kind == Kind::Access;
    let mutants = if is_ours { ACCESS_MUTANTS } else { MUTANTS };
    for number in 0..mutants {
        let token = seed.mutant(site);
        add(format!("mutant {number}"), token, Expect::Either);
    }
    cases
}

/// Signs whatever header and claims.
pub(crate) fn token(site: &Site, header: &[u8], claims: &[u8]) -> String {
    let signed = joined(header, claims);
    let signature = site.ring.own.sign(site.algorithm, &signed);
    format!("{signed}.{}", base64url::encode(signature))
}

/// Returns what is signed of a token.
pub(crate) fn joined(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
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
    fn mutant(&mut self, site: &Site) -> String {
        let (mut header, mut claims) = (site.header(), site.claims());
        if self.below(4) == 0 {
            let mut text = token(site, header.as_bytes(), claims.as_bytes());
            let place = self.below(text.len());
            let letter = self.pick(&["A", "B", "_", "-", "=", ".", " ", "+", ""]);
            text.replace_range(place..=place, letter);
            return text;
        }
        let now = site.now_seconds;
        for _ in 0..=self.below(2) {
            let name = self.pick(&[
                "exp", "nbf", "iat", "aud", "iss", "sub", "jti", "act", "cnf", "nonce", "htm",
            ]);
            let value = self.pick(VALUES);
            let value = value
                .replace("NOW", &now.to_string())
                .replace("SOON", &(now + TTL_SECONDS).to_string())
                .replace("ISSUER", ISSUER)
                .replace("AUDIENCE", AUDIENCE);
            match self.below(6) {
                0 => {
                    let name = self.pick(&["alg", "typ", "kid", "crit", "b64", "cty", "jwk"]);
                    header = replaced(&header, name, &value);
                }
                // Last: what has two readings is not read again.
                1 => {
                    claims = claims.replacen('{', &format!("{{\"{name}\":{value},"), 1);
                    break;
                }
                2 => claims = claims.replacen(&format!("\"{name}\":"), &format!("\"x{name}\":"), 1),
                _ => claims = replaced(&claims, name, &value),
            }
        }
        token(site, header.as_bytes(), claims.as_bytes())
    }
}

/// Texts of JSON for any member.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "NOW",
    "SOON",
    "SOON.0",
    "\"\"",
    "\"x\"",
    "\"ES256\"",
    "\"RS256\"",
    "\"JWT\"",
    "\"at+jwt\"",
    "\"now\"",
    "\"older\"",
    "\"ISSUER\"",
    "\"AUDIENCE\"",
    "[\"AUDIENCE\"]",
    "[\"AUDIENCE\",\"x\"]",
    "{}",
    "[]",
    "{\"sub\":\"spiffe://example.org/agent/b/2\"}",
    "\"spiffe://example.org/agent/b/2\"",
    "{\"jkt\":\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\"}",
];
