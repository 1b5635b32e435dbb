//! Claim rules: which tokens of a foreign issuer are an agent.

use crate::json::Value;

/// The most rules of one agent and issuer.
pub const CLAIM_RULES_MAX: usize = 16;
/// The most alternatives of one rule.
pub const ALTERNATIVES_MAX: usize = 64;
/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;
/// The most members that lead to one claim.
pub const CLAIM_DEPTH_MAX: usize = 8;

/// What must hold of a token's claims, all of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimRules(Vec<ClaimRule>);

/// What must hold of one claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimRule {
    path: Vec<String>,
    wanted: Wanted,
}

/// The texts that one claim may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// One of these, letter by letter.
    OneOf(Vec<String>),
    /// A text in which each `*` of the pattern stands for exactly one whole segment.
    Pattern(Pattern),
}

/// A pattern such as `repo:example/*:ref:refs/heads/main`: segments lie between `/` and `:`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern(String);

/// How one text stands to what is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fit {
    /// It is one of the wanted.
    Fits,
    /// It is none.
    Differs,
}

/// How a token's claims stand to the rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimMatch {
    /// All rules hold.
    Matches,
    /// The claim at this path is missing, is not a text, or is another one.
    Differs {
        /// The names of the members that lead to the claim.
        path: Vec<String>,
    },
}

/// Rules that could mean less than they seem to.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidClaimRule {
    /// There is no rule, or there are too many.
    #[error(
        "{seen} claim rules; write from 1 to {CLAIM_RULES_MAX}: without one every token of the issuer would be the agent"
    )]
    Count {
        /// How many.
        seen: usize,
    },
    /// The path is empty or too deep.
    #[error("a claim's path has {seen} names; write from 1 to {CLAIM_DEPTH_MAX}")]
    Path {
        /// How many names.
        seen: usize,
    },
    /// There is no alternative, or there are too many.
    #[error("a claim has {seen} alternatives; write from 1 to {ALTERNATIVES_MAX}")]
    Alternatives {
        /// How many.
        seen: usize,
    },
    /// The pattern is empty, too long, or holds a `*` beside other characters.
    #[error(
        "`{0}` is no pattern: `*` stands for one whole segment between `/` and `:`, and a pattern \
         has from 1 to {PATTERN_BYTES_MAX} bytes"
    )]
    Pattern(String),
}

impl ClaimRules {
    /// Returns the rules.
    ///
    /// # Errors
    /// [`InvalidClaimRule::Count`] when there are none or too many.
    pub fn new(rules: Vec<ClaimRule>) -> Result<Self, InvalidClaimRule> {
        let seen = rules.len();
        if !(1..=CLAIM_RULES_MAX).contains(&seen) {
            return Err(InvalidClaimRule::Count { seen });
        }
        Ok(Self(rules))
    }

    /// Holds a token's claims against the rules; `claim` returns the one to which the members of a path lead.
    pub fn check<'a>(&self, claim: impl Fn(&[String]) -> Option<&'a Value>) -> ClaimMatch {
        match self.differing(claim).first() {
            None => ClaimMatch::Matches,
            Some(rule) => ClaimMatch::Differs {
                path: rule.path.clone(),
            },
        }
    }

    /// Returns the rules that do not hold, in their order; none when the claims are those of the agent.
    pub fn differing<'a>(&self, claim: impl Fn(&[String]) -> Option<&'a Value>) -> Vec<&ClaimRule> {
        let differs = |it: &&ClaimRule| !it.holds(claim(&it.path));
        self.0.iter().filter(differs).collect()
    }

    /// Iterates over the rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &ClaimRule> {
        self.0.iter()
    }

    /// Returns how many rules there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl ClaimRule {
    /// Returns the rule for the claim to which the members `path` lead.
    ///
    /// # Errors
    /// [`InvalidClaimRule`] when the path or the alternatives are empty or too many.
    pub fn new(path: Vec<String>, wanted: Wanted) -> Result<Self, InvalidClaimRule> {
        let seen = path.len();
        if !(1..=CLAIM_DEPTH_MAX).contains(&seen) {
            return Err(InvalidClaimRule::Path { seen });
        }
        if let Wanted::OneOf(alternatives) = &wanted {
            let seen = alternatives.len();
            if !(1..=ALTERNATIVES_MAX).contains(&seen) {
                return Err(InvalidClaimRule::Alternatives { seen });
            }
        }
        Ok(Self { path, wanted })
    }

    /// Returns the names of the members that lead to the claim.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Returns the texts that the claim may have.
    pub const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Texts alone match: `"1"` is not `1`.
    fn holds(&self, claim: Option<&Value>) -> bool {
        let Some(text) = claim.and_then(Value::as_str) else {
            return false;
        };
        self.wanted.fits(text) == Fit::Fits
    }
}

