//! What a judge says of each token, held against what Ambit says.

use crate::corpus::Tokens;

/// What whoever judges at all refuses of every kind of token, whatever the algorithm.
const SURELY_REFUSED: &[&str] = &[
    "exp = PAST",
    "exp = \"SOON\"",
    "nbf = LATER",
    "another's key",
    "unsigned",
    "header alg = \"none\"",
    "first bit changed",
    "zeros",
];

/// What a judge said of each token of one site: nothing, or why not.
pub(crate) struct Judged<'a> {
    pub(crate) tokens: &'a Tokens,
    pub(crate) verdicts: Vec<Result<(), String>>,
}

impl Judged<'_> {
    /// Checks that the judge takes what Ambit takes, and that it judges at all.
    pub(crate) fn check(&self, judge: &str) {
        let Tokens { site, cases } = self.tokens;
        assert_eq!(cases.len(), self.verdicts.len());
        let place = site.name();
        for (case, verdict) in cases.iter().zip(&self.verdicts) {
            let ours = site.accepts(&case.token);
            assert!(
                ours.is_err() || verdict.is_ok(),
                "{place}, {}: Ambit accepts, {judge} says {verdict:?}\n{}",
                case.name,
                case.token
            );
        }
        for name in SURELY_REFUSED {
            let verdict = self.said(name);
            assert!(
                verdict.is_some_and(Result::is_err),
                "{place}, {name}: {judge} says {verdict:?}"
            );
        }
    }

    /// Returns what was said of the token of this name, when there is one.
    pub(crate) fn said(&self, name: &str) -> Option<&Result<(), String>> {
        let place = self.tokens.cases.iter().position(|it| it.name == name)?;
        self.verdicts.get(place)
    }
}
