//! Steps of delegations by tokens: which tokens are worth a step, and how the log says that one was not.

use ambit_core::{
    DelegationId, Reason,
    estate::{BearerTokens, Estate, LeastBinding},
    limits::ACCESS_TOKEN_TTL,
    record::{Answer, Body},
    task::End,
    token::{KeyBinding, Reach},
};
use ambit_engine::{EndedTask, Ender, Refusal, TokenGrant};
use ambit_identity::{Beside, InstanceCaller, SvidKey, dpop::ProofMaker, identify_token};
use ambit_testkit::{World, delegating_office};

use crate::{
    delegation::{By, CLOSE, READ, code, delegate, exchange, part, rebuilt_alike, withdraw},
    token_exchange::{self, Scene, exchange_token, granted, token_of},
};

/// The office of two hops, whose template takes these proofs.
fn taking(binding: LeastBinding) -> Estate {
    let mut estate = delegating_office(2, &[]);
    estate.bearer_tokens = BearerTokens::Taken;
    for template in estate.templates.values_mut() {
        template.binding = binding;
    }
    estate
}

/// Returns who comes by the token of `granted` over its own connection.
fn over_mtls(granted: &TokenGrant, world: &World, caller: &InstanceCaller) -> By {
    let token = world.access_token(granted);
    let beside = Beside {
        connection: Some(caller),
        proof: None,
    };
    let caller = identify_token(&token, beside, caller.spiffe_id().trust_domain());
    By::Run(caller.expect("bound to its certificate"))
}

/// Takes `granted` back as its client does.
fn give_up(world: &mut World, granted: &TokenGrant) {
    let (handle, access) = (world.handle.clone(), granted.access().clone());
    let gone = async move {
        handle
            .give_up_token(&access.client, access.id, Reach::Token)
            .await
    };
    world.run(gone).unwrap();
}

/// Has a run end the root as its own.
fn end(scene: &mut Scene, by: &By) -> Result<EndedTask, Refusal> {
    let By::Run(caller) = by.clone() else {
        panic!("a run ends its own");
    };
    let (handle, moment, task) = (
        scene.world.handle.clone(),
        scene.world.clock.moment(),
        scene.root,
    );
    scene.world.run(async move {
        let by = Ender::Instance(&caller);
        handle.end_task(by, task, End::Completed, moment).await
    })
}

/// Has `by` try each step that gives away or takes back, and the end of its task; says how each was refused, by the answer and
/// by the record.
#[track_caller]
fn refused(scene: &mut Scene, by: &By, delegation: DelegationId) -> [Reason; 3] {
    let mut reasons = Vec::new();
    for step in ["delegate", "withdraw_delegation", "end_task"] {
        let before = scene.world.records().len();
        let answer = match step {
            "delegate" => {
                let what = part(scene.root, "helper", READ, 0);
                code(delegate(&mut scene.world, by, what).map(|_| ()))
            }
            "end_task" => code(end(scene, by).map(|_| ())),
            _ => code(withdraw(&mut scene.world, by, delegation).map(|_| ())),
        };
        let records = scene.world.records();
        let [record] = &records[before..] else {
            panic!("one record: {:?}", &records[before..]);
        };
        let Body::Decided(decided) = &record.body else {
            panic!("{record:?}");
        };
        assert_eq!(decided.action, step);
        assert_eq!(decided.answer, Answer::Deny { reason: answer });
        reasons.push(answer);
    }
    reasons.try_into().unwrap()
}

/// NHI04: whoever found a token that is bound to no key could show it; so it vouches for nobody.
#[test]
fn nhi04_a_token_that_is_bound_to_no_key_is_no_subject_token() {
    let mut scene = Scene::of(taking(LeastBinding::BearerToRead));
    let delegation = scene.given("helper", 0);
    let clerk = scene.clerk.clone();
    let bound = scene.subject.clone();
    scene.subject = token_of(&mut scene.world, &clerk, (KeyBinding::Bearer, None)).unwrap();
    let before = scene.world.records().len();
    let refusal = scene.exchange(delegation);
    assert_eq!(token_exchange::code(refusal), Reason::DelegateMismatch);
    token_exchange::nothing_came_out(&scene.world, before);
    let records = scene.world.records();
    let Some(Body::Decided(denied)) = records.last().map(|it| &it.body) else {
        panic!("{:?}", records.last())
    };
    let words = denied.facts.get("words").unwrap();
    let word = words.get("subject_token").and_then(|it| it.as_str());
    assert_eq!(word, Some("unbound"));
    // The delegation is there for whoever shows a token with a key.
    scene.subject = bound;
    scene.exchange(delegation).unwrap();
    rebuilt_alike(&scene.world, 2);
}

