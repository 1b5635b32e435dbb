//! What an instance claimed by is taken out of the estate: its task ends with that. And whom a claim makes weak.

use std::collections::BTreeSet;

use ambit_core::{
    Digest, Reason,
    estate::{Agent, Approver, Estate, Workload},
    limits::BATCH_RECORDS_MAX,
    record::{Actor, Body, Verdict},
    task::{Contained, Task, TaskState},
};
use ambit_engine::{Refusal, StartTask, State, Waits, rebuild};
use ambit_identity::{Claimant, InstanceCaller, JoinToken, SvidKey};
use ambit_testkit::{World, compile, delegating_office, office};

use crate::{
    claim::{attested, claim, ends_of, start_as, waits},
    delegation::{By, CLOSE, delegate, exchange, part},
    support::{ask, held, id, pass, verdict},
};

fn uid(uid: u32) -> Workload {
    Workload {
        uid: Some(uid),
        ..Workload::default()
    }
}

/// The office, in which processes of user 4711 are runs of `clerk`, and those of user 4712 of `helper`.
fn manned() -> Estate {
    let mut estate = delegating_office(2, &[]);
    agent(&mut estate, "clerk").workloads = vec![uid(4711)];
    agent(&mut estate, "helper").workloads = vec![uid(4712)];
    estate
}

fn agent<'a>(estate: &'a mut Estate, name: &str) -> &'a mut Agent {
    estate.agents.get_mut(name).expect("declared")
}

/// Puts the manned office in force, changed so.
fn apply(world: &mut World, change: &dyn Fn(&mut Estate)) {
    let mut estate = manned();
    change(&mut estate);
    estate.digest = Digest::of(format!("{estate:?}").as_bytes());
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let book = compile(estate);
    let applied = async move { handle.apply(&ana, book, Vec::new(), moment).await };
    world.run(applied).expect("applied");
}

fn process(estate: &Estate, uid: u32, name: &str) -> Claimant {
    Claimant::process(&attested(estate, uid), name.as_bytes())
}

/// A task of the clerk that a process of user 4711 has claimed, and its run.
fn claimed(world: &mut World, name: &str) -> (std::sync::Arc<Task>, InstanceCaller) {
    let task = waits(world, "clerk");
    let got = claim(world, &process(&manned(), 4711, name));
    assert_eq!(got, format!("new {}", task.id));
    let caller = world.instance(&task);
    (task, caller)
}

type Change = fn(&mut Estate);

/// NHI01, improper offboarding: what the estate does not register any more acts no more, from the apply on.
#[test]
fn nhi01_a_claim_ends_with_the_registration_that_it_stands_on() {
    let rows: [(&str, Change, bool); 8] = [
        (
            "another purpose",
            |it| agent(it, "clerk").purpose.push('.'),
            false,
        ),
        (
            "another agent's is gone",
            |it| agent(it, "helper").workloads.clear(),
            false,
        ),
        (
            "one beside",
            |it| agent(it, "clerk").workloads.insert(0, uid(9)),
            false,
        ),
        ("gone", |it| agent(it, "clerk").workloads.clear(), true),
        (
            "replaced",
            |it| agent(it, "clerk").workloads = vec![uid(9)],
            true,
        ),
        (
            "narrowed",
            |it| {
                for it in &mut agent(it, "clerk").workloads {
                    it.gid = Some(4711);
                }
            },
            true,
        ),
        (
            "moved",
            |it| {
                agent(it, "clerk").workloads.clear();
                agent(it, "helper").workloads.push(uid(4711));
            },
            true,
        ),
        (
            "the agent is gone",
            |it| {
                it.agents.remove("clerk");
                for template in it.templates.values_mut() {
                    template.delegation = ambit_core::estate::Delegable::No;
                }
                for agent in it.agents.values_mut() {
                    agent.parts_of = BTreeSet::new();
                }
            },
            true,
        ),
    ];
    for (what, change, ends) in rows {
        let mut world = World::new(manned(), 6);
        let (task, caller) = claimed(&mut world, "a");
        assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
        apply(&mut world, &change);
        let answer = ask(&mut world, &caller, "get_ticket", id("T-1"));
        let wanted = if ends { "deny task_ended" } else { "allow" };
        assert_eq!(answer, wanted, "{what}");
        let wanted = if ends {
            vec![(task.id, "unregistered")]
        } else {
            Vec::new()
        };
        assert_eq!(ends_of(&world), wanted, "{what}");
    }
}

