//! People whom the estate does not know any more, or does not let do what they did: nothing goes on in their name.

use std::collections::BTreeSet;

use ambit_core::{
    Digest, Millis, Reason,
    estate::{Estate, PersonRole, Starters},
    record::Verdict,
};
use ambit_engine::{Refreshable, TokenAsk, TokenBy, TokenGrant, TokenRefusal, TokenStanding};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, compile, delegating_office};

use crate::{
    delegation::{By, READ, child, code, delegate, exchange, part},
    support::{ask, held, id, pass, refund, two_administrators, verdict},
    tokens::{asking, both, refreshing},
};

type Changed<'a> = &'a dyn Fn(&mut Estate);

/// A live task of ana with tokens; ben can change the estate, too.
struct Scene {
    world: World,
    caller: InstanceCaller,
    grant: TokenGrant,
}

impl Scene {
    fn open() -> Self {
        let mut world = World::new(two_administrators(), 3);
        let (_, caller) = world.start();
        let grant = issue(&mut world, &caller).expect("a live task");
        Self {
            world,
            caller,
            grant,
        }
    }

    fn apply(&mut self, by: &str, digest: &[u8], change: Changed<'_>) {
        let mut estate = two_administrators();
        change(&mut estate);
        estate.digest = Digest::of(digest);
        let book = compile(estate);
        let (handle, by) = (self.world.handle.clone(), self.world.person(by));
        let moment = self.world.clock.moment();
        let applied = async move { handle.apply(&by, book, Vec::new(), moment).await };
        self.world.run(applied).expect("applied");
    }

    fn act(&mut self) -> String {
        let caller = self.caller.clone();
        ask(&mut self.world, &caller, "get_ticket", id("T-1"))
    }

    fn refresh(&mut self) -> Result<TokenGrant, TokenRefusal> {
        let again = refreshing(self.grant.refresh().expect("one"));
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let refreshed = async move { handle.refresh_token(again, moment).await };
        self.world.run(refreshed)
    }

    fn is_worth(&self) -> bool {
        let now = self.world.clock.now();
        let standing = self.world.handle.token(self.grant.access().id, now);
        matches!(standing.expect("running"), TokenStanding::Live(..))
    }
}

fn issue(world: &mut World, caller: &InstanceCaller) -> Result<TokenGrant, TokenRefusal> {
    let ask = TokenAsk {
        refreshable: Refreshable::Yes,
        ..asking()
    };
    let (handle, by, moment) = (world.handle.clone(), caller.clone(), world.clock.moment());
    world.run(async move {
        let by = TokenBy::Instance(&by);
        handle.issue_token(by, ask, moment).await
    })
}

fn without(estate: &mut Estate, alias: &str) {
    estate.people.remove(alias);
}

fn role_of(estate: &mut Estate, alias: &str, kept: impl Fn(PersonRole) -> bool) {
    let person = estate.people.get_mut(alias).expect("a person");
    person.roles.retain(|it| kept(*it));
}

fn starters(estate: &mut Estate, aliases: &[&str]) {
    let only: BTreeSet<_> = aliases.iter().map(|it| (*it).to_owned()).collect();
    for template in estate.templates.values_mut() {
        template.starters = Starters::Only(only.clone());
    }
}

