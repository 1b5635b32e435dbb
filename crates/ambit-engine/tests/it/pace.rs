//! What a task is given on demand, each with a record of its own, comes at a measured pace.

use ambit_core::{
    Digest, Millis, Reason, SvidKind,
    record::{Actor, Body},
    task::Task,
    token::Reach,
};
use ambit_engine::{
    EngineError, ISSUED_BURST_MAX, ISSUED_EVERY, Refreshable, TokenAsk, TokenBy, TokenGrant,
    TokenRefusal,
};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};

use crate::{
    support::tick,
    tokens::{asking, refreshing},
};

/// A task and its run.
struct Scene {
    world: World,
    task: Task,
    caller: InstanceCaller,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(office(&[]), 3);
        let (started, caller) = world.start();
        let task = started.task.as_ref().clone();
        Self {
            world,
            task,
            caller,
        }
    }

    fn issue(&mut self, refreshable: Refreshable) -> Result<TokenGrant, TokenRefusal> {
        let ask = TokenAsk {
            refreshable,
            ..asking()
        };
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let caller = self.caller.clone();
        self.world.run(async move {
            let by = TokenBy::Instance(&caller);
            handle.issue_token(by, ask, moment).await
        })
    }

    /// Asks for a token, and gives it up so that there is room for the next.
    fn issue_and_give_up(&mut self) -> Result<(), EngineError> {
        let granted = self.issue(Refreshable::No).map_err(engine)?;
        self.give_up(&granted)
    }

    fn give_up(&mut self, granted: &TokenGrant) -> Result<(), EngineError> {
        let (handle, access) = (self.world.handle.clone(), granted.access().clone());
        let gone = async move {
            handle
                .give_up_token(&access.client, access.id, Reach::Token)
                .await
        };
        self.world.run(gone).map_err(engine)
    }

    fn refresh(&mut self, text: &mut String) -> Result<(), EngineError> {
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let ask = refreshing(text);
        let next = async move { handle.refresh_token(ask, moment).await };
        let granted = self.world.run(next).map_err(engine)?;
        *text = granted.refresh().expect("another one").to_owned();
        self.give_up(&granted)
    }

    fn certify(&mut self, svid: SvidKind) -> Result<(), EngineError> {
        let (handle, task) = (self.world.handle.clone(), self.task.clone());
        let until = task.expires_at;
        let written = async move {
            let named = (svid, Digest::of(b"an SVID"));
            handle.certified(&task, named, until).await
        };
        self.world.run(written)
    }

    /// Returns what the log says was counted together.
    fn counted(&self) -> Vec<(Actor, Reason, u64)> {
        let records = self.world.records().into_iter();
        let counted = records.filter_map(|it| match it.body {
            Body::RefusalsCoalesced {
                actor,
                reason,
                count,
                task,
                ..
            } => {
                assert_eq!(task, Some(self.task.id));
                Some((actor, reason, count))
            }
            _ => None,
        });
        counted.collect()
    }
}

fn engine(refusal: TokenRefusal) -> EngineError {
    match refusal {
        TokenRefusal::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

fn jwt() -> SvidKind {
    SvidKind::Jwt {
        audiences: vec!["https://elsewhere.example".to_owned()],
    }
}

/// ASI08: however a task asks, it gets so many at once and one more each while; beyond that it leaves no record but a count,
/// and its X509-SVIDs, which are kept for all who ask, come as before.
#[test]
fn asi08_no_task_fills_the_log_with_tokens_and_svids() {
    type Ask = fn(&mut Scene, &mut String) -> Result<(), EngineError>;
    let ways: [(&str, Ask); 3] = [
        ("tokens", |it, _| it.issue_and_give_up()),
        ("refreshed tokens", |it, text| it.refresh(text)),
        ("JWT-SVIDs", |it, _| it.certify(jwt())),
    ];
    for (what, ask) in ways {
        let mut scene = Scene::new();
        // This one counts, too.
        let first = scene.issue(Refreshable::Yes).expect("room");
        let mut text = first.refresh().expect("refreshable").to_owned();
        for _ in 1..ISSUED_BURST_MAX {
            ask(&mut scene, &mut text).expect(what);
        }
        let before = scene.world.records().len();
        for _ in 0..3 {
            let refused = ask(&mut scene, &mut text).expect_err(what);
            let wait = matches!(refused, EngineError::TooFast { wait_seconds: 2 });
            assert!(wait, "{what}: {refused:?}");
        }
        assert_eq!(scene.world.records().len(), before, "{what}");
        scene.certify(SvidKind::X509).expect("as before");
        tick(&mut scene.world);
        let who = Actor::Instance(scene.caller.instance());
        assert_eq!(scene.counted(), [(who, Reason::Overloaded, 3)], "{what}");
        // The refresh token that came too fast was not spent by that.
        scene
            .world
            .clock
            .advance(Millis::new(ISSUED_EVERY.as_millis()));
        ask(&mut scene, &mut text).expect(what);
        ask(&mut scene, &mut text).expect_err(what);
    }
}
