//! Laws of tokens on random orders of starting, issuing, refreshing, giving up, ending, revoking, waiting and crashing.

use std::collections::BTreeSet;

use ambit_core::{
    Millis, TaskId, TokenId, act::Target, json, record::Body, task::End, token::Reach,
};
use ambit_engine::{
    Ender, RefreshAsk, Refreshable, TokenAsk, TokenBy, TokenGrant, TokenRefusal, TokenStanding,
};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};
use proptest::{option, prelude::*, sample::select};

use crate::tokens::{asking, refreshing};

/// One step of somebody. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Move {
    Start,
    Issue {
        task: usize,
        refreshable: Refreshable,
        details: Option<&'static str>,
    },
    Refresh {
        text: usize,
    },
    GiveUp {
        token: usize,
        family: bool,
    },
    End {
        task: usize,
    },
    Revoke {
        task: usize,
    },
    Wait {
        seconds: u64,
    },
    Crash,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => Just(Move::Start),
        6 => (0..4_usize, select(vec![Refreshable::Yes, Refreshable::No]), option::of(Just(PART)))
            .prop_map(|(task, refreshable, details)| Move::Issue { task, refreshable, details }),
        4 => (0..8_usize).prop_map(|text| Move::Refresh { text }),
        2 => (0..8_usize, any::<bool>()).prop_map(|(token, family)| Move::GiveUp { token, family }),
        1 => (0..4_usize).prop_map(|task| Move::End { task }),
        1 => (0..4_usize).prop_map(|task| Move::Revoke { task }),
        2 => (1..700_u64).prop_map(|seconds| Move::Wait { seconds }),
        1 => Just(Move::Crash),
    ]
}

/// What was done so far.
struct Story {
    world: World,
    tasks: Vec<(TaskId, InstanceCaller)>,
    ended: BTreeSet<TaskId>,
    tokens: Vec<TokenGrant>,
    given_up: BTreeSet<TokenId>,
    texts: Vec<String>,
    crashed: bool,
}

const PART: &str = r#"[{"type":"ambit_task","server":"tickets","actions":["get_ticket"]}]"#;

impl Story {
    fn take(&mut self, step: &Move) {
        match step {
            Move::Start => {
                let (started, caller) = self.world.start();
                self.tasks.push((started.task.id, caller));
            }
            Move::Issue {
                task,
                refreshable,
                details,
            } => self.issue(*task, *refreshable, *details),
            Move::Refresh { text } => self.refresh(*text),
            Move::GiveUp { token, family } => self.give_up(*token, *family),
            Move::End { task } => self.end(*task),
            Move::Revoke { task } => self.revoke(*task),
            Move::Wait { seconds } => {
                self.world.clock.advance(Millis::from_seconds(*seconds));
            }
            // A world that was opened again can't be killed a second time.
            Move::Crash if self.crashed => {}
            Move::Crash => {
                self.crashed = true;
                let clock = self.world.clock.clone();
                let world = std::mem::replace(&mut self.world, World::new(office(&[]), 9));
                self.world = World::open(world.crash(), office(&[]), clock);
            }
        }
    }

    fn issue(&mut self, task: usize, refreshable: Refreshable, details: Option<&str>) {
        let Some((id, caller)) = self.tasks.get(task).cloned() else {
            return;
        };
        let ask = TokenAsk {
            refreshable,
            details: details.map(|it| json::parse(it.as_bytes()).expect("details")),
            ..asking()
        };
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let got = self.world.run(async move {
            let by = TokenBy::Instance(&caller);
            handle.issue_token(by, ask, moment).await
        });
        assert!(got.is_err() || !self.ended.contains(&id), "{got:?}");
        if let Ok(granted) = &got {
            assert_eq!(granted.access().part.is_some(), details.is_some());
        }
        self.keep(got);
    }

    fn refresh(&mut self, text: usize) {
        let Some(text) = self.texts.get(text).cloned() else {
            return;
        };
        let ask: RefreshAsk = refreshing(&text);
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let got = self
            .world
            .run(async move { handle.refresh_token(ask, moment).await });
        if let Ok(granted) = &got {
            let first = self.first_of(granted.access().family);
            // It carries what the first one did, and is of the same task.
            assert_eq!(granted.access().part, first.access().part);
            assert_eq!(granted.task().id, first.task().id);
            assert!(!self.ended.contains(&granted.task().id));
        }
        if matches!(got, Err(TokenRefusal::Reused)) {
            let id: TokenId = text
                .split('.')
                .next()
                .and_then(|it| it.parse().ok())
                .expect("a name");
            let family = self.family_of_text(id);
            self.end_family(family);
        }
        self.keep(got);
    }