impl Wanted {
    /// Iterates over the texts or the pattern, as they are written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (alternatives, pattern) = match self {
            Self::OneOf(alternatives) => (alternatives.as_slice(), None),
            Self::Pattern(pattern) => (&[][..], Some(pattern.0.as_str())),
        };
        alternatives.iter().map(String::as_str).chain(pattern)
    }

    /// Holds a text against what is wanted.
    pub fn fits(&self, text: &str) -> Fit {
        match self.fitting(text) {
            Some(_) => Fit::Fits,
            None => Fit::Differs,
        }
    }

    /// Returns what is wanted, as it is written, that the text is: the one alternative, or the pattern. None when it is
    /// none.
    pub fn fitting(&self, text: &str) -> Option<&str> {
        match self {
            Self::OneOf(alternatives) => {
                let alternatives = alternatives.iter().map(String::as_str);
                alternatives.into_iter().find(|it| *it == text)
            }
            Self::Pattern(pattern) => pattern.matches(text).then_some(pattern.0.as_str()),
        }
    }
}

/// Writes it as it is written.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes `main or next`, or the pattern.
impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OneOf(alternatives) => f.write_str(&alternatives.join(" or ")),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidClaimRule::Pattern`] when a `*` is not a whole segment, or nothing else is there.
    pub fn new(text: &str) -> Result<Self, InvalidClaimRule> {
        let is_plain = |it: &str| it == ANY || !it.contains(ANY);
        let says_something = text.split(SEPARATORS).any(|it| it != ANY && !it.is_empty());
        let fits = text.len() <= PATTERN_BYTES_MAX;
        if fits && says_something && text.split(SEPARATORS).all(is_plain) {
            return Ok(Self(text.to_owned()));
        }
        let shown = text.chars().take(PATTERN_BYTES_MAX).collect();
        Err(InvalidClaimRule::Pattern(shown))
    }

    fn matches(&self, text: &str) -> bool {
        let mut own = self.0.split_inclusive(SEPARATORS);
        let mut seen = text.split_inclusive(SEPARATORS);
        loop {
            match (own.next(), seen.next()) {
                (None, None) => return true,
                (Some(own), Some(seen)) if segment_matches(own, seen) => {}
                _ => return false,
            }
        }
    }
}

/// Holds two segments, each with the separator that ends it, against each other.
fn segment_matches(own: &str, seen: &str) -> bool {
    let Some(end) = own.strip_prefix(ANY) else {
        return own == seen;
    };
    let inner = seen.strip_suffix(end).unwrap_or_default();
    !inner.is_empty() && !inner.contains(SEPARATORS)
}

const ANY: &str = "*";
const SEPARATORS: [char; 2] = ['/', ':'];

/// Writes `sub = repo:example/books:*, ref = a or b`.
impl std::fmt::Display for ClaimRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = self
            .0
            .iter()
            .map(|it| format!("{} = {}", it.path.join("."), it.wanted));
        f.write_str(&rules.collect::<Vec<_>>().join(", "))
    }
}