#[test]
fn the_end_is_one_with_the_apply_and_names_who_applied_it() {
    let mut world = World::new(manned(), 6);
    let (task, caller) = claimed(&mut world, "a");
    let under_way = pass(&mut world, &caller, "close_ticket", id("T-1"));
    let mut change = manned();
    agent(&mut change, "clerk").workloads.clear();
    change.digest = Digest::of(b"narrower");
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let applied = async move {
        handle
            .apply(&ana, compile(change), Vec::new(), moment)
            .await
    };
    let door = async {
        under_way.cancelled().await;
        drop(under_way);
    };
    let applied = world.run(crate::tokens::both(applied, door)).0;
    assert_eq!(applied.expect("applied").ended, [task.id]);
    world.settle();
    let records = world.records();
    let place = |wanted: &dyn Fn(&Body) -> bool| records.iter().rposition(|it| wanted(&it.body));
    let ended = place(
        &|it| matches!(it, Body::TaskEnded { by: Actor::Person(_), task: it, .. } if *it == task.id),
    );
    let applied = place(&|it| matches!(it, Body::EstateApplied { .. }));
    assert_eq!(ended, applied.map(|it| it + 1));
    let rebuilt = rebuild(world.archive.as_ref()).expect("rebuilt");
    let kept = State::load(world.archive.as_ref()).expect("loaded");
    assert_eq!(kept.digest(), rebuilt.digest);
}

/// NHI01: what was seen before the apply is no registration after it.
#[test]
fn nhi01_a_stale_proof_claims_nothing() {
    let mut world = World::new(manned(), 6);
    let seen = process(&manned(), 4711, "a");
    waits(&mut world, "clerk");
    apply(&mut world, &|it| {
        agent(it, "clerk").workloads = vec![uid(9)]
    });
    assert_eq!(claim(&mut world, &seen), "nothing waits");
}

#[test]
fn a_registration_counts_after_a_restart_as_before() {
    let mut world = World::new(manned(), 6);
    let (task, _) = claimed(&mut world, "a");
    let clock = world.clock.clone();
    let mut world = World::open(world.crash(), manned(), clock);
    apply(&mut world, &|it| agent(it, "clerk").workloads.clear());
    assert_eq!(ends_of(&world), [(task.id, "unregistered")]);
}

/// NHI01: what a run took over ends with the run's registration, and so does everything below it.
#[test]
fn nhi01_a_part_ends_with_the_registration_of_its_delegate() {
    let mut world = World::new(manned(), 6);
    let (root, own) = world.start();
    let helper = waits_of_helper(&mut world);
    let what = part(root.task.id, "helper", CLOSE, 1);
    let given = delegate(&mut world, &By::Run(own.clone()), what).expect("given");
    let (child, run) = exchange(&mut world, &By::Run(helper), given.id).expect("taken");
    assert_eq!(ask(&mut world, &run, "close_ticket", id("T-1")), "allow");
    apply(&mut world, &|it| agent(it, "helper").workloads.clear());
    assert_eq!(
        ask(&mut world, &run, "close_ticket", id("T-1")),
        "deny task_ended"
    );
    // It hangs on the task of the run that took it, and has ended with that.
    let state = State::load(world.archive.as_ref()).expect("loaded");
    let active: Vec<_> = state
        .tasks()
        .filter(|it| it.state == TaskState::Active)
        .collect();
    assert_eq!(active.len(), 1, "{active:?}");
    assert_ne!(active.first().map(|it| it.task.id), Some(child.task.id));
    assert_eq!(ask(&mut world, &own, "get_ticket", id("T-1")), "allow");
}

/// Has a process of user 4712 claim a task of the helper.
fn waits_of_helper(world: &mut World) -> InstanceCaller {
    apply(world, &|it| {
        let templates = agent(it, "clerk").templates.clone();
        agent(it, "helper").templates = templates;
    });
    let task = waits(world, "helper");
    claim(world, &process(&manned(), 4712, "h"));
    world.instance(&task)
}

/// However many there are, none acts after the apply.
#[test]
fn more_claims_than_a_batch_holds_end_in_several() {
    let mut world = World::new(manned(), 6);
    let mut last = None;
    for name in 0..=BATCH_RECORDS_MAX {
        last = Some(claimed(&mut world, &name.to_string()));
    }
    apply(&mut world, &|it| agent(it, "clerk").workloads.clear());
    assert_eq!(ends_of(&world).len(), BATCH_RECORDS_MAX + 1);
    let state = State::load(world.archive.as_ref()).expect("loaded");
    let active = state.tasks().filter(|it| it.state == TaskState::Active);
    assert_eq!(active.count(), 0);
    let (_, caller) = last.expect("some");
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny task_ended"
    );
}

