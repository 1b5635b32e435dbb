//! The second step of a decision: facts and policies to an answer, and nothing else.

use ambit_core::{ApprovalId, Reason, Timestamp, limits::APPROVAL_PENDING_TTL};
use cedar_policy::Entities;

use crate::{
    ApprovalState, PolicyBook,
    facts::Facts,
    rules::{Findings, RULES_NAMED_MAX, names},
};

/// An answer and the rules that made it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) rules: Vec<String>,
}

/// An answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Allow {
        spends: Option<ApprovalId>,
    },
    Hold {
        approval: ApprovalId,
        expires_at: Timestamp,
        reason: Reason,
    },
    Deny {
        reason: Reason,
    },
}

/// Answers for the task that asks and every task above it: all must allow. Pure, as `one` must be, which answers
/// for one of them; its place is 0 for the task that asks.
pub(crate) fn judge_line(facts: &Facts, mut one: impl FnMut(usize, &Facts) -> Judged) -> Judged {
    let mut all = one(0, facts);
    for (place, above) in facts.above.iter().enumerate() {
        let mut next = one(place + 1, above);
        for rule in &mut next.rules {
            *rule = rule_of(rule, above);
        }
        all = stricter(all, next);
    }
    all
}

/// Returns the name of a rule that stopped an act at a task above.
fn rule_of(rule: &str, above: &Facts) -> String {
    format!("{rule} of {}", above.who.task)
}

/// Returns the facts of the task at which the act was stopped.
pub(crate) fn stopped_at<'a>(facts: &'a Facts, rules: &[String]) -> &'a Facts {
    let at = |it: &&Facts| {
        let end = rule_of("", it);
        rules.first().is_some_and(|it| it.ends_with(&end))
    };
    facts.above.iter().find(at).unwrap_or(facts)
}

/// Returns the stricter of two answers on one act; of equal ones the first.
fn stricter(first: Judged, second: Judged) -> Judged {
    match (first.verdict, second.verdict) {
        (Verdict::Deny { .. }, _) => first,
        (_, Verdict::Deny { .. }) => second,
        (Verdict::Hold { .. }, _) => first,
        (_, Verdict::Hold { .. }) => second,
        (Verdict::Allow { spends: Some(_) }, _) => first,
        (Verdict::Allow { spends: None }, Verdict::Allow { spends: None }) => first,
        (Verdict::Allow { spends: None }, Verdict::Allow { spends: Some(_) }) => second,
    }
}

/// Answers. Pure: `entities` are a function of `book` and `facts.who`.
pub(crate) fn judge(book: &PolicyBook, entities: &Entities, facts: &Facts) -> Judged {
    match book.acts.evaluate(&book.vocabulary, facts, entities) {
        Some(findings) => weigh(&findings, facts),
        None => deny(Reason::PolicyError, Vec::new()),
    }
}

/// Answers for the whole line, with the entities built for this one time.
pub(crate) fn judge_again(book: &PolicyBook, facts: &Facts) -> Judged {
    judge_line(facts, |_, facts| {
        match crate::scope::entities_of(book, &facts.who) {
            Ok(entities) => judge(book, &entities, facts),
            Err(_) => deny(Reason::PolicyError, Vec::new()),
        }
    })
}

fn weigh(findings: &Findings<'_>, facts: &Facts) -> Judged {
    if let Some(reason) = findings.hard_stop(Reason::NoPolicyPermits) {
        return deny(reason, findings.stops());
    }
    let permits = names(&findings.permits);
    // A person's no to exactly this act stands, even if nobody would be asked any more.
    if let ApprovalState::Refused { .. } = facts.approval {
        return deny(Reason::ApprovalRefused, names(&findings.asks));
    }
    if findings.asks.is_empty() {
        let verdict = Verdict::Allow { spends: None };
        return Judged {
            verdict,
            rules: permits,
        };
    }
    let mut rules = names(&findings.asks);
    let hold = |approval, expires_at: Timestamp| Verdict::Hold {
        approval,
        expires_at: expires_at.min(facts.expires_at),
        reason: Reason::ApprovalRequired,
    };
    let verdict = match facts.approval {
        ApprovalState::None | ApprovalState::Void { .. } => {
            hold(facts.fresh_approval, facts.at.plus(APPROVAL_PENDING_TTL))
        }
        ApprovalState::Pending {
            approval,
            expires_at,
        } => hold(approval, expires_at),
        ApprovalState::Approved { approval, .. } => {
            rules.splice(0..0, permits);
            rules.truncate(RULES_NAMED_MAX);
            Verdict::Allow {
                spends: Some(approval),
            }
        }
        ApprovalState::Refused { .. } => Verdict::Deny {
            reason: Reason::ApprovalRefused,
        },
        ApprovalState::TooMany => Verdict::Deny {
            reason: Reason::ApprovalsPendingLimit,
        },
    };
    Judged { verdict, rules }
}

pub(crate) const fn deny(reason: Reason, rules: Vec<String>) -> Judged {
    Judged {
        verdict: Verdict::Deny { reason },
        rules,
    }
}