    fn keep(&mut self, got: Result<TokenGrant, TokenRefusal>) {
        let Ok(granted) = got else { return };
        if let Some(text) = granted.refresh() {
            self.texts.push(text.to_owned());
        }
        self.tokens.push(granted);
    }

    fn first_of(&self, family: TokenId) -> &TokenGrant {
        let mut tokens = self.tokens.iter();
        tokens
            .find(|it| it.access().family == family)
            .expect("a first")
    }

    /// Returns the family of a refresh token by its name.
    fn family_of_text(&self, id: TokenId) -> TokenId {
        let named = |it: &&TokenGrant| {
            it.refresh()
                .is_some_and(|it| it.starts_with(&id.to_string()))
        };
        let granted = self.tokens.iter().find(named).expect("it was given");
        granted.access().family
    }

    fn end_family(&mut self, family: TokenId) {
        let all = self.tokens.iter().map(TokenGrant::access);
        let all = all.filter(|it| it.family == family).map(|it| it.id);
        self.given_up.extend(all.collect::<Vec<_>>());
    }

    fn give_up(&mut self, token: usize, family: bool) {
        let Some(granted) = self.tokens.get(token).cloned() else {
            return;
        };
        let (id, client) = (granted.access().id, granted.access().client.clone());
        let reach = if family { Reach::Family } else { Reach::Token };
        let handle = self.world.handle.clone();
        let done = self
            .world
            .run(async move { handle.give_up_token(&client, id, reach).await });
        done.expect("one's own token can be given up");
        self.given_up.insert(id);
        // Of a token that is over already, nothing says any more of which family it was.
        let live = self.tokens.iter().map(TokenGrant::access);
        if family
            && live
                .clone()
                .any(|it| it.id == id && it.expires_at > self.world.clock.now())
        {
            self.end_family(granted.access().family);
        }
    }

    fn end(&mut self, task: usize) {
        let Some((id, caller)) = self.tasks.get(task).cloned() else {
            return;
        };
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        let _over_already = self.world.run(async move {
            let by = Ender::Instance(&caller);
            handle.end_task(by, id, End::Completed, moment).await
        });
        self.ended.insert(id);
    }

    fn revoke(&mut self, task: usize) {
        let Some((id, _)) = self.tasks.get(task).cloned() else {
            return;
        };
        let (handle, ana, moment) = (
            self.world.handle.clone(),
            self.world.person("ana"),
            self.world.clock.moment(),
        );
        let _over_already = self.world.run(async move {
            let target = Target::Task(id);
            handle.revoke(&ana, target, "odd".to_owned(), moment).await
        });
        self.ended.insert(id);
    }

    /// No token is worth anything whose task ended, that was given up, or whose time passed.
    fn check(&self) {
        let now = self.world.clock.now();
        for granted in &self.tokens {
            let (token, task) = (granted.access(), granted.task());
            let standing = self.world.handle.token(token.id, now).expect("running");
            let over = self.ended.contains(&task.id)
                || self.given_up.contains(&token.id)
                || token.expires_at <= now
                || task.expires_at <= now;
            if over {
                assert!(matches!(standing, TokenStanding::Over), "{token:?}");
            }
            assert!(token.expires_at <= task.expires_at, "{token:?}");
        }
    }
}

/// In the log no token is issued after the end of its task.
fn nothing_is_issued_late(world: &World) {
    let mut ended = BTreeSet::new();
    for record in world.records() {
        if let Body::TokenIssued(token) = &record.body {
            assert!(!ended.contains(&token.task), "{token:?}");
        } else if let Body::TaskEnded { task, .. } = &record.body {
            ended.insert(*task);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise 1, ASI03: no order of steps makes a token of an ended task worth anything.
    #[test]
    fn asi03_no_order_of_steps_gives_a_live_token_of_an_ended_task(
        steps in proptest::collection::vec(moves(), 1..24),
    ) {
        let mut world = World::new(office(&[]), 3);
        let (first, caller) = world.start();
        let mut story = Story {
            world,
            tasks: vec![(first.task.id, caller)],
            ended: BTreeSet::new(),
            tokens: Vec::new(),
            given_up: BTreeSet::new(),
            texts: Vec::new(),
            crashed: false,
        };
        for step in &steps {
            story.take(step);
            story.check();
        }
        nothing_is_issued_late(&story.world);
    }
}