/// NHI01, ASI03: a person who leaves the estate, or may not start such a task any more, takes their tasks and tokens along.
#[test]
fn nhi01_whoever_left_the_estate_acts_no_more() {
    let rows: [(&str, Changed<'_>, &str); 6] = [
        ("nothing", &|_| (), ""),
        ("still listed", &|it| starters(it, &["ana", "ben"]), ""),
        ("gone", &|it| without(it, "ana"), "person_gone"),
        (
            "no starter",
            &|it| role_of(it, "ana", |role| role != PersonRole::Starter),
            "starter_withdrawn",
        ),
        (
            "not listed",
            &|it| starters(it, &["ben"]),
            "starter_withdrawn",
        ),
        (
            "agent without the template",
            &|it| it.agents.values_mut().for_each(|it| it.templates.clear()),
            "template_withdrawn",
        ),
    ];
    for (name, change, reason) in rows {
        let mut scene = Scene::open();
        scene.apply("ben", name.as_bytes(), change);
        let kept = reason.is_empty();
        let answer = if kept {
            "allow".to_owned()
        } else {
            format!("deny {reason}")
        };
        assert_eq!(scene.act(), answer, "{name}");
        assert_eq!(scene.is_worth(), kept, "{name}");
        let caller = scene.caller.clone();
        let more = issue(&mut scene.world, &caller);
        assert_eq!(more.is_ok(), kept, "{name}: {more:?}");
        let refreshed = scene.refresh();
        assert_eq!(refreshed.is_ok(), kept, "{name}: {refreshed:?}");
        if !kept {
            let refused = refreshed.expect_err("refused").to_string();
            assert!(refused.contains("estate"), "{name}: {refused}");
            // The refresh token was not spent: who is back has it still.
            scene.apply("ben", b"back", &|_| ());
            assert_eq!(scene.act(), "allow", "{name}");
            scene.refresh().expect("as before");
        }
    }
}

/// ASI03: what is under way for somebody who left is cut, and what comes in one batch is decided on the newer estate.
#[test]
fn asi03_an_act_races_the_end_of_its_person() {
    let mut scene = Scene::open();
    let caller = scene.caller.clone();
    let passage = pass(&mut scene.world, &caller, "get_ticket", id("T-1"));
    let mut estate = two_administrators();
    without(&mut estate, "ana");
    estate.digest = Digest::of(b"without");
    let (handle, ben) = (scene.world.handle.clone(), scene.world.person("ben"));
    let moment = scene.world.clock.moment();
    let reason = scene.world.run(async move {
        let apply = handle.apply(&ben, compile(estate), Vec::new(), moment);
        let cut = async move { passage.cancelled().await };
        let (applied, reason) = both(apply, cut).await;
        applied.expect("applied");
        reason
    });
    assert_eq!(reason.code(), "person_gone");
}

/// ASI03: parts of a task that were given away end up in nobody's name, too, and no more are given or taken.
#[test]
fn asi03_parts_go_with_the_person_behind_them() {
    let rows: [(&[u8], Changed<'_>, Reason); 2] = [
        (b"gone", &|it| without(it, "ana"), Reason::PersonGone),
        (
            b"starters",
            &|it| starters(it, &["ben"]),
            Reason::StarterWithdrawn,
        ),
    ];
    for (digest, change, reason) in rows {
        let mut estate = delegating_office(2, &[]);
        let ben = estate.people.get_mut("ben").expect("ben");
        ben.roles = PersonRole::ALL.into_iter().collect();
        let mut world = World::new(estate.clone(), 3);
        let (started, caller) = world.start();
        let task = started.task.id;
        let (_, below) = child(&mut world, (task, &caller), ("helper", READ, 0));
        let by = By::Run(caller.clone());
        let open = delegate(&mut world, &by, part(task, "helper", READ, 0)).expect("may");
        assert_eq!(ask(&mut world, &below, "get_ticket", id("T-1")), "allow");
        change(&mut estate);
        estate.digest = Digest::of(digest);
        let (handle, ben) = (world.handle.clone(), world.person("ben"));
        let (book, moment) = (compile(estate), world.clock.moment());
        let applied = world.run(async move { handle.apply(&ben, book, Vec::new(), moment).await });
        applied.expect("applied");
        for caller in [&caller, &below] {
            let answer = ask(&mut world, caller, "get_ticket", id("T-1"));
            assert_eq!(answer, format!("deny {}", reason.code()));
        }
        let more = delegate(&mut world, &by, part(task, "helper", READ, 0));
        assert_eq!(code(more), reason);
        let taken = exchange(&mut world, &By::Run(below), open.id);
        assert_eq!(code(taken), reason);
    }
}

/// ASI09: a yes counts as long as the estate lets whoever gave it approve.
#[test]
fn asi09_the_yes_of_an_approver_who_left_counts_no_more() {
    let rows: [(&str, Changed<'_>, &str); 4] = [
        ("nothing", &|_| (), "allow"),
        ("gone", &|it| without(it, "ben"), "hold approval_required"),
        (
            "no approver",
            &|it| role_of(it, "ben", |role| role != PersonRole::Approver),
            "hold approval_required",
        ),
        (
            "other roles",
            &|it| role_of(it, "ben", |role| role == PersonRole::Approver),
            "allow",
        ),
    ];
    for (name, change, answer) in rows {
        let mut scene = Scene::open();
        let caller = scene.caller.clone();
        let approval = held(&mut scene.world, &caller, 1500);
        verdict(&mut scene.world, "ben", approval, Verdict::Approved).expect("ben may");
        scene.world.clock.advance(Millis::new(1));
        scene.apply("ana", name.as_bytes(), change);
        let again = ask(&mut scene.world, &caller, "refund", refund(1500));
        assert_eq!(again, answer, "{name}");
    }
}
