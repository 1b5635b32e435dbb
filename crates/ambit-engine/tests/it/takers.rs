//! Runs that take parts beside their own task: a part ends with the run that took it.

use ambit_core::{
    Millis, TaskId,
    act::Target,
    task::{End, TaskState},
};
use ambit_engine::{ClientShown, Ender, RefreshAsk};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, delegating_office};

use crate::{
    delegation::{ALL, By, READ, child, delegate, exchange, part, rebuilt_alike, standing},
    support::{ask, id, pass, revoke_as, tick},
    token_exchange::{exchange_token, key, token},
};

/// A clerk whose task is parted, and a helper's run that took two parts of it: with a certificate, and by token.
struct Scene {
    world: World,
    clerk: InstanceCaller,
    /// The task that the helper serves by itself, and the one of which that is a part.
    own: (TaskId, InstanceCaller),
    above: TaskId,
    /// What the helper took.
    taken: [(TaskId, InstanceCaller); 2],
    /// What is below the first of these: nobody of theirs took it.
    below: (TaskId, InstanceCaller),
    refresh: RefreshAsk,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(delegating_office(2, &[]), 5);
        let (root, clerk) = world.start();
        let (other, owner) = world.start();
        let (own, helper) = child(&mut world, (other.task.id, &owner), ("helper", READ, 0));
        let by = By::Run(clerk.clone());
        let given = |world: &mut World| {
            let what = part(root.task.id, "helper", ALL, 1);
            delegate(world, &by, what).unwrap().id
        };
        let (first, second) = (given(&mut world), given(&mut world));
        let (certified, caller) = exchange(&mut world, &By::Run(helper.clone()), first).unwrap();
        let subject = token(&mut world, &clerk).unwrap();
        let granted = exchange_token(&mut world, &helper, (second, &subject), key()).unwrap();
        let by_token = world.instance(granted.task());
        let from = (certified.task.id, &caller);
        let (last, archivist) = child(&mut world, from, ("archivist", READ, 0));
        let refresh = RefreshAsk {
            text: granted.refresh().unwrap().to_owned(),
            client: helper.spiffe_id().to_string(),
            shown: ClientShown::Proved,
            binding: key(),
            client_proof: None,
            ttl: Millis::from_seconds(60),
            audience: None,
        };
        Self {
            world,
            clerk,
            own: (own.task.id, helper),
            above: other.task.id,
            taken: [(certified.task.id, caller), (granted.task().id, by_token)],
            below: (last.task.id, archivist),
            refresh,
        }
    }

    fn all(&self) -> Vec<(TaskId, InstanceCaller)> {
        let all = self.taken.iter().chain([&self.own, &self.below]);
        all.cloned().collect()
    }

    fn complete(&mut self, caller: InstanceCaller, task: TaskId) -> Vec<TaskId> {
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let ended = self.world.run(async move {
            let by = Ender::Instance(&caller);
            handle.end_task(by, task, End::Completed, moment).await
        });
        ended.unwrap().below
    }
}

/// ASI10, NHI01: however the run ends that took parts, they end, with what is below them; who gave them goes on.
#[test]
fn asi10_what_a_run_took_ends_with_the_run() {
    type EndIt = fn(&mut Scene);
    let ends: [(&str, EndIt); 6] = [
        ("the run is revoked", |it| {
            let run = Target::Instance(it.own.1.instance());
            revoke_as(&mut it.world, "ana", run, "odd");
        }),
        ("its task is revoked", |it| {
            revoke_as(&mut it.world, "ana", Target::Task(it.own.0), "odd");
        }),
        ("the task above its own is revoked", |it| {
            revoke_as(&mut it.world, "ana", Target::Task(it.above), "odd");
        }),
        ("its agent is banned", |it| {
            let agent = Target::Agent("helper".parse().unwrap());
            revoke_as(&mut it.world, "ana", agent, "odd");
        }),
        ("it completes its own task", |it| {
            let (task, caller) = it.own.clone();
            let below = it.complete(caller, task);
            assert_eq!(below.len(), 3, "{below:?}");
        }),
        ("its process is gone", |it| {
            let ended = it.world.handle.end_unserved(it.own.0);
            it.world.run(ended).unwrap();
        }),
    ];
    for (what, end) in ends {
        let mut scene = Scene::new();
        for (_, caller) in scene.all() {
            assert_eq!(
                ask(&mut scene.world, &caller, "get_ticket", id("T-1")),
                "allow"
            );
        }
        end(&mut scene);
        for (task, caller) in scene.all() {
            let said = ask(&mut scene.world, &caller, "get_ticket", id("T-1"));
            assert_eq!(said, "deny task_ended", "{what}");
            assert_ne!(
                standing(&mut scene.world, task).0,
                TaskState::Active,
                "{what}"
            );
        }
        let (handle, moment) = (scene.world.handle.clone(), scene.world.clock.moment());
        let refresh = scene.refresh.clone();
        let next = scene
            .world
            .run(async move { handle.refresh_token(refresh, moment).await });
        assert!(next.is_err(), "{what}: {next:?}");
        let clerk = scene.clerk.clone();
        assert_eq!(
            ask(&mut scene.world, &clerk, "get_ticket", id("T-1")),
            "allow",
            "{what}"
        );
        rebuilt_alike(&scene.world, 2);
    }
}

