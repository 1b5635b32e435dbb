//! What each role may do, and what stops everybody.

use std::collections::BTreeSet;

use ambit_core::{
    DecisionId, Digest, LoginId, PasskeyId, PersonId, TaskId, Timestamp,
    act::{Governance, Target},
    estate::{Approver, Containment, PersonRole, Starters},
    record::{Body, Recordable},
};

use super::world::{World, approval, compile};
use crate::{
    PersonDecision, PersonRequest, Replay, Standing, WeakBinding, decide_person, replay,
    replay_warrant,
};

struct Asked {
    world: World,
    roles: Vec<PersonRole>,
    act: Governance,
    standing: Standing,
    subject: Option<PersonId>,
    weak_binding: WeakBinding,
    template: bool,
}

const ME: u128 = 7;

fn asked(role: PersonRole, act: Governance) -> Asked {
    Asked {
        world: World::new(),
        roles: vec![role],
        act,
        standing: Standing::Live,
        subject: Some(PersonId::from_bits(8)),
        weak_binding: WeakBinding::No,
        template: true,
    }
}

fn answer(mut asked: Asked) -> String {
    let template = asked.world.template().clone();
    let book = compile(&asked.world.own);
    let roles: BTreeSet<PersonRole> = asked.roles.into_iter().collect();
    let decision = decide_person(PersonRequest {
        decision: DecisionId::from_bits(1),
        at: Timestamp::from_millis(5),
        book: &book,
        person: PersonId::from_bits(ME),
        alias: "maria",
        roles: &roles,
        standing: asked.standing,
        act: asked.act,
        subject: asked.subject,
        template: asked.template.then_some(&template),
        weak_binding: asked.weak_binding,
    });
    match decision {
        PersonDecision::Allow(permit) => {
            assert_eq!(replay_warrant(&book, &permit.warrant()), Replay::Same);
            "allow".to_owned()
        }
        PersonDecision::Deny(denial) => {
            let Body::Decided(decided) = denial.body() else {
                panic!("a decision");
            };
            assert_eq!(replay(&book, &decided), Replay::Same);
            assert!(!denial.explanation().is_empty());
            denial.reason().code().to_owned()
        }
    }
}

fn check(expected: &str, role: PersonRole, act: Governance, change: impl FnOnce(&mut Asked)) {
    let name = format!("{role:?} {act:?}");
    let mut asked = asked(role, act);
    change(&mut asked);
    assert_eq!(answer(asked), expected, "{name}");
}

fn start() -> Governance {
    Governance::StartTask {
        template: "answer".parse().unwrap(),
        agent: "triage".parse().unwrap(),
    }
}

fn end() -> Governance {
    Governance::EndTask {
        task: TaskId::from_bits(1),
    }
}

fn approve() -> Governance {
    Governance::DecideApproval {
        approval: approval(1),
    }
}

fn acts() -> Vec<Governance> {
    vec![
        start(),
        end(),
        approve(),
        Governance::Revoke {
            target: Target::Task(TaskId::from_bits(1)),
        },
        Governance::Reinstate {
            target: Target::Agent("triage".parse().unwrap()),
        },
        Governance::ApplyEstate {
            estate: Digest::of(b"next"),
        },
        Governance::SealCredential {
            reference: "key".to_owned(),
        },
        Governance::InspectServer {
            server: "tickets".parse().unwrap(),
        },
        Governance::RotateKeys {
            step: ambit_core::record::KeyStep::Replace,
        },
        Governance::OpenLogin,
        Governance::EndLogin {
            login: LoginId::from_bits(1),
        },
        Governance::OfferEnrolment {
            alias: "ben".to_owned(),
        },
        Governance::RemovePasskey {
            passkey: PasskeyId::from_bits(1),
        },
        Governance::Inspect,
        Governance::OpenSealed {
            task: Some(TaskId::from_bits(1)),
        },
        Governance::SettleAct {
            decision: DecisionId::from_bits(2),
        },
    ]
}

