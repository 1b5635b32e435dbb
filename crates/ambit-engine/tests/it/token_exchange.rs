//! Delegations spent for tokens (RFC 8693): what comes of it, and attacks on it.

use ambit_core::{
    DelegationId, Digest, Millis, Reason, TaskId,
    act::Target,
    estate::Estate,
    json,
    limits::{ACCESS_TOKEN_TTL, DELEGATION_DEPTH_MAX},
    record::{Actor, Answer, Body},
    task::Contained,
    token::{Grant, KeyBinding, Reach, RestsOn},
};
use ambit_engine::{
    Delegate, ExchangeRefusal, Refreshable, Refusal, TokenAsk, TokenBy, TokenGrant, TokenRefusal,
    TokenStanding,
};
use ambit_identity::{
    InstanceCaller,
    token::access::{ACTORS_MAX, AccessToken},
};
use ambit_testkit::{World, delegating_office};

use crate::{
    delegation::{ALL, By, CLOSE, READ, child, delegate, office, part, rebuilt_alike},
    support::{ask, id},
};

fn wanted(client: &InstanceCaller, binding: KeyBinding) -> TokenAsk {
    TokenAsk {
        client: Some(client.spiffe_id().to_string()),
        audience: "https://127.0.0.1:1/mcp".to_owned(),
        binding,
        ttl: ACCESS_TOKEN_TTL,
        refreshable: Refreshable::Yes,
        grant: Grant::ClientCredentials,
        parent: None,
        details: None,
        rests_on: RestsOn::default(),
    }
}

/// The key of whoever takes a part.
pub(crate) fn key() -> KeyBinding {
    KeyBinding::Dpop {
        thumbprint: Digest::of(b"delegate"),
    }
}

/// Returns an access token of the task that `caller` serves, when it gets one.
pub(crate) fn token(world: &mut World, caller: &InstanceCaller) -> Option<AccessToken> {
    token_of(world, caller, (key(), None))
}

pub(crate) fn token_of(
    world: &mut World,
    caller: &InstanceCaller,
    wanted: (KeyBinding, Option<&str>),
) -> Option<AccessToken> {
    let granted = granted(world, caller, wanted);
    granted.map(|it| world.access_token(&it))
}

/// Returns what `caller` is granted of its own task, bound as said, and that part of it where one is named.
pub(crate) fn granted(
    world: &mut World,
    caller: &InstanceCaller,
    (binding, part): (KeyBinding, Option<&str>),
) -> Option<TokenGrant> {
    let ask = TokenAsk {
        refreshable: Refreshable::No,
        details: part.map(|it| json::parse(it.as_bytes()).unwrap()),
        ..wanted(caller, binding)
    };
    let (handle, caller, moment) = (world.handle.clone(), caller.clone(), world.clock.moment());
    let granted = world.run(async move {
        let by = TokenBy::Instance(&caller);
        handle.issue_token(by, ask, moment).await
    });
    granted.ok()
}

/// Has `by` exchange `subject` and the delegation for a child and its token.
pub(crate) fn exchange_token(
    world: &mut World,
    by: &InstanceCaller,
    (delegation, subject): (DelegationId, &AccessToken),
    binding: KeyBinding,
) -> Result<TokenGrant, ExchangeRefusal> {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let (by, subject, ask) = (by.clone(), subject.clone(), wanted(by, binding));
    world.run(async move {
        let by = Delegate::Instance(&by);
        let shown = (delegation, &subject);
        handle.exchange_token(by, shown, ask, moment).await
    })
}

/// A clerk's task, another task of a helper that can take parts, and what the clerk gives to the helper.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) root: TaskId,
    pub(crate) clerk: InstanceCaller,
    pub(crate) helper: InstanceCaller,
    pub(crate) subject: AccessToken,
}

impl Scene {
    fn new(depth_max: u8) -> Self {
        Self::of(delegating_office(depth_max, &[]))
    }

    pub(crate) fn of(estate: Estate) -> Self {
        let mut world = World::new(estate, 5);
        let (root, clerk) = world.start();
        // The helper serves a task already: it is a part of another one.
        let (other, owner) = world.start();
        let (_, helper) = child(&mut world, (other.task.id, &owner), ("helper", READ, 0));
        let subject = token(&mut world, &clerk).unwrap();
        Self {
            world,
            root: root.task.id,
            clerk,
            helper,
            subject,
        }
    }

