//! What an estate's own policies keep people from, and what owners may do for owning.

use ambit_core::{
    Digest, Reason, TaskId,
    act::Target,
    estate::{Approver, Estate, PersonRole, PolicyFile, Template},
    record::{Body, Verdict},
    task::End,
};
use ambit_engine::{Ender, Refusal};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, compile, office};

use crate::support::{ask, held, id, person, refund, two_administrators, verdict};

/// Adds a policy that keeps people from `action` where `condition` holds.
fn forbid(estate: &mut Estate, action: &str, condition: &str) {
    estate.people_policies.push(PolicyFile {
        path: "policies/people/duties.cedar".to_owned(),
        text: format!(
            "@id(\"apart\") forbid (principal, action == Ambit::Action::\"{action}\", resource) when {{ {condition} }};"
        ),
    });
    let text = format!("{:?}", estate.people_policies);
    estate.digest = Digest::of(text.as_bytes());
}

fn template(estate: &mut Estate) -> &mut Template {
    estate.templates.values_mut().next().expect("a template")
}

#[track_caller]
fn denied<T>(result: Result<T, Refusal>, reason: Reason, rule: &str) {
    match result {
        Err(Refusal::Denied {
            denied,
            explanation,
        }) => {
            assert_eq!(denied.reason, reason, "{explanation}");
            assert!(explanation.contains(rule), "{explanation}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was done"),
    }
}

fn end(world: &mut World, alias: &str, task: TaskId) -> Result<(), Refusal> {
    let (handle, caller, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let ended = async move {
        let by = Ender::Person(&caller);
        handle.end_task(by, task, End::Cancelled, moment).await
    };
    world.run(ended).map(|_| ())
}

fn revoke(world: &mut World, alias: &str, target: Target) -> Result<(), Refusal> {
    let (handle, caller, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let revoked = async move {
        let words = "found odd calls".to_owned();
        handle.revoke(&caller, target, words, moment).await
    };
    world.run(revoked).map(|_| ())
}

/// ASI03: whoever writes, starts and approves by their roles gives themselves no yes that a policy forbids; the refusal
/// names the policy, to them and in the record. It is the roles that decide, not who it is.
#[test]
fn asi03_an_administrator_gives_herself_no_yes_that_a_policy_forbids() {
    let open = |policy: &str| {
        let mut estate = office(&[]);
        template(&mut estate).approver = Approver::Anyone;
        if !policy.is_empty() {
            forbid(&mut estate, "decide_approval", policy);
        }
        let mut world = World::new(estate, 11);
        let (_, caller) = world.start();
        let approval = held(&mut world, &caller, 500);
        (world, caller, approval)
    };
    let (mut world, _, approval) = open("");
    verdict(&mut world, "ana", approval, Verdict::Approved).expect("nothing forbids it");
    for policy in [
        "context.roles.contains(\"administrator\")",
        "context.subject == \"self\"",
        "context.owner == \"self\"",
        "context has of_template && context.of_template == Ambit::Template::\"answer\" && \
         context.roles.contains(\"starter\")",
    ] {
        let (mut world, caller, approval) = open(policy);
        let tried = verdict(&mut world, "ana", approval, Verdict::Approved);
        denied(tried, Reason::PolicyForbids, "(rules: apart)");
        let answer = ask(&mut world, &caller, "refund", refund(500));
        assert_eq!(answer, "hold approval_required", "{policy}");
        let records = world.records();
        let last = records.iter().rev().find_map(|it| match &it.body {
            Body::Decided(it) if it.action == "decide_approval" => Some(it.rules.clone()),
            _ => None,
        });
        assert_eq!(last.expect("on the record"), ["apart"]);
        verdict(&mut world, "ben", approval, Verdict::Approved).expect("ben may");
        assert_eq!(ask(&mut world, &caller, "refund", refund(500)), "allow");
    }
}

/// ASI09: a yes that was given counts as long as the policies in force would let it be given.
#[test]
fn asi09_a_yes_that_policies_forbid_since_counts_no_more() {
    for (condition, answer) in [
        ("context.roles.contains(\"auditor\")", "allow"),
        (
            "context.roles.contains(\"approver\")",
            "hold approval_required",
        ),
    ] {
        let mut world = World::new(office(&[]), 12);
        let (_, caller) = world.start();
        let approval = held(&mut world, &caller, 500);
        verdict(&mut world, "ben", approval, Verdict::Approved).expect("ben may");
        let mut later = office(&[]);
        forbid(&mut later, "decide_approval", condition);
        let (handle, by) = (world.handle.clone(), world.person("ana"));
        let (book, moment) = (compile(later), world.clock.moment());
        let applied = async move { handle.apply(&by, book, Vec::new(), moment).await };
        world.run(applied).expect("applied");
        assert_eq!(ask(&mut world, &caller, "refund", refund(500)), answer);
    }
}

/// An estate in which eve, who has no role, owns the agent.
fn owned_by_eve(change: impl FnOnce(&mut Estate)) -> (World, TaskId, InstanceCaller) {
    let mut estate = office(&[]);
    for agent in estate.agents.values_mut() {
        agent.owner = "eve".to_owned();
    }
    change(&mut estate);
    let mut world = World::new(estate, 13);
    let (started, caller) = world.start();
    (world, started.task.id, caller)
}

/// NHI05, ASI10: who is answerable for an agent can stop it, without a role and whatever policies say, and can do no more.
#[test]
fn nhi05_an_owner_stops_her_agent_and_does_no_more() {
    let clerk = || Target::Agent("clerk".parse().expect("a name"));
    let everything = |it: &mut Estate| {
        forbid(it, "decide_approval", "true");
        it.people_policies[0].text =
            "@id(\"apart\") forbid (principal, action in Ambit::Action::\"restrictable\", \
            resource) when { !context.roles.contains(\"administrator\") };"
                .to_owned();
    };
    let nothing = |_: &mut Estate| ();
    for change in [&everything as &dyn Fn(&mut Estate), &nothing] {
        let (mut world, task, caller) = owned_by_eve(change);
        person(&mut world, "eve");
        end(&mut world, "eve", task).expect("an owner");
        let after = ask(&mut world, &caller, "get_ticket", id("T-1"));
        assert!(after.starts_with("deny task_"), "{after}");
        let (mut world, ..) = owned_by_eve(change);
        revoke(&mut world, "eve", clerk()).expect("an owner");
        let (mut world, task, caller) = owned_by_eve(change);
        revoke(&mut world, "eve", Target::Task(task)).expect("an owner");
        let after = ask(&mut world, &caller, "get_ticket", id("T-1"));
        assert!(after.starts_with("deny task_"), "{after}");
    }
    let (mut world, _, caller) = owned_by_eve(nothing);
    let approval = held(&mut world, &caller, 500);
    let tried = verdict(&mut world, "eve", approval, Verdict::Approved);
    denied(tried, Reason::RoleMissing, "decide_approval");
    let tickets = Target::Server("tickets".parse().expect("a name"));
    denied(
        revoke(&mut world, "eve", tickets),
        Reason::RoleMissing,
        "revoke",
    );
    let ana = person(&mut world, "ana");
    let tried = revoke(&mut world, "eve", Target::Person(ana));
    denied(tried, Reason::RoleMissing, "revoke");
}

/// Who owns nothing and has no role ends nobody's task, and looks at nothing.
#[test]
fn nhi05_who_owns_nothing_stops_nothing() {
    let mut world = World::new(office(&[]), 14);
    let (started, _) = world.start();
    let task = started.task.id;
    denied(
        end(&mut world, "eve", task),
        Reason::RoleMissing,
        "end_task",
    );
    let agent = Target::Agent("clerk".parse().expect("a name"));
    for target in [Target::Task(task), agent] {
        let tried = revoke(&mut world, "eve", target);
        denied(tried, Reason::RoleMissing, "revoke");
    }
    let (handle, caller, moment) = (
        world.handle.clone(),
        world.person("eve"),
        world.clock.moment(),
    );
    let looked = world.run(async move { handle.may_inspect(&caller, moment).await });
    denied(looked, Reason::RoleMissing, "inspect");
}

/// The last who could put another estate in force is not banned: an administrator whom policies keep from it is no other.
#[test]
fn the_last_administrator_is_the_last_whom_policies_let_apply() {
    let tried = |change: &dyn Fn(&mut Estate)| {
        let mut estate = two_administrators();
        change(&mut estate);
        let mut world = World::new(estate, 15);
        let (ana, _) = (person(&mut world, "ana"), person(&mut world, "ben"));
        revoke(&mut world, "ben", Target::Person(ana))
    };
    tried(&|_| ()).expect("ben is left");
    let stopped = tried(&|estate| {
        let ben = estate.people.get_mut("ben").expect("ben");
        ben.groups.insert("night".parse().expect("a name"));
        ben.roles.retain(|it| *it != PersonRole::Starter);
        forbid(
            estate,
            "apply_estate",
            "principal in Ambit::Group::\"night\"",
        );
    });
    denied(stopped, Reason::LastAdministrator, "");
}