/// ASI03: what a template asks of the proof with which an agent acts holds for giving parts away and taking them, too; who
/// only takes back narrows.
#[test]
fn asi03_a_proof_that_is_too_weak_to_act_is_too_weak_for_a_step() {
    let secret = SvidKey::generate([9; 32]).unwrap();
    let thumbprint = ProofMaker::new(&secret).unwrap().thumbprint();
    for (binding, by_proof) in [
        (LeastBinding::Mtls, Err(Reason::BindingTooWeak)),
        (LeastBinding::Dpop, Ok(())),
        (LeastBinding::BearerToAct, Ok(())),
    ] {
        let mut scene = Scene::of(taking(binding));
        let (first, second) = (scene.given("helper", 0), scene.given("helper", 0));
        let (clerk, helper) = (scene.clerk.clone(), scene.helper.clone());
        let wanted = (KeyBinding::Dpop { thumbprint }, None);
        let mut by_dpop = |caller| {
            let granted = granted(&mut scene.world, caller, wanted).unwrap();
            By::Run(scene.world.by_dpop(&granted, &secret))
        };
        let (giver, taker) = (by_dpop(&clerk), by_dpop(&helper));
        let what = part(scene.root, "helper", CLOSE, 0);
        let told = |answer: Result<(), Refusal>| match answer {
            Ok(()) => Ok(()),
            refused => Err(code(refused)),
        };
        let given = delegate(&mut scene.world, &giver, what).map(|_| ());
        assert_eq!(told(given), by_proof, "{binding:?} gives");
        let taken = exchange(&mut scene.world, &taker, first).map(|_| ());
        assert_eq!(told(taken), by_proof, "{binding:?} takes");
        // The certificate is enough, and what comes of the exchange must be, too.
        let exchanged = scene.exchange(second);
        match by_proof {
            Ok(()) => drop(exchanged.unwrap()),
            Err(reason) => assert_eq!(token_exchange::code(exchanged), reason),
        }
        let third = scene.given("helper", 0);
        let shown = (third, &scene.subject.clone());
        exchange_token(&mut scene.world, &helper, shown, helper.binding()).unwrap();
        withdraw(&mut scene.world, &giver, third).unwrap();
        rebuilt_alike(&scene.world, 2);
    }
}

/// NHI04: where the template lets tokens act that are bound to no key, none of these gives a part away or takes one.
#[test]
fn nhi04_a_token_that_is_bound_to_no_key_takes_no_step() {
    let mut scene = Scene::of(taking(LeastBinding::BearerToAct));
    let delegation = scene.given("helper", 0);
    let mut by_bearer = |caller: &InstanceCaller| {
        let token = token_of(&mut scene.world, caller, (KeyBinding::Bearer, None)).unwrap();
        let beside = Beside {
            connection: None,
            proof: None,
        };
        let caller = identify_token(&token, beside, caller.spiffe_id().trust_domain());
        By::Run(caller.expect("bound to nothing"))
    };
    let (giver, taker) = (by_bearer(&scene.clerk), by_bearer(&scene.helper));
    let what = part(scene.root, "helper", CLOSE, 0);
    let given = delegate(&mut scene.world, &giver, what).map(|_| ());
    assert_eq!(code(given), Reason::BindingTooWeak);
    let taken = exchange(&mut scene.world, &taker, delegation).map(|_| ());
    assert_eq!(code(taken), Reason::BindingTooWeak);
    rebuilt_alike(&scene.world, 2);
}

/// ASI03, NHI05: who has a token of less gives nothing of the task away and takes nothing back, though the part were within
/// what the token carries: a child would outlive it. The log says that it was tried.
#[test]
fn asi03_a_narrowed_token_gives_nothing_away_and_takes_nothing_back() {
    let mut scene = Scene::of(delegating_office(2, &[]));
    let delegation = scene.given("helper", 0);
    let clerk = scene.clerk.clone();
    let by_token = |world: &mut World, part: Option<&str>| {
        let granted = granted(world, &clerk, (clerk.binding(), part)).unwrap();
        let by = over_mtls(&granted, world, &clerk);
        (granted, by)
    };
    let (less, narrowed) = by_token(&mut scene.world, Some(READ));
    let reasons = refused(&mut scene, &narrowed, delegation);
    assert_eq!(reasons, [Reason::TokenNarrowed; 3]);
    // One that was given up hears that, and not how to do better.
    give_up(&mut scene.world, &less);
    let reasons = refused(&mut scene, &narrowed, delegation);
    assert_eq!(reasons, [Reason::TokenGivenUp; 3]);
    // One of the whole does both.
    let (_, whole) = by_token(&mut scene.world, None);
    let what = part(scene.root, "helper", READ, 0);
    delegate(&mut scene.world, &whole, what).unwrap();
    withdraw(&mut scene.world, &whole, delegation).unwrap();
    let used = token_exchange::code(scene.exchange(delegation));
    assert_eq!(used, Reason::DelegationUsed);
    rebuilt_alike(&scene.world, 2);
}

/// NHI01: a token that was given up, or is over while its task lives, is worth no step, and the log says why.
#[test]
fn nhi01_a_token_that_is_worth_nothing_takes_no_step() {
    let mut scene = Scene::of(delegating_office(2, &[]));
    let delegation = scene.given("helper", 0);
    let clerk = scene.clerk.clone();
    let wanted = (clerk.binding(), None);
    let given_up = granted(&mut scene.world, &clerk, wanted).unwrap();
    let by = over_mtls(&given_up, &scene.world, &clerk);
    give_up(&mut scene.world, &given_up);
    let reasons = refused(&mut scene, &by, delegation);
    assert_eq!(reasons, [Reason::TokenGivenUp; 3]);
    let over = granted(&mut scene.world, &clerk, wanted).unwrap();
    let by = over_mtls(&over, &scene.world, &clerk);
    scene.world.clock.advance(ACCESS_TOKEN_TTL);
    let reasons = refused(&mut scene, &by, delegation);
    assert_eq!(reasons, [Reason::TokenExpired; 3]);
    // By its certificate alone, the run does it.
    withdraw(&mut scene.world, &By::Run(clerk), delegation).unwrap();
    rebuilt_alike(&scene.world, 2);
}
