//! Laws of delegation on random sequences of legal and illegal steps.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use ambit_core::{
    DelegationId, Millis, PersonId, TaskId, Timestamp,
    act::Target,
    delegation::{Delegation, Lineage, Part},
    estate::{Estate, PersonRole},
    record::{Actor, Answer, Body, Decided, Record},
    task::{End, Task, TaskState, Usage},
};
use ambit_engine::Ender;
use ambit_identity::{InstanceCaller, token::access::AccessToken};
use ambit_testkit::{World, delegating_office};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    delegation::{
        ALL, By, CLOSE, READ, child, delegate, exchange, part, rebuilt_alike_in, withdraw,
    },
    support::{arguments, ask, id, tick},
    token_exchange::{exchange_token, key, token},
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
        what: usize,
    },
    /// The run says that its work is done.
    Complete {
        which: usize,
    },
    Wait {
        seconds: u64,
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
    /// As it is meant: a part is given, and a run of the agent that is named takes it with a fresh token of the task that
    /// gave it, or the person's runner does.
    Hand {
        from: usize,
        to: usize,
        what: &'static str,
        by_token: bool,
    },
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..6_usize, 0..3_usize, 0..PARTS.len(), 0..4_u8)
            .prop_map(|(from, to, what, depth)| Move::Delegate { from, to, what, depth }),
        4 => (0..8_usize, proptest::option::weighted(0.3, 0..6_usize))
            .prop_map(|(which, by)| Move::Exchange { which, by }),
        3 => (0..8_usize, 0..6_usize).prop_map(|(which, by)| Move::Withdraw { which, by }),
        3 => (0..6_usize, 0..8_usize).prop_map(|(which, what)| Move::Revoke { which, what }),
        1 => (0..6_usize).prop_map(|which| Move::Complete { which }),
        1 => (1..1800_u64).prop_map(|seconds| Move::Wait { seconds }),
        // Long enough for tasks to end by themselves.
        1 => (1800..7200_u64).prop_map(|seconds| Move::Wait { seconds }),
        16 => (0..3_usize, 0..3_usize, select(vec![ALL, READ]), any::<bool>())
            .prop_map(|(from, to, what, by_token)| Move::Hand { from, to, what, by_token }),
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

/// The office in which ben may do everything, too: somebody is left who can say what became of ana's tasks.
fn estate() -> Estate {
    let mut estate = delegating_office(3, &[]);
    let ben = estate.people.get_mut("ben").expect("ben");
    ben.roles = PersonRole::ALL.into_iter().collect();
    estate
}

struct Play {
    world: World,
    /// On whose behalf all is done.
    subject: PersonId,
    tasks: Vec<(TaskId, InstanceCaller)>,
    delegations: Vec<DelegationId>,
    tokens: Vec<AccessToken>,
}