    pub(crate) fn given(&mut self, to: &str, depth: u8) -> DelegationId {
        let by = By::Run(self.clerk.clone());
        let given = delegate(&mut self.world, &by, part(self.root, to, CLOSE, depth));
        given.unwrap().id
    }

    pub(crate) fn exchange(
        &mut self,
        delegation: DelegationId,
    ) -> Result<TokenGrant, ExchangeRefusal> {
        let (by, subject) = (self.helper.clone(), self.subject.clone());
        exchange_token(&mut self.world, &by, (delegation, &subject), key())
    }
}

#[track_caller]
pub(crate) fn code(refused: Result<TokenGrant, ExchangeRefusal>) -> Reason {
    match refused {
        Err(ExchangeRefusal::Step(Refusal::Denied { denied, .. })) => denied.reason,
        other => panic!("{other:?}"),
    }
}

/// Says that nothing was spent or issued since the log had `before` records.
#[track_caller]
pub(crate) fn nothing_came_out(world: &World, before: usize) {
    for record in world.records().iter().skip(before) {
        let came = matches!(
            record.body,
            Body::DelegationSpent { .. } | Body::TokenIssued(_)
        );
        assert!(!came, "{:?}", record.body);
    }
}

#[test]
fn a_delegation_is_exchanged_for_a_child_and_its_token() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    let granted = scene.exchange(delegation).unwrap();
    let (task, access) = (granted.task().clone(), granted.access().clone());
    assert_eq!(task.lineage.parent(), Some(scene.root));
    assert_eq!(access.grant, Grant::TokenExchange);
    assert_eq!(access.binding, key());
    assert_eq!(access.client, scene.helper.spiffe_id().to_string());
    assert_eq!(
        Some(access.id.to_string()),
        Some(granted.access().id.to_string())
    );
    let parent = access.parent.unwrap().to_string();
    assert_eq!(parent, scene.subject.grant().token_id);
    // The subject stays; who acts stands before in whose stead.
    let token = scene.world.access_token(&granted);
    assert_eq!(token.grant().subject, scene.subject.grant().subject);
    let acts: Vec<_> = token.grant().actors.iter().collect();
    assert_eq!(acts, [&task.spiffe_id, scene.clerk.spiffe_id()]);
    // The child and its tokens are of one turn; the delegator's token is not used up by it.
    let records = scene.world.records();
    let spent = records
        .iter()
        .position(|it| matches!(&it.body, Body::DelegationSpent { task, .. } if task.lineage.parent() == Some(scene.root)));
    let after = &records[spent.unwrap() + 1..];
    assert!(matches!(&after[0].body, Body::TokenIssued(it) if it.task == task.id));
    assert_eq!(records[spent.unwrap()].at, after[0].at);
    let now = scene.world.clock.now();
    let standing = scene.world.handle.token(access.parent.unwrap(), now);
    assert!(matches!(standing, Ok(TokenStanding::Live(..))));
    // The child does what it was given, and no more.
    let caller = scene.world.instance(&task);
    assert!(ask(&mut scene.world, &caller, "close_ticket", id("T-1")).starts_with("allow"));
    let beyond = ask(&mut scene.world, &caller, "get_ticket", id("T-1"));
    assert!(beyond.starts_with("deny"), "{beyond}");
    rebuilt_alike(&scene.world, 2);
}

/// ASI03: a subject token of one task and a delegation of another are no pair; the log says that it was tried.
#[test]
fn asi03_a_spliced_subject_token_is_refused() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    // The delegate's own token, and one of a task that has nothing to do with it.
    let (_, stranger) = scene.world.start();
    for other in [scene.helper.clone(), stranger] {
        let subject = token(&mut scene.world, &other).unwrap();
        let before = scene.world.records().len();
        let by = scene.helper.clone();
        let spliced = exchange_token(&mut scene.world, &by, (delegation, &subject), key());
        assert_eq!(code(spliced), Reason::DelegateMismatch);
        nothing_came_out(&scene.world, before);
        let records = scene.world.records();
        let Some(Body::Decided(denied)) = records.last().map(|it| &it.body) else {
            panic!("{:?}", records.last())
        };
        let words = denied.facts.get("words").unwrap();
        assert_eq!(
            words.get("subject_token").and_then(|it| it.as_str()),
            Some("of_another")
        );
    }
    // The right pair is still there to be made.
    scene.exchange(delegation).unwrap();
    rebuilt_alike(&scene.world, 2);
}

