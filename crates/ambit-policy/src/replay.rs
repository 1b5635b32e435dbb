//! Decisions derived again from what the log keeps of them.

use ambit_core::{
    json::Value,
    record::{Answer, Decided, Mandate, Warrant},
};

use crate::{
    PolicyBook,
    delegation::DelegationFacts,
    facts::Facts,
    judge::{Verdict, judge_again},
    people::PersonFacts,
};

/// What came of deriving a decision again.
#[derive(Clone, Debug, PartialEq)]
pub enum Replay {
    /// The same answer, by the same rules.
    Same,
    /// Another answer.
    Different {
        /// The answer now; none when the facts can't be read.
        now: Option<Again>,
    },
}

/// An answer derived again, without what only the first time could know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Again {
    /// `allow`, `hold` or `deny`.
    pub answer: &'static str,
    /// Why not simply allowed.
    pub reason: Option<ambit_core::Reason>,
    /// The rules that made it.
    pub rules: Vec<String>,
}

/// Derives `decided` again from its facts and the policies of `book` alone.
///
/// With the book of `decided.estate` anything but [`Replay::Same`] means that the log or the program
/// was tampered with. With another book it says what that book would have answered.
pub fn replay(book: &PolicyBook, decided: &Decided) -> Replay {
    match kind(&decided.facts) {
        Some("act") => replay_act(book, decided),
        Some("person") => {
            let reason = match decided.answer {
                Answer::Deny { reason } => Some(reason),
                Answer::Allow { .. } | Answer::Hold { .. } => None,
            };
            replay_person(book, &decided.facts, reason, &decided.rules)
        }
        Some("delegation") => {
            let reason = match decided.answer {
                Answer::Deny { reason } => Some(reason),
                Answer::Allow { .. } | Answer::Hold { .. } => None,
            };
            replay_delegation(book, &decided.facts, reason, &decided.rules)
        }
        // Refused before anything could be decided: there is nothing to derive.
        Some("refused") if matches!(decided.answer, Answer::Deny { .. }) => Replay::Same,
        Some(_) | None => Replay::Different { now: None },
    }
}

/// Derives the decision behind a step of a delegation again.
pub fn replay_mandate(book: &PolicyBook, mandate: &Mandate) -> Replay {
    replay_delegation(book, &mandate.facts, None, &mandate.rules)
}

/// Derives the decision behind a person's act again.
pub fn replay_warrant(book: &PolicyBook, warrant: &Warrant) -> Replay {
    replay_person(book, &warrant.facts, None, &warrant.rules)
}

fn replay_act(book: &PolicyBook, decided: &Decided) -> Replay {
    let Some(facts) = Facts::from_value(&decided.facts) else {
        return Replay::Different { now: None };
    };
    let judged = judge_again(book, &facts);
    let same = match (&decided.answer, judged.verdict) {
        (
            Answer::Allow {
                act_by,
                charged,
                spends,
            },
            Verdict::Allow { spends: again },
        ) => {
            *spends == again
                && *charged == facts.charged
                && *act_by
                    == facts
                        .at
                        .plus(ambit_core::limits::PERMIT_ACT_BY)
                        .min(facts.expires_at)
        }
        (
            Answer::Hold {
                approval,
                expires_at,
                reason,
            },
            Verdict::Hold {
                approval: approval_again,
                expires_at: expires_again,
                reason: reason_again,
            },
        ) => *approval == approval_again && *expires_at == expires_again && *reason == reason_again,
        (Answer::Deny { reason }, Verdict::Deny { reason: again }) => *reason == again,
        (Answer::Allow { .. } | Answer::Hold { .. } | Answer::Deny { .. }, _) => false,
    };
    if same && judged.rules == decided.rules {
        return Replay::Same;
    }
    let (answer, reason) = match judged.verdict {
        Verdict::Allow { .. } => ("allow", None),
        Verdict::Hold { reason, .. } => ("hold", Some(reason)),
        Verdict::Deny { reason } => ("deny", Some(reason)),
    };
    different(answer, reason, judged.rules)
}

fn replay_person(
    book: &PolicyBook,
    facts: &Value,
    reason: Option<ambit_core::Reason>,
    rules: &[String],
) -> Replay {
    let Some(facts) = PersonFacts::from_value(facts) else {
        return Replay::Different { now: None };
    };
    let (again, rules_again) = book.people.judge(&facts);
    if again.err() == reason && rules_again == rules {
        return Replay::Same;
    }
    let answer = if again.is_ok() { "allow" } else { "deny" };
    different(answer, again.err(), rules_again)
}

fn replay_delegation(
    book: &PolicyBook,
    facts: &Value,
    reason: Option<ambit_core::Reason>,
    rules: &[String],
) -> Replay {
    let Some(facts) = DelegationFacts::from_value(facts) else {
        return Replay::Different { now: None };
    };
    let (again, rules_again) = facts.judge(book);
    if again.err() == reason && rules_again == rules {
        return Replay::Same;
    }
    let answer = if again.is_ok() { "allow" } else { "deny" };
    different(answer, again.err(), rules_again)
}

const fn different(
    answer: &'static str,
    reason: Option<ambit_core::Reason>,
    rules: Vec<String>,
) -> Replay {
    Replay::Different {
        now: Some(Again {
            answer,
            reason,
            rules,
        }),
    }
}

fn kind(facts: &Value) -> Option<&str> {
    facts.get("kind")?.as_str()
}
