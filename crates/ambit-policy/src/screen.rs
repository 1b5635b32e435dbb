//! Screens: one policy that says whether any of many policies that forbid would.
//!
//! Almost every act is stopped by nothing, and most of the cost of asking Cedar is per policy. So the policies of a
//! slice that only forbid are joined into one, and are asked one by one only when the joined one forbids or
//! can't be evaluated. `a && b` evaluates to true only when both do, and no error is passed over then: when the
//! screen does not forbid, none of its policies does, and none has an error.

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint};
use serde_json::{Value, json};

use crate::{PolicyProblem, contexts::Sight};

/// Policies that are evaluated together.
#[derive(Debug)]
pub(crate) struct Slice {
    /// All of them, one by one.
    pub(crate) whole: PolicySet,
    /// The same with a screen in place of those that only forbid; none when it would save nothing.
    pub(crate) screened: Option<PolicySet>,
    /// What they see of an act.
    pub(crate) sight: Sight,
}

impl Slice {
    /// Makes one without policies.
    pub(crate) fn new() -> Self {
        Self {
            whole: PolicySet::new(),
            screened: None,
            sight: Sight::Lasting,
        }
    }

    /// Adds a policy; the screen is made at the end.
    pub(crate) fn add(&mut self, policy: &Policy) -> Result<(), PolicyProblem> {
        self.whole
            .add(policy.clone())
            .map_err(|it| PolicyProblem::inside(&it))
    }

    /// Makes the screen and learns what is seen, once all policies are there.
    pub(crate) fn finish(&mut self) -> Result<(), PolicyProblem> {
        self.sight = Sight::of(self.whole.policies());
        let mut rest = PolicySet::new();
        let mut clear = Vec::new();
        for policy in self.whole.policies() {
            match clear_of(policy) {
                Some(condition) => clear.push(condition),
                None => rest
                    .add(policy.clone())
                    .map_err(|it| PolicyProblem::inside(&it))?,
            }
        }
        if clear.len() < SCREENED_MIN {
            return Ok(());
        }
        let joined = json!({
            "effect": "forbid",
            "principal": { "op": "All" },
            "action": { "op": "All" },
            "resource": { "op": "All" },
            "conditions": [{ "kind": "unless", "body": joined("&&", clear) }],
        });
        let screen = Policy::from_json(Some(PolicyId::new(SCREEN)), joined)
            .map_err(|it| PolicyProblem::inside(&it))?;
        rest.add(screen).map_err(|it| PolicyProblem::inside(&it))?;
        self.screened = Some(rest);
        Ok(())
    }
}

/// Says whether `id` is a screen's: no policy has such a name.
pub(crate) fn is_screen(id: &PolicyId) -> bool {
    AsRef::<str>::as_ref(id) == SCREEN
}

/// Returns the condition under which `policy` does not forbid, for a policy that forbids whatever its scope could
/// match in its slice: the principal of every act is a task, and a slice is of one action.
fn clear_of(policy: &Policy) -> Option<Value> {
    let everybody = match policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Is(kind) => kind.to_string() == "Ambit::Task",
        PrincipalConstraint::In(_) | PrincipalConstraint::Eq(_) | PrincipalConstraint::IsIn(..) => {
            false
        }
    };
    let everything = matches!(policy.resource_constraint(), ResourceConstraint::Any);
    if policy.effect() != Effect::Forbid || !everybody || !everything {
        return None;
    }
    let policy = policy.to_json().ok()?;
    let conditions = policy.get("conditions")?.as_array()?;
    let clear: Option<Vec<_>> = conditions.iter().map(clear_of_condition).collect();
    let clear = clear?;
    (!clear.is_empty()).then(|| joined("||", clear))
}

fn clear_of_condition(condition: &Value) -> Option<Value> {
    let body = condition.get("body")?.clone();
    match condition.get("kind")?.as_str()? {
        "unless" => Some(body),
        "when" => Some(json!({ "!": { "arg": body } })),
        _ => None,
    }
}

/// Joins expressions into a tree that is no deeper than it must be.
fn joined(operator: &str, mut expressions: Vec<Value>) -> Value {
    while expressions.len() > 1 {
        let mut pairs = Vec::with_capacity(expressions.len().div_ceil(2));
        let mut rest = expressions.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => json!({ operator: { "left": left, "right": right } }),
                None => left,
            });
        }
        expressions = pairs;
    }
    expressions.pop().unwrap_or(Value::Bool(true))
}

/// No policy's name holds a space.
const SCREEN: &str = "joined screen";
/// Of how many policies a screen is worth making.
const SCREENED_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn only_what_forbids_whatever_its_scope_is_joined() {
        let check = |scope: &str, conditions: &str, expected: bool| {
            let set = PolicySet::from_str(&format!("{scope} {conditions};")).unwrap();
            let policy = set.policies().next().unwrap();
            assert_eq!(clear_of(policy).is_some(), expected, "{scope} {conditions}");
        };
        let unless = "unless { context.a }";
        check("forbid (principal, action, resource)", unless, true);
        check(
            "forbid (principal is Ambit::Task, action, resource)",
            unless,
            true,
        );
        check(
            "forbid (principal, action, resource)",
            "when { context.a } unless { context.b }",
            true,
        );
        check("forbid (principal, action, resource)", "", false);
        check("permit (principal, action, resource)", unless, false);
        check(
            "forbid (principal is Ambit::Person, action, resource)",
            unless,
            false,
        );
        check(
            "forbid (principal in Ambit::Agent::\"a\", action, resource)",
            unless,
            false,
        );
        check(
            "forbid (principal, action, resource is Ambit::Tool)",
            unless,
            false,
        );
        check(
            "forbid (principal, action, resource == Ambit::Tool::\"a\")",
            unless,
            false,
        );
    }
}