/// An act under way in a part that a run took is cut with the run.
#[test]
fn what_is_under_way_in_a_part_is_cut_with_the_run_that_took_it() {
    let mut scene = Scene::new();
    let callers = [&scene.taken[0].1, &scene.taken[1].1, &scene.below.1].map(Clone::clone);
    let under_way = callers.map(|it| pass(&mut scene.world, &it, "get_ticket", id("T-1")));
    let (handle, ana) = (scene.world.handle.clone(), scene.world.person("ana"));
    let (moment, run) = (
        scene.world.clock.moment(),
        Target::Instance(scene.own.1.instance()),
    );
    let report = scene.world.run(async move {
        let revoking = handle.revoke(&ana, run, "odd".to_owned(), moment);
        let landing = async move {
            for passage in under_way {
                passage.cancelled().await;
                drop(passage);
            }
        };
        crate::delegation::both(revoking, landing).await.0
    });
    let report = report.unwrap();
    assert_eq!(
        (report.crossed.len(), report.ended.len()),
        (3, 4),
        "{report:?}"
    );
    scene.world.settle();
    rebuilt_alike(&scene.world, 2);
}

/// A part that a run takes lives no longer than the run, and time ends both.
#[test]
fn a_part_lives_no_longer_than_the_run_that_took_it() {
    let mut world = World::new(delegating_office(2, &[]), 5);
    let (root, clerk) = world.start();
    let (other, owner) = world.start();
    let short = ambit_engine::DelegateTask {
        ttl: Some(Millis::from_seconds(60)),
        ..part(other.task.id, "helper", READ, 0)
    };
    let given = delegate(&mut world, &By::Run(owner), short).unwrap();
    let (own, helper) = exchange(&mut world, &By::Person("ana"), given.id).unwrap();
    let what = part(root.task.id, "helper", ALL, 0);
    let given = delegate(&mut world, &By::Run(clerk), what).unwrap();
    let (taken, caller) = exchange(&mut world, &By::Run(helper), given.id).unwrap();
    assert!(given.expires_at > own.task.expires_at);
    assert_eq!(taken.task.expires_at, own.task.expires_at);
    world.clock.advance(Millis::from_seconds(61));
    tick(&mut world);
    let late = ask(&mut world, &caller, "get_ticket", id("T-1"));
    assert!(late.starts_with("deny "), "{late}");
    world.settle();
    rebuilt_alike(&world, 2);
}

/// Who took a part is known after a crash, too: it stands in the log.
#[test]
fn asi10_who_took_a_part_is_known_after_a_crash() {
    let mut scene = Scene::new();
    let clock = scene.world.clock.clone();
    let world = std::mem::replace(&mut scene.world, World::new(delegating_office(2, &[]), 6));
    scene.world = World::open(world.crash(), delegating_office(2, &[]), clock);
    for (_, caller) in scene.all() {
        assert_eq!(
            ask(&mut scene.world, &caller, "get_ticket", id("T-1")),
            "allow"
        );
    }
    let run = Target::Instance(scene.own.1.instance());
    revoke_as(&mut scene.world, "ana", run, "odd");
    for (_, caller) in scene.all() {
        let said = ask(&mut scene.world, &caller, "get_ticket", id("T-1"));
        assert_eq!(said, "deny task_ended");
    }
    rebuilt_alike(&scene.world, 2);
}