/// ASI03: who holds a token of less can't vouch for more, though it is of the right task.
#[test]
fn asi03_a_narrowed_subject_token_is_refused() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    let clerk = scene.clerk.clone();
    scene.subject = token_of(&mut scene.world, &clerk, (key(), Some(READ))).unwrap();
    let before = scene.world.records().len();
    assert_eq!(code(scene.exchange(delegation)), Reason::DelegateMismatch);
    nothing_came_out(&scene.world, before);
    rebuilt_alike(&scene.world, 2);
}

/// ASI03: the actor is whoever proves itself; another one, with the right papers, is refused.
#[test]
fn asi03_the_papers_of_another_are_of_no_use() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("archivist", 0);
    assert_eq!(code(scene.exchange(delegation)), Reason::DelegateMismatch);
    // The delegator itself is no delegate, though it holds both.
    let (by, subject) = (scene.clerk.clone(), scene.subject.clone());
    let own = exchange_token(&mut scene.world, &by, (delegation, &subject), key());
    assert_eq!(code(own), Reason::DelegateMismatch);
}

/// ASI03, NHI07: a delegation and its token are good once.
#[test]
fn asi03_an_exchange_is_not_replayed() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    scene.exchange(delegation).unwrap();
    let before = scene.world.records().len();
    assert_eq!(code(scene.exchange(delegation)), Reason::DelegationUsed);
    nothing_came_out(&scene.world, before);
}

/// ASI03, NHI02: a token that was given up or is over vouches for nobody.
#[test]
fn nhi02_a_subject_token_that_is_over_gives_nothing() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    let shown = scene.subject.grant().token_id.parse().unwrap();
    let client = scene.clerk.spiffe_id().to_string();
    let handle = scene.world.handle.clone();
    let gone = async move { handle.give_up_token(&client, shown, Reach::Token).await };
    scene.world.run(gone).unwrap();
    assert_eq!(code(scene.exchange(delegation)), Reason::DelegateMismatch);
    // One that is over, too, by the log's time.
    scene.subject = token(&mut scene.world, &scene.clerk.clone()).unwrap();
    scene.world.clock.advance(ACCESS_TOKEN_TTL);
    assert_eq!(code(scene.exchange(delegation)), Reason::DelegateMismatch);
    rebuilt_alike(&scene.world, 2);
}

/// NHI04: what is delegated is bound to the delegate's key.
#[test]
fn nhi04_no_bearer_token_comes_of_an_exchange() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    let (by, subject) = (scene.helper.clone(), scene.subject.clone());
    let bare = exchange_token(
        &mut scene.world,
        &by,
        (delegation, &subject),
        KeyBinding::Bearer,
    );
    assert!(matches!(
        bare,
        Err(ExchangeRefusal::Token(TokenRefusal::NoBearer))
    ));
    scene.exchange(delegation).unwrap();
}

/// ASI10: whatever ends above, the exchange that comes after it gives nothing, and what was given is worth nothing.
#[test]
fn asi10_an_exchange_after_a_revocation_gives_nothing() {
    type End = fn(&Scene) -> Target;
    let ends: [End; 4] = [
        |it| Target::Task(it.root),
        |it| Target::Instance(it.clerk.instance()),
        |it| Target::Instance(it.helper.instance()),
        |it| Target::Agent(it.helper.agent().clone()),
    ];
    for end in ends {
        let mut scene = Scene::new(2);
        let (used, kept) = (scene.given("helper", 0), scene.given("helper", 0));
        let granted = scene.exchange(used).unwrap();
        let (target, ana) = (end(&scene), scene.world.person("ana"));
        let (handle, moment) = (scene.world.handle.clone(), scene.world.clock.moment());
        let reason = "odd".to_owned();
        let revoked = async move { handle.revoke(&ana, target, reason, moment).await };
        scene.world.run(revoked).unwrap();
        let before = scene.world.records().len();
        scene.exchange(kept).unwrap_err();
        nothing_came_out(&scene.world, before);
        let now = scene.world.clock.now();
        let standing = scene.world.handle.token(granted.access().id, now).unwrap();
        assert!(matches!(standing, TokenStanding::Over), "{standing:?}");
    }
}