/// Who denies it changes nothing: an apply that is refused ends nothing.
#[test]
fn an_apply_that_is_refused_ends_nothing() {
    let mut world = World::new(manned(), 6);
    claimed(&mut world, "a");
    let mut change = manned();
    agent(&mut change, "clerk").workloads.clear();
    change.digest = Digest::of(b"narrower");
    let (handle, ben, moment) = (
        world.handle.clone(),
        world.person("ben"),
        world.clock.moment(),
    );
    let refused = world.run(async move {
        handle
            .apply(&ben, compile(change), Vec::new(), moment)
            .await
    });
    assert!(
        matches!(refused, Err(Refusal::Denied { .. })),
        "{refused:?}"
    );
    assert_eq!(ends_of(&world), []);
}

/// What somebody who is `ana`'s equal at the local socket could do: the yes of one's own, from the local user.
fn own_yes(world: &mut World) -> Result<(), Reason> {
    let (_, caller) = world.start();
    let approval = held(world, &caller, 500);
    match verdict(world, "ana", approval, Verdict::Approved) {
        Ok(_) => Ok(()),
        Err(Refusal::Denied { denied, .. }) => Err(denied.reason),
        Err(other) => panic!("{other}"),
    }
}

/// An estate in which ana may approve her own, and in which processes of these users are runs of the clerk.
fn anyone(uids: &[u32]) -> Estate {
    let mut estate = office(&[]);
    for template in estate.templates.values_mut() {
        template.approver = Approver::Anyone;
    }
    agent(&mut estate, "clerk").workloads = uids.iter().map(|it| uid(*it)).collect();
    estate
}

/// ASI03: only a process that runs as a person's own local user makes that person's word there weak, and only theirs.
#[test]
fn asi03_a_claim_makes_weak_whose_local_user_it_is() {
    let weak = Err(Reason::BindingTooWeak);
    // ana is user 1001, ben is 1002.
    for (uid, wanted) in [(4711, Ok(())), (1002, Ok(())), (1001, weak)] {
        let mut world = World::new(anyone(&[uid]), 3);
        let ask = Contained::None;
        let task = start_as(&mut world, "clerk", Waits::ForAgent, ask).expect("started");
        assert_eq!(own_yes(&mut world), Ok(()), "nobody claimed it yet");
        let got = claim(&mut world, &process(&anyone(&[uid]), uid, "a"));
        assert_eq!(got, format!("new {}", task.task.id));
        assert_eq!(own_yes(&mut world), wanted, "{uid}");
        // The process lives on when Ambit starts anew.
        let (clock, estate) = (world.clock.clone(), anyone(&[uid]));
        let mut world = World::open(world.crash(), estate, clock);
        assert_eq!(own_yes(&mut world), wanted, "{uid}, after a restart");
    }
}

/// Who comes with a join token is somewhere else: nobody's word gets weak by that.
#[test]
fn a_join_token_makes_nobody_weak() {
    let mut world = World::new(anyone(&[]), 3);
    let token = JoinToken::of_chance([5; 32]);
    let waits = Waits::ForJoinToken(token.digest());
    start_as(&mut world, "clerk", waits, Contained::None).expect("started");
    let key = SvidKey::generate([8; 32]).expect("a key");
    let joining = Claimant::joining(&token, &key.proved().expect("a key"));
    assert!(claim(&mut world, &joining).starts_with("new"));
    assert_eq!(own_yes(&mut world), Ok(()));
    let (clock, estate) = (world.clock.clone(), anyone(&[]));
    let mut world = World::open(world.crash(), estate, clock);
    assert_eq!(own_yes(&mut world), Ok(()));
}

/// ASI03: an agent that its person started without containment is as near as ever.
#[test]
fn asi03_a_run_that_a_person_started_makes_that_person_weak() {
    let mut world = World::new(anyone(&[]), 3);
    let ask = StartTask {
        template: "answer".parse().expect("a name"),
        agent: "clerk".parse().expect("a name"),
        parameters: world.start().0.task.parameters.clone(),
        contained: Contained::None,
    };
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let started = world.run(async move { handle.start_task(&ana, ask, moment).await });
    started.expect("started");
    assert_eq!(own_yes(&mut world), Err(Reason::BindingTooWeak));
}
