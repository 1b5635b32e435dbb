//! Laws of delegation on random sequences of legal and illegal steps.

use ambit_core::{
    DelegationId, Digest, TaskId,
    act::Target,
    delegation::Lineage,
    record::{Answer, Body, Decided, Record},
    task::TaskState,
    token::KeyBinding,
};
use ambit_identity::{InstanceCaller, token::access::AccessToken};
use ambit_testkit::{World, delegating_office};
use proptest::prelude::*;

use crate::{
    delegation::{
        ALL, By, CLOSE, READ, delegate, exchange, part, rebuilt_alike, standing, withdraw,
    },
    support::{arguments, ask, id},
    token_exchange::{exchange_token, token},
};

/// One step of somebody.
#[derive(Clone, Debug)]
enum Move {
    Delegate {
        from: usize,
        to: usize,
        what: usize,
        depth: u8,
    },
    Exchange {
        which: usize,
        by: Option<usize>,
    },
    Withdraw {
        which: usize,
        by: usize,
    },
    Revoke {
        which: usize,
    },
    Call {
        by: usize,
        what: usize,
    },
    Token {
        by: usize,
    },
    ExchangeToken {
        which: usize,
        by: usize,
        subject: usize,
    },
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..6_usize, 0..3_usize, 0..PARTS.len(), 0..4_u8)
            .prop_map(|(from, to, what, depth)| Move::Delegate { from, to, what, depth }),
        4 => (0..8_usize, proptest::option::weighted(0.3, 0..6_usize))
            .prop_map(|(which, by)| Move::Exchange { which, by }),
        1 => (0..8_usize, 0..6_usize).prop_map(|(which, by)| Move::Withdraw { which, by }),
        1 => (0..6_usize).prop_map(|which| Move::Revoke { which }),
        3 => (0..6_usize).prop_map(|by| Move::Token { by }),
        3 => (0..8_usize, 0..6_usize, 0..6_usize)
            .prop_map(|(which, by, subject)| Move::ExchangeToken { which, by, subject }),
        6 => (0..6_usize, 0..6_usize).prop_map(|(by, what)| Move::Call { by, what }),
    ]
}

const PARTS: [&str; 5] = [
    ALL,
    CLOSE,
    READ,
    r#"[{"type":"ambit_task","calls_max":2,"may_emit":[]},{"type":"ambit_task","server":"tickets","actions":["refund"],"constraints":{"cents":{"min":5,"max":50}}}]"#,
    r#"[{"type":"ambit_task","server":"tickets","actions":["delete_ticket"]}]"#,
];
const AGENTS: [&str; 3] = ["clerk", "helper", "archivist"];

struct Play {
    world: World,
    tasks: Vec<(TaskId, InstanceCaller)>,
    delegations: Vec<DelegationId>,
    tokens: Vec<AccessToken>,
}

