//! Tokens of clients that the estate declares, against estates that do not any more.

use std::collections::BTreeSet;

use ambit_core::{
    Digest, TokenId,
    estate::{Client, ClientKeys, Estate},
    token::{Grant, RestsOn},
};
use ambit_engine::{
    Presented, RefreshAsk, Refreshable, TokenAsk, TokenBy, TokenGrant, TokenRefusal, TokenStanding,
};
use ambit_identity::{Beside, InstanceCaller, client_proof, identify_token};
use ambit_testkit::{World, compile, office};

use crate::{
    support::{id, word},
    tokens::{asking, both, refreshing},
};

fn declared(change: &dyn Fn(&mut Estate)) -> Estate {
    let mut estate = office(&[]);
    let desk = Client {
        name: "desk".parse().unwrap(),
        title: "A desk".to_owned(),
        owner: "ana".to_owned(),
        agents: BTreeSet::from(["clerk".parse().unwrap()]),
        runs: None,
        redirect_uris: Vec::new(),
        keys: ClientKeys::Public,
    };
    estate.clients = [(desk.name.clone(), desk)].into();
    change(&mut estate);
    estate
}

fn proof(estate: &Estate) -> Option<Digest> {
    client_proof(estate.clients.values().next()?, None)
}

/// A world in which the desk has tokens of a live task, and whoever comes by one.
struct Scene {
    world: World,
    grant: TokenGrant,
    caller: InstanceCaller,
}

fn issue(
    world: &mut World,
    caller: &InstanceCaller,
    rests_on: RestsOn,
) -> Result<TokenGrant, TokenRefusal> {
    let ask = TokenAsk {
        client: Some("desk".to_owned()),
        binding: caller.binding(),
        refreshable: Refreshable::Yes,
        grant: Grant::AuthorizationCode,
        rests_on,
        ..asking()
    };
    let (handle, by, moment) = (world.handle.clone(), caller.clone(), world.clock.moment());
    world.run(async move {
        handle
            .issue_token(TokenBy::Instance(&by), ask, moment)
            .await
    })
}

impl Scene {
    fn open() -> Self {
        let estate = declared(&|_| ());
        let rests_on = RestsOn {
            client: proof(&estate),
            registration: None,
        };
        let mut world = World::new(estate, 3);
        let (_, own) = world.start();
        let grant = issue(&mut world, &own, rests_on).expect("declared");
        let token = world.access_token(&grant);
        let beside = Beside {
            connection: Some(&own),
            proof: None,
        };
        let domain = own.spiffe_id().trust_domain();
        let caller = identify_token(&token, beside, domain).expect("bound to it");
        Self {
            world,
            grant,
            caller,
        }
    }

    fn apply(&mut self, estate: Estate, digest: &[u8]) {
        let book = compile(Estate {
            digest: Digest::of(digest),
            ..estate
        });
        let (handle, ana) = (self.world.handle.clone(), self.world.person("ana"));
        let moment = self.world.clock.moment();
        let applied = async move { handle.apply(&ana, book, Vec::new(), moment).await };
        self.world.run(applied).expect("applied");
    }

    /// What the token is worth: to whoever asks about it, comes by it, and acts.
    fn worth(&mut self) -> (bool, bool, String) {
        let (now, handle) = (self.world.clock.now(), self.world.handle.clone());
        let standing = handle.token(self.grant.access().id, now).expect("running");
        let presented = handle.presented(&self.caller, now).expect("running");
        let caller = self.caller.clone();
        let answer = self.world.call(&caller, "get_ticket", id("T-1"));
        (
            matches!(standing, TokenStanding::Live(..)),
            presented == Presented::AsItsTask,
            word(&answer),
        )
    }

    fn refresh(&mut self, client_proof: Option<Digest>) -> Result<TokenGrant, TokenRefusal> {
        let ask = RefreshAsk {
            client: "desk".to_owned(),
            binding: self.caller.binding(),
            client_proof,
            ..refreshing(self.grant.refresh().expect("one"))
        };
        let (handle, moment) = (self.world.handle.clone(), self.world.clock.moment());
        self.world
            .run(async move { handle.refresh_token(ask, moment).await })
    }
}

type Changed<'a> = &'a dyn Fn(&mut Estate);