/// ASI03: an instance without containment does not become contained by saying so.
#[test]
fn asi03_a_child_is_no_more_contained_than_who_takes_it() {
    let mut world = office();
    let (root, clerk) = world.start();
    let by = By::Run(clerk);
    let given = delegate(&mut world, &by, part(root.task.id, "clerk", READ, 0)).unwrap();
    let ask = ambit_engine::StartTask {
        template: "answer".parse().unwrap(),
        agent: "clerk".parse().unwrap(),
        parameters: root.task.parameters.clone(),
        contained: Contained::None,
    };
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let started = world.run(async move { handle.start_task(&ana, ask, moment).await });
    let loose = world.instance(&started.unwrap().task);
    let taken = crate::delegation::exchange(&mut world, &By::Run(loose), given.id);
    assert_eq!(crate::delegation::code(taken), Reason::ContainmentRequired);
}

/// The deepest chain fits into a token, and its tokens live no longer than what they are of.
#[test]
fn the_deepest_chain_fits_into_a_token() {
    let mut world = World::new(delegating_office(DELEGATION_DEPTH_MAX, &[]), 5);
    let (root, mut above) = world.start();
    let (other, owner) = world.start();
    let (_, helper) = child(&mut world, (other.task.id, &owner), ("helper", READ, 0));
    let mut task = root.task.id;
    for depth in (0..DELEGATION_DEPTH_MAX).rev() {
        let subject = token(&mut world, &above).unwrap();
        let by = By::Run(above.clone());
        let given = delegate(&mut world, &by, part(task, "helper", ALL, depth)).unwrap();
        let granted = exchange_token(&mut world, &helper, (given.id, &subject), key()).unwrap();
        let (child, signed) = (granted.task().clone(), world.access_token(&granted));
        let hops = usize::from(DELEGATION_DEPTH_MAX - depth);
        assert_eq!(signed.grant().actors.len(), hops + 1);
        assert!(granted.access().expires_at <= child.expires_at);
        world.clock.advance(Millis::new(1));
        (task, above) = (child.id, world.instance(&child));
    }
    let subject = token(&mut world, &above).unwrap();
    assert_eq!(subject.grant().actors.len(), ACTORS_MAX);
    let last = world
        .records()
        .into_iter()
        .rev()
        .find_map(|it| match it.body {
            Body::Decided(it) => Some(it.answer),
            _ => None,
        });
    assert!(!matches!(last, Some(Answer::Deny { .. })));
}

/// ASI10: where no token can be given after the delegation was spent, the child ends in the same turn: nobody could come by it,
/// and nobody would end it.
#[test]
fn asi10_a_child_without_a_token_does_not_live() {
    let mut scene = Scene::new(2);
    let delegation = scene.given("helper", 0);
    let (handle, moment) = (scene.world.handle.clone(), scene.world.clock.moment());
    let (by, subject) = (scene.helper.clone(), scene.subject.clone());
    let ask = TokenAsk {
        details: Some(json::parse(READ.as_bytes()).unwrap()),
        ..wanted(&by, key())
    };
    let refused = scene.world.run(async move {
        let by = Delegate::Instance(&by);
        let shown = (delegation, &subject);
        handle.exchange_token(by, shown, ask, moment).await
    });
    let beyond = matches!(
        refused,
        Err(ExchangeRefusal::Token(TokenRefusal::Details(_)))
    );
    assert!(beyond, "{refused:?}");
    let records = scene.world.records();
    let [.., spent, ended] = records.as_slice() else {
        panic!("two records");
    };
    let Body::DelegationSpent { task, .. } = &spent.body else {
        panic!("{spent:?}");
    };
    let ends =
        matches!(&ended.body, Body::TaskEnded { task: it, by: Actor::Ambit, .. } if *it == task.id);
    assert!(ends && ended.at == spent.at, "{ended:?}");
    assert_eq!(code(scene.exchange(delegation)), Reason::DelegationUsed);
    rebuilt_alike(&scene.world, 2);
}