impl Play {
    fn new() -> Self {
        let mut world = World::new(delegating_office(3, &[]), 9);
        let (root, caller) = world.start();
        Self {
            world,
            tasks: vec![(root.task.id, caller)],
            delegations: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn take(&mut self, step: &Move) {
        let at = |place: usize, len: usize| place % len.max(1);
        match step {
            Move::Delegate {
                from,
                to,
                what,
                depth,
            } => {
                let (task, caller) = self.tasks[at(*from, self.tasks.len())].clone();
                let what = part(task, AGENTS[*to], PARTS[*what], *depth);
                if let Ok(given) = delegate(&mut self.world, &By::Run(caller), what) {
                    self.delegations.push(given.id);
                }
            }
            Move::Exchange { which, by } if !self.delegations.is_empty() => {
                let delegation = self.delegations[at(*which, self.delegations.len())];
                let by = match by {
                    None => By::Person("ana"),
                    Some(by) => By::Run(self.tasks[at(*by, self.tasks.len())].1.clone()),
                };
                if let Ok((started, caller)) = exchange(&mut self.world, &by, delegation) {
                    self.tasks.push((started.task.id, caller));
                }
            }
            Move::Withdraw { which, by } if !self.delegations.is_empty() => {
                let delegation = self.delegations[at(*which, self.delegations.len())];
                let by = By::Run(self.tasks[at(*by, self.tasks.len())].1.clone());
                let _ = withdraw(&mut self.world, &by, delegation);
            }
            Move::Token { by } => {
                let caller = self.tasks[at(*by, self.tasks.len())].1.clone();
                self.tokens.extend(token(&mut self.world, &caller));
            }
            Move::ExchangeToken { which, by, subject }
                if !self.delegations.is_empty() && !self.tokens.is_empty() =>
            {
                let delegation = self.delegations[at(*which, self.delegations.len())];
                let caller = self.tasks[at(*by, self.tasks.len())].1.clone();
                let subject = self.tokens[at(*subject, self.tokens.len())].clone();
                let shown = (delegation, &subject);
                let key = KeyBinding::Dpop {
                    thumbprint: Digest::of(b"delegate"),
                };
                if let Ok(granted) = exchange_token(&mut self.world, &caller, shown, key) {
                    let child = granted.task();
                    let caller = self.world.instance(child);
                    self.tasks.push((child.id, caller));
                    self.tokens.push(self.world.access_token(&granted));
                }
            }
            Move::Exchange { .. } | Move::Withdraw { .. } | Move::ExchangeToken { .. } => {}
            Move::Revoke { which } => {
                let target = Target::Task(self.tasks[at(*which, self.tasks.len())].0);
                let (handle, ana) = (self.world.handle.clone(), self.world.person("ana"));
                let moment = self.world.clock.moment();
                let _ = self.world.run(async move {
                    handle.revoke(&ana, target, "odd".to_owned(), moment).await
                });
            }
            Move::Call { by, what } => {
                let caller = self.tasks[at(*by, self.tasks.len())].1.clone();
                let (tool, given) = call(*what);
                ask(&mut self.world, &caller, tool, given);
            }
        }
    }
}

fn call(what: usize) -> (&'static str, ambit_core::json::Value) {
    let cents = |it: i64| {
        arguments([
            ("id", "T-1".into()),
            ("cents", ambit_core::json::Value::Integer(it)),
        ])
    };
    match what {
        0 => ("get_ticket", id("T-9")),
        1 => ("close_ticket", id("T-1")),
        2 => ("close_ticket", id("T-2")),
        3 => ("refund", cents(20)),
        4 => ("refund", cents(500)),
        _ => (
            "send_reply",
            arguments([("to", "kim@example.org".into()), ("body", "Hi".into())]),
        ),
    }
}

/// Where each task came from, and which ended, as the log says.
fn lines(records: &[Record]) -> std::collections::BTreeMap<TaskId, Option<TaskId>> {
    let mut found = std::collections::BTreeMap::new();
    for record in records {
        match &record.body {
            Body::TaskStarted { task, .. } | Body::DelegationSpent { task, .. } => {
                found.insert(task.id, task.lineage.parent());
            }
            _ => {}
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// No chain of legal steps yields authority outside the root's: whatever a child is allowed or held, every task
    /// above it would be allowed or held at that moment.
    #[test]
    fn no_chain_of_steps_goes_beyond_the_root(steps in proptest::collection::vec(moves(), 1..24)) {
        let mut play = Play::new();
        for step in &steps {
            play.take(step);
        }
        let tasks = play.tasks.clone();
        let above = lines(&play.world.records());
        for what in 0..6 {
            let (tool, given) = call(what);
            for (task, caller) in tasks.iter().rev() {
                let answer = ask(&mut play.world, caller, tool, given.clone());
                if answer.starts_with("deny") {
                    continue;
                }
                // The parent is asked for the same right afterwards: only a budget that this call used up may stop it.
                let parent = above.get(task).copied().flatten();
                let parent = parent.and_then(|it| tasks.iter().find(|(id, _)| *id == it));
                if let Some((_, parent)) = parent {
                    let answer = ask(&mut play.world, parent, tool, given.clone());
                    let spent = answer == "deny budget_exhausted"
                        || answer == "deny approvals_pending_limit";
                    prop_assert!(!answer.starts_with("deny") || spent, "{tool}: {answer}");
                }
            }
        }
        rebuilt_alike(&play.world, 3);
    }

    /// No order of delegating, revoking and exchanging gives anything out after the revocation; and an allowed act
    /// was allowed by the facts of every task above.
    #[test]
    fn nothing_comes_out_after_a_revocation(steps in proptest::collection::vec(moves(), 1..24)) {
        let mut play = Play::new();
        for step in &steps {
            play.take(step);
        }
        let records = play.world.records();
        let parents = lines(&records);
        let mut over: Vec<TaskId> = Vec::new();
        let is_over = |over: &[TaskId], task: TaskId| {
            std::iter::successors(Some(task), |it| parents.get(it).copied().flatten())
                .any(|it| over.contains(&it))
        };
        let mut children = std::collections::BTreeMap::new();
        for record in &records {
            match &record.body {
                Body::Revoked { target: Target::Task(task), .. } => over.push(*task),
                Body::DelegationWithdrawn { delegation, .. } => {
                    over.extend(children.get(delegation).copied());
                }
                Body::DelegationMade { delegation, .. } => {
                    prop_assert!(!is_over(&over, delegation.parent));
                }
                Body::TokenIssued(token) => prop_assert!(!is_over(&over, token.task)),
                Body::DelegationSpent { task, .. } => {
                    prop_assert!(!is_over(&over, task.id));
                    let Lineage::Child { delegation, .. } = task.lineage else {
                        return Err(TestCaseError::fail("a child has a lineage"));
                    };
                    prop_assert!(children.insert(delegation, task.id).is_none());
                }
                Body::Decided(decided) => {
                    let Decided { task: Some(task), answer: Answer::Allow { .. }, facts, .. } =
                        decided.as_ref()
                    else {
                        continue;
                    };
                    prop_assert!(!is_over(&over, *task));
                    let line = std::iter::successors(Some(*task), |it| {
                        parents.get(it).copied().flatten()
                    });
                    let named = facts.get("above").and_then(|it| it.as_array());
                    prop_assert_eq!(named.map_or(0, <[_]>::len), line.count() - 1);
                }
                _ => {}
            }
        }
        // Whatever ended above has ended below.
        for (task, _) in play.tasks.clone() {
            if is_over(&over, task) {
                let (state, _) = standing(&mut play.world, task);
                prop_assert_ne!(state, TaskState::Active);
            }
        }
    }
}