/// NHI01: what a client has is held against the estate in force at every use.
#[test]
fn nhi01_a_withdrawn_client_has_nothing() {
    let gone = (false, false, "deny token_withdrawn".to_owned());
    let kept = (true, true, "allow".to_owned());
    let of_desk = |it: &mut Estate, change: &dyn Fn(&mut Client)| {
        it.clients.values_mut().for_each(change);
    };
    let changes: [(Changed<'_>, bool); 5] = [
        (&|it| of_desk(it, &|it| it.title = "x".to_owned()), true),
        (&|it| of_desk(it, &|it| it.redirect_uris.clear()), true),
        (&|it| it.clients.clear(), false),
        (&|it| of_desk(it, &|it| it.agents.clear()), false),
        (
            &|it| {
                let at = "https://desk.example/jwks".to_owned();
                of_desk(it, &|it| it.keys = ClientKeys::At(at.clone()));
            },
            false,
        ),
    ];
    for (change, stays) in changes {
        let mut scene = Scene::open();
        assert_eq!(scene.worth(), kept);
        let after = declared(change);
        let shown = proof(&after);
        scene.apply(after, b"after");
        assert_eq!(
            scene.worth(),
            if stays { kept.clone() } else { gone.clone() }
        );
        let refreshed = scene.refresh(shown);
        assert_eq!(refreshed.is_ok(), stays && shown.is_some(), "{refreshed:?}");
    }
}

/// Whoever shows less than the estate wants gets nothing, and what it shows now is what its next token rests upon.
#[test]
fn nhi04_a_client_that_shows_nothing_gets_nothing() {
    let mut scene = Scene::open();
    let stranger = RestsOn {
        client: Some(Digest::of(b"another")),
        registration: None,
    };
    let own = RestsOn {
        client: proof(&declared(&|_| ())),
        registration: Some(Digest::of(b"nothing")),
    };
    let (_, by) = scene.world.start();
    for rests_on in [RestsOn::default(), stranger, own] {
        let got = issue(&mut scene.world, &by, rests_on);
        assert!(
            matches!(got, Err(TokenRefusal::Withdrawn { .. })),
            "{got:?}"
        );
    }
    let got = scene.refresh(None);
    assert!(
        matches!(got, Err(TokenRefusal::Withdrawn { .. })),
        "{got:?}"
    );
    let shown = proof(&declared(&|_| ()));
    let granted = scene.refresh(shown).expect("declared");
    assert_eq!(granted.access().rests_on.client, shown);
}

/// ASI03: in one batch with the estate that takes the client out, in whichever order: nothing is permitted after it.
#[test]
fn asi03_an_act_races_the_withdrawal_of_its_client() {
    for act_first in [true, false] {
        let mut scene = Scene::open();
        let without = Estate {
            digest: Digest::of(b"without"),
            ..declared(&|it| it.clients.clear())
        };
        let (handle, ana) = (scene.world.handle.clone(), scene.world.person("ana"));
        let [one, two] = [scene.world.clock.moment(), scene.world.clock.moment()];
        let (caller, deciding) = (scene.caller.clone(), handle.clone());
        let book = compile(without);
        let act = ambit_core::act::Act::CallTool {
            server: "tickets".parse().unwrap(),
            tool: "get_ticket".parse().unwrap(),
            arguments: id("T-1"),
        };
        let answer = scene.world.run(async move {
            let apply = handle.apply(&ana, book, Vec::new(), one);
            let decide = deciding.decide(&caller, act, two);
            let (answer, applied) = if act_first {
                both(decide, apply).await
            } else {
                let (applied, answer) = both(apply, decide).await;
                (answer, applied)
            };
            applied.expect("applied");
            word(&answer.expect("an answer"))
        });
        let wanted = if act_first {
            "allow"
        } else {
            "deny token_withdrawn"
        };
        assert_eq!(answer, wanted);
    }
}

/// NHI01: the record keeps what a token rests upon: a restart gives nothing back.
#[test]
fn nhi01_a_restart_gives_a_withdrawn_client_nothing() {
    let mut scene = Scene::open();
    let without = declared(&|it| it.clients.clear());
    scene.apply(without.clone(), b"without");
    let (token, clock): (TokenId, _) = (scene.grant.access().id, scene.world.clock.clone());
    let estate = Estate {
        digest: Digest::of(b"without"),
        ..without
    };
    let again = World::open(scene.world.crash(), estate, clock);
    let standing = again
        .handle
        .token(token, again.clock.now())
        .expect("running");
    assert!(matches!(standing, TokenStanding::Over), "{standing:?}");
}