impl Play {
    /// A clerk at work, and a helper's run that can take parts beside its own, which is one of another task.
    fn new() -> Self {
        let mut world = World::new(estate(), 9);
        let (root, caller) = world.start();
        let (other, owner) = world.start();
        let (own, helper) = child(&mut world, (other.task.id, &owner), ("helper", READ, 1));
        Self {
            world,
            subject: root.task.subject,
            tasks: vec![
                (root.task.id, caller),
                (own.task.id, helper),
                (other.task.id, owner),
            ],
            delegations: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Takes authority away: from a task, a run, an agent, or the person whose tasks all of these are.
    fn revoke(&mut self, which: usize, what: usize) {
        let (task, caller) = self.tasks[which % self.tasks.len()].clone();
        let target = match what {
            0..3 => Target::Task(task),
            3 | 4 => Target::Instance(caller.instance()),
            5 | 6 => Target::Agent(caller.agent().clone()),
            _ => Target::Person(self.subject),
        };
        let (handle, ben) = (self.world.handle.clone(), self.world.person("ben"));
        let moment = self.world.clock.moment();
        let _ = self
            .world
            .run(async move { handle.revoke(&ben, target, "odd".to_owned(), moment).await });
    }

    /// Returns how a task stands and what it used, as somebody sees it who is never revoked; of one that was over long
    /// ago, nothing.
    fn seen(&mut self, task: TaskId) -> Option<(TaskState, Usage)> {
        let (handle, ben) = (self.world.handle.clone(), self.world.person("ben"));
        let moment = self.world.clock.moment();
        let look = self
            .world
            .run(async move { handle.may_inspect(&ben, moment).await });
        let look = look.expect("ben may look");
        let task = self.world.handle.task(&look, task).unwrap()?;
        Some((task.state, task.usage))
    }

    /// Keeps a child and its run. It begins with the labels of what its parent may have read.
    fn born(&mut self, task: &Task, run: InstanceCaller) {
        let parent = task.lineage.parent().expect("a child");
        let [above, below] =
            [parent, task.id].map(|it| self.seen(it).expect("it was just there").1.labels);
        assert_eq!(above.without(&below).next(), None, "{} knows less", task.id);
        self.tasks.push((task.id, run));
    }

    fn complete(&mut self, which: usize) {
        let (task, caller) = self.tasks[which % self.tasks.len()].clone();
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let _ = self.world.run(async move {
            let by = Ender::Instance(&caller);
            handle.end_task(by, task, End::Completed, moment).await
        });
    }

    /// Gives a part of the newest task but `from` to the agent `to`, as deep as may be, and has it taken.
    fn hand(&mut self, (from, to): (usize, usize), what: &str, by_token: bool) {
        let place = self.tasks.len() - 1 - from % self.tasks.len();
        let (task, caller) = self.tasks[place].clone();
        let by = By::Run(caller.clone());
        let mut tried = (0..3)
            .rev()
            .map(|depth| part(task, AGENTS[to], what, depth));
        let given = tried.find_map(|it| delegate(&mut self.world, &by, it).ok());
        let Some(given) = given else {
            return;
        };
        self.delegations.push(given.id);
        let taker = self.tasks.iter().rev();
        let taker = taker
            .map(|it| it.1.clone())
            .find(|it| *it.agent() == given.to);
        let taker = taker.filter(|_| by_token);
        let Some(taker) = taker else {
            if let Ok((started, run)) = exchange(&mut self.world, &By::Person("ana"), given.id) {
                self.born(&started.task, run);
            }
            return;
        };
        if let Some(subject) = token(&mut self.world, &caller) {
            self.exchange_token(&taker, (given.id, &subject));
        }
    }

    fn exchange_token(&mut self, by: &InstanceCaller, shown: (DelegationId, &AccessToken)) {
        if let Ok(granted) = exchange_token(&mut self.world, by, shown, key()) {
            let child = granted.task().clone();
            let caller = self.world.instance(&child);
            self.born(&child, caller);
            self.tokens.push(self.world.access_token(&granted));
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
                    self.born(&started.task, caller);
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
                self.exchange_token(&caller, (delegation, &subject));
            }
            Move::Hand {
                from,
                to,
                what,
                by_token,
            } => self.hand((*from, *to), what, *by_token),
            Move::Exchange { .. } | Move::Withdraw { .. } | Move::ExchangeToken { .. } => {}
            Move::Revoke { which, what } => self.revoke(*which, *what),
            Move::Complete { which } => self.complete(*which),
            Move::Wait { seconds } => {
                self.world.clock.advance(Millis::from_seconds(*seconds));
                tick(&mut self.world);
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

/// What the log says of the tasks so far.
#[derive(Default)]
struct Lines {
    tasks: BTreeMap<TaskId, Task>,
    /// The task that the run serves already that took one.
    taken_by: BTreeMap<TaskId, TaskId>,
    /// The child for which a delegation was spent.
    children: BTreeMap<DelegationId, TaskId>,
    /// What each delegation gives.
    given: BTreeMap<DelegationId, Part>,
    over: BTreeSet<TaskId>,
    seen: Seen,
}

/// How often what matters came about.
type Seen = BTreeMap<&'static str, usize>;

impl Lines {
    fn parent(&self, task: TaskId) -> Option<TaskId> {
        self.tasks.get(&task)?.lineage.parent()
    }

    /// Says whether authority above a task ended, or its own, or that of the run that took it.
    fn is_over(&self, task: TaskId, at: Timestamp) -> bool {
        let late = |it: TaskId| self.tasks.get(&it).is_none_or(|it| it.expires_at <= at);
        let above = [self.parent(task), self.taken_by.get(&task).copied()];
        late(task)
            || self.over.contains(&task)
            || above.into_iter().flatten().any(|it| self.is_over(it, at))
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn end(&mut self, hit: impl Fn(&Task) -> bool) {
        let hit = self.tasks.values().filter(|it| hit(it)).map(|it| it.id);
        let hit: Vec<_> = hit.collect();
        self.over.extend(hit);
    }

    /// Reads one record on, and holds what it gives out against what ended before it.
    fn read(&mut self, record: &Record) -> Result<(), TestCaseError> {
        let at = record.at;
        match &record.body {
            Body::TaskStarted { task, .. } => {
                self.tasks.insert(task.id, task.as_ref().clone());
            }
            Body::TaskEnded { task, end, .. } => {
                self.over.insert(*task);
                self.saw(end.as_str());
            }
            Body::Revoked { target, .. } => self.revoked(target),
            Body::DelegationWithdrawn { delegation, .. } => {
                self.over.extend(self.children.get(delegation).copied());
                self.saw("withdrawn");
            }
            Body::DelegationMade { delegation, .. } => self.made(delegation, at)?,
            Body::TokenIssued(token) => {
                prop_assert!(!self.is_over(token.task, at));
                self.saw("token");
            }
            Body::DelegationSpent { task, mandate, .. } => self.spent(task, mandate.by, at)?,
            Body::Decided(decided) => {
                let Decided {
                    task: Some(task),
                    answer: Answer::Allow { .. },
                    facts,
                    ..
                } = decided.as_ref()
                else {
                    return Ok(());
                };
                prop_assert!(!self.is_over(*task, at));
                let line = std::iter::successors(Some(*task), |it| self.parent(*it));
                let named = facts.get("above").and_then(|it| it.as_array());
                prop_assert_eq!(named.map_or(0, <[_]>::len), line.count() - 1);
            }
            _ => {}
        }
        Ok(())
    }

    fn revoked(&mut self, target: &Target) {
        match target {
            Target::Task(id) => self.end(|it| it.id == *id),
            Target::Instance(id) => self.end(|it| it.instance == *id),
            Target::Agent(name) => self.end(|it| it.agent == *name),
            Target::Person(id) => self.end(|it| it.subject == *id),
            Target::Server(_) => {}
        }
        self.saw(match target {
            Target::Task(_) => "revoked task",
            Target::Instance(_) => "revoked instance",
            Target::Agent(_) => "revoked agent",
            Target::Person(_) => "revoked person",
            Target::Server(_) => "revoked server",
        });
    }

    /// Nothing is given that ended, nor for longer, nor deeper, nor with more calls or labels than there are to give.
    fn made(&mut self, given: &Delegation, at: Timestamp) -> Result<(), TestCaseError> {
        prop_assert!(!self.is_over(given.parent, at));
        let above = &self.tasks[&given.parent];
        prop_assert!(given.expires_at <= above.expires_at);
        if let Lineage::Child {
            delegation,
            depth_left,
            ..
        } = above.lineage
        {
            let bounds = &self.given[&delegation];
            prop_assert!(given.depth_left < depth_left);
            prop_assert!(given.part.calls_max <= bounds.calls_max);
            prop_assert_eq!(given.part.may_emit.without(&bounds.may_emit).next(), None);
        }
        self.given.insert(given.id, given.part.clone());
        Ok(())
    }

    /// A part is taken once, is deeper than its parent, and outlives neither that nor who took it.
    fn spent(&mut self, task: &Task, by: Actor, at: Timestamp) -> Result<(), TestCaseError> {
        let Lineage::Child {
            parent,
            delegation,
            depth,
            depth_left,
        } = task.lineage
        else {
            return Err(TestCaseError::fail("a child has a lineage"));
        };
        prop_assert!(!self.is_over(parent, at));
        let above = self.tasks[&parent].clone();
        prop_assert!(task.expires_at <= above.expires_at && task.subject == above.subject);
        prop_assert_eq!(depth, above.lineage.depth() + 1);
        if let Lineage::Child {
            depth_left: left, ..
        } = above.lineage
        {
            prop_assert!(depth_left < left);
            self.saw(if depth == 2 {
                "grandchild"
            } else {
                "great-grandchild"
            });
        }
        if let Actor::Instance(run) = by {
            let own = self.tasks.values().find(|it| it.instance == run).cloned();
            let own = own.ok_or_else(|| TestCaseError::fail("a run serves a task"))?;
            prop_assert!(!self.is_over(own.id, at));
            prop_assert!(task.expires_at <= own.expires_at);
            self.taken_by.insert(task.id, own.id);
            self.saw("taken by a run");
        }
        self.saw("child");
        self.tasks.insert(task.id, task.clone());
        prop_assert!(self.children.insert(delegation, task.id).is_none());
        Ok(())
    }
}

/// Plays random steps and holds each game against `law`. What should come about comes about in some of the games.
fn each_game(law: impl Fn(&mut Play, &mut Lines) -> Result<(), TestCaseError>) {
    let config = Config {
        cases: GAMES,
        source_file: Some(file!()),
        ..Config::default()
    };
    // The same games in each run, so that what came about in one comes about in all; the simulator plays others.
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, chance);
    let seen = RefCell::new(Seen::new());
    let steps = proptest::collection::vec(moves(), 4..24);
    let played = runner.run(&steps, |steps| {
        let (mut play, mut lines) = (Play::new(), Lines::default());
        for step in &steps {
            play.take(step);
        }
        law(&mut play, &mut lines)?;
        for (what, more) in lines.seen {
            *seen.borrow_mut().entry(what).or_default() += more;
        }
        Ok(())
    });
    played.unwrap();
    let seen = seen.into_inner();
    let games = GAMES as usize;
    for (what, least) in [
        // Each game begins with one child.
        ("child", games + games / 4),
        ("grandchild", games / 8),
        ("great-grandchild", games / 16),
        ("taken by a run", games / 8),
        ("token", games / 8),
        ("withdrawn", 1),
        ("completed", 1),
        ("expired", 1),
        ("revoked task", 1),
        ("revoked instance", 1),
        ("revoked agent", 1),
        ("revoked person", 1),
    ] {
        let count = seen.get(what).copied().unwrap_or_default();
        assert!(count >= least, "{what}: {count} in {games} games, {seen:?}");
    }
}

const GAMES: u32 = 48;

/// No chain of legal steps yields authority outside the root's: whatever a child is allowed or held, every task
/// above it would be allowed or held at that moment.
#[test]
fn no_chain_of_steps_goes_beyond_the_root() {
    each_game(|play, lines| {
        for record in &play.world.records() {
            lines.read(record)?;
        }
        let tasks = play.tasks.clone();
        for what in 0..6 {
            let (tool, given) = call(what);
            for (task, caller) in tasks.iter().rev() {
                let answer = ask(&mut play.world, caller, tool, given.clone());
                if answer.starts_with("deny") {
                    continue;
                }
                // The parent is asked for the same right afterwards: only a budget that this call used up may stop it.
                let parent = lines.parent(*task);
                let parent = parent.and_then(|it| tasks.iter().find(|(id, _)| *id == it));
                if let Some((_, parent)) = parent {
                    let answer = ask(&mut play.world, parent, tool, given.clone());
                    let spent = answer == "deny budget_exhausted"
                        || answer == "deny approvals_pending_limit";
                    prop_assert!(!answer.starts_with("deny") || spent, "{}: {}", tool, answer);
                }
            }
        }
        for (task, _) in tasks {
            let Some(parent) = lines.parent(task) else {
                continue;
            };
            let (Some((_, own)), Some((_, above))) = (play.seen(task), play.seen(parent)) else {
                continue;
            };
            let Lineage::Child { delegation, .. } = lines.tasks[&task].lineage else {
                continue;
            };
            // Who gives a part pays for it, and knows whatever came of it.
            prop_assert!(
                own.calls <= lines.given[&delegation].calls_max && own.calls <= above.calls
            );
            prop_assert_eq!(own.labels.without(&above.labels).next(), None);
        }
        rebuilt_alike_in(&play.world, estate());
        Ok(())
    });
}

/// No order of delegating, taking, waiting, ending and revoking gives anything out under what ended: the task, one above
/// it, or the run that took it. An allowed act was allowed by the facts of every task above.
#[test]
fn nothing_comes_out_after_a_revocation() {
    each_game(|play, lines| {
        for record in &play.world.records() {
            lines.read(record)?;
        }
        // Whatever ended above has ended below.
        let now = play.world.clock.now();
        for (task, _) in play.tasks.clone() {
            if lines.is_over(task, now) {
                let state = play.seen(task).map(|it| it.0);
                prop_assert_ne!(state, Some(TaskState::Active));
            }
        }
        Ok(())
    });
}