#[test]
fn roles_by_acts() {
    let mut matrix = String::new();
    for weak_binding in [WeakBinding::No, WeakBinding::UncontainedAgentOnSameUser] {
        matrix.push_str(&format!("{weak_binding:?}\n"));
        for act in acts() {
            let answers = PersonRole::ALL.map(|role| {
                let mut asked = asked(role, act.clone());
                asked.weak_binding = weak_binding;
                match answer(asked).as_str() {
                    "role_missing" => "-".to_owned(),
                    other => other.to_owned(),
                }
            });
            matrix.push_str(&format!("{:>15}: {}\n", act.action(), answers.join(" ")));
        }
    }
    insta::assert_snapshot!(matrix, @r"
    No
         start_task: allow - - - -
           end_task: - - allow - -
    decide_approval: - allow - - -
             revoke: - - allow - -
          reinstate: - - - - allow
       apply_estate: - - - - allow
    seal_credential: - - - - allow
     inspect_server: - - - - allow
        rotate_keys: - - - - allow
         open_login: allow allow allow allow allow
          end_login: - - allow - -
    offer_enrolment: - - - - allow
     remove_passkey: - - - - allow
            inspect: allow allow allow allow allow
        open_sealed: - - - allow -
         settle_act: - - allow - -
    UncontainedAgentOnSameUser
         start_task: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
           end_task: - - allow - -
    decide_approval: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
             revoke: - - allow - -
          reinstate: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
       apply_estate: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
    seal_credential: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
     inspect_server: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
        rotate_keys: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
         open_login: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
          end_login: - - allow - -
    offer_enrolment: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
     remove_passkey: - - - - allow
            inspect: allow allow allow allow allow
        open_sealed: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
         settle_act: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
    ");
}

#[test]
fn what_stops_everybody() {
    use PersonRole::{Administrator, Approver as Approves, Operator, Starter};
    for act in acts() {
        for role in PersonRole::ALL {
            check("person_revoked", role, act.clone(), |it| {
                it.standing = Standing::Revoked
            });
        }
    }
    check("allow", Starter, end(), |it| {
        it.subject = Some(PersonId::from_bits(ME))
    });
    check("role_missing", Starter, end(), |it| it.subject = None);
    check("allow", Operator, end(), |it| it.subject = None);
    let open = Governance::OpenSealed {
        task: Some(TaskId::from_bits(1)),
    };
    check("allow", Starter, open.clone(), |it| {
        it.subject = Some(PersonId::from_bits(ME))
    });
    check("role_missing", Approves, open.clone(), |it| {
        it.subject = Some(PersonId::from_bits(ME))
    });
    check("role_missing", Starter, open, |it| it.subject = None);
    check("same_person", Approves, approve(), |it| {
        it.subject = Some(PersonId::from_bits(ME));
    });
    let reinstate = Governance::Reinstate {
        target: Target::Person(PersonId::from_bits(ME)),
    };
    check("same_person", Administrator, reinstate.clone(), |it| {
        it.subject = Some(PersonId::from_bits(ME));
    });
    check("allow", Administrator, reinstate, |_| {});
    check("allow", Approves, approve(), |it| {
        it.subject = Some(PersonId::from_bits(ME));
        it.world.template().approver = Approver::Anyone;
    });
    check("same_person", Approves, approve(), |it| it.subject = None);
    check("same_person", Approves, approve(), |it| it.template = false);
    check("not_found", Starter, start(), |it| it.template = false);
    check("template_withdrawn", Starter, start(), |it| {
        it.world.own.agents.clear()
    });
    check("role_missing", Starter, start(), |it| {
        it.world.template().starters = Starters::Only(BTreeSet::from(["otto".to_owned()]));
    });
    check("allow", Starter, start(), |it| {
        it.world.template().starters = Starters::Only(BTreeSet::from(["maria".to_owned()]));
    });
    check("allow", Starter, start(), |it| {
        it.weak_binding = WeakBinding::UncontainedAgentOnSameUser;
        it.world.template().containment = Containment::Optional;
    });
    check("role_missing", Starter, Governance::Inspect, |it| {
        it.roles.clear()
    });
}
