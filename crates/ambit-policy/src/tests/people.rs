//! What each role may do, and what stops everybody.

use std::collections::BTreeSet;

use ambit_core::{
    DecisionId, Digest, LoginId, PasskeyId, PersonId, TaskId, Timestamp,
    act::{Governance, Target},
    estate::{Approver, Containment, PersonRole, Starters},
    record::{Body, Recordable, Warrant},
};

use super::world::{World, approval, compile};
use crate::{
    PersonDecision, PersonRequest, PolicyBook, Replay, Standing, Touched, WeakBinding,
    decide_person, replay, replay_warrant,
};

pub(super) struct Asked {
    pub(super) world: World,
    pub(super) alias: &'static str,
    pub(super) roles: Vec<PersonRole>,
    pub(super) act: Governance,
    standing: Standing,
    pub(super) subject: Option<PersonId>,
    weak_binding: WeakBinding,
    template: bool,
}

pub(super) const ME: u128 = 7;
/// Who owns everything in the world, and has no role.
const OWNER: &str = "olivia";

pub(super) fn asked(role: PersonRole, act: Governance) -> Asked {
    Asked {
        world: World::new(),
        alias: "maria",
        roles: vec![role],
        act,
        standing: Standing::Live,
        subject: Some(PersonId::from_bits(8)),
        weak_binding: WeakBinding::No,
        template: true,
    }
}

/// Returns `allow` or the reason of a denial.
pub(super) fn answer(asked: Asked) -> String {
    told(asked).0
}

/// Returns the answer, and the rules that made it.
pub(super) fn told(asked: Asked) -> (String, Vec<String>) {
    let book = compile(&asked.world.own);
    told_by(&book, asked)
}

/// Returns what a book of the world says that was compiled before.
pub(super) fn told_by(book: &PolicyBook, mut asked: Asked) -> (String, Vec<String>) {
    let template = asked.world.template().clone();
    let roles: BTreeSet<PersonRole> = asked.roles.into_iter().collect();
    let (agent, name) = ("triage".parse().unwrap(), template.name.clone());
    let touches_task = match &asked.act {
        Governance::EndTask { .. }
        | Governance::DecideApproval { .. }
        | Governance::Revoke { .. }
        | Governance::OpenSealed { .. }
        | Governance::SettleAct { .. } => true,
        Governance::StartTask { .. }
        | Governance::Reinstate { .. }
        | Governance::ApplyEstate { .. }
        | Governance::SealCredential { .. }
        | Governance::InspectServer { .. }
        | Governance::RotateKeys { .. }
        | Governance::OpenLogin
        | Governance::EndLogin { .. }
        | Governance::OfferEnrolment { .. }
        | Governance::RemovePasskey { .. }
        | Governance::Inspect => false,
    };
    let decision = decide_person(PersonRequest {
        decision: DecisionId::from_bits(1),
        at: Timestamp::from_millis(5),
        book,
        person: PersonId::from_bits(ME),
        alias: asked.alias,
        roles: &roles,
        standing: asked.standing,
        act: asked.act,
        touched: Touched {
            subject: asked.subject,
            template: asked.template.then_some(&template),
            of: touches_task.then_some((&agent, &name)),
        },
        weak_binding: asked.weak_binding,
    });
    match decision {
        PersonDecision::Allow(permit) => {
            let warrant = permit.warrant();
            assert_eq!(replay_warrant(book, &warrant), Replay::Same);
            ("allow".to_owned(), warrant.rules)
        }
        PersonDecision::Deny(denial) => {
            let Body::Decided(decided) = denial.body() else {
                panic!("a decision");
            };
            assert_eq!(replay(book, &decided), Replay::Same);
            for rule in &decided.rules {
                assert!(denial.explanation().contains(rule.as_str()));
            }
            (denial.reason().code().to_owned(), decided.rules)
        }
    }
}

fn check(expected: &str, role: PersonRole, act: Governance, change: impl FnOnce(&mut Asked)) {
    let name = format!("{role:?} {act:?}");
    let mut asked = asked(role, act);
    change(&mut asked);
    assert_eq!(answer(asked), expected, "{name}");
}

pub(super) fn start() -> Governance {
    Governance::StartTask {
        template: "answer".parse().unwrap(),
        agent: "triage".parse().unwrap(),
    }
}

pub(super) fn end() -> Governance {
    Governance::EndTask {
        task: TaskId::from_bits(1),
    }
}

pub(super) fn approve() -> Governance {
    Governance::DecideApproval {
        approval: approval(1),
    }
}

pub(super) fn acts() -> Vec<Governance> {
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

/// Somebody of each role, and the owner of everything, who has no role.
fn everybody(act: &Governance) -> [Asked; 6] {
    let [starter, approver, operator, auditor, administrator] =
        PersonRole::ALL.map(|role| asked(role, act.clone()));
    let owner = Asked {
        alias: OWNER,
        roles: Vec::new(),
        ..asked(PersonRole::Starter, act.clone())
    };
    [starter, approver, operator, auditor, administrator, owner]
}

#[test]
fn by_which_rule_each_role_may() {
    let (mut matrix, book) = (String::new(), compile(&World::new().own));
    for act in acts() {
        let by = everybody(&act).map(|asked| match told_by(&book, asked) {
            (answer, rules) if answer == "allow" => rules.join("+"),
            _ => "-".to_owned(),
        });
        matrix.push_str(&format!("{:>15}: {}\n", act.action(), by.join(" ")));
    }
    insta::assert_snapshot!(matrix, @r#"
         start_task: starter-starts - - - - -
           end_task: - - operator-ends-any - - owner-ends
    decide_approval: - approver-decides - - - -
             revoke: - - operator-revokes - - owner-revokes
          reinstate: - - - - administrator-reinstates -
       apply_estate: - - - - administrator-applies -
    seal_credential: - - - - administrator-seals -
     inspect_server: - - - - administrator-inspects-server -
        rotate_keys: - - - - administrator-rotates -
         open_login: any-role-logs-in any-role-logs-in any-role-logs-in any-role-logs-in any-role-logs-in owner-logs-in
          end_login: - - operator-ends-login - - -
    offer_enrolment: - - - - administrator-enrols -
     remove_passkey: - - - - administrator-enrols -
            inspect: any-role-inspects any-role-inspects any-role-inspects any-role-inspects any-role-inspects owner-inspects
        open_sealed: - - - auditor-opens - -
         settle_act: - - operator-settles - - -
    "#);
}

/// What owning gives is within what the roles of operators give, and never over a thing of somebody else's.
#[test]
fn an_owner_answers_for_what_is_theirs() {
    use PersonRole::Approver as Approves;
    let other = |it: &mut Asked| it.alias = "maria";
    let owner = |expected: &str, act: Governance, change: &dyn Fn(&mut Asked)| {
        let mut asked = Asked {
            alias: OWNER,
            roles: Vec::new(),
            ..asked(Approves, act)
        };
        change(&mut asked);
        assert_eq!(answer(asked), expected);
    };
    let revoke = |target| Governance::Revoke { target };
    let agent = || revoke(Target::Agent("triage".parse().unwrap()));
    let server = || revoke(Target::Server("tickets".parse().unwrap()));
    for act in [
        end(),
        agent(),
        server(),
        revoke(Target::Task(TaskId::from_bits(1))),
    ] {
        owner("allow", act.clone(), &|_| {});
        owner("role_missing", act.clone(), &other);
        owner("allow", act, &|it| {
            it.weak_binding = WeakBinding::UncontainedAgentOnSameUser;
        });
    }
    let person = revoke(Target::Person(PersonId::from_bits(8)));
    owner("role_missing", person, &|_| {});
    let unknown = revoke(Target::Agent("nobody".parse().unwrap()));
    owner("role_missing", unknown, &|_| {});
    // The owner of either, of the agent or of the template, may end a task.
    owner("allow", end(), &|it| {
        it.world.template().owner = "otto".to_owned();
    });
    owner("role_missing", end(), &|it| {
        it.world.template().owner = "otto".to_owned();
        for agent in it.world.own.agents.values_mut() {
            agent.owner = "otto".to_owned();
        }
    });
    // An agent that left the estate has no owner any more.
    owner("allow", end(), &|it| it.world.own.agents.clear());
    // What an owner wants decided, somebody with the role decides.
    owner("role_missing", approve(), &|_| {});
    owner("allow", approve(), &|it| it.roles = vec![Approves]);
    owner("binding_too_weak", Governance::OpenLogin, &|it| {
        it.weak_binding = WeakBinding::UncontainedAgentOnSameUser;
    });
}

/// Records from before owners could do anything, and groups were: they lack the word, and are derived alike.
#[test]
fn facts_without_an_owner_are_read_as_nobodys() {
    let book = compile(&World::new().own);
    let facts = r#"{"action":"end_task","at":5,"kind":"person","person":"person_00000000000000000000000007","roles":["operator"],"words":{"agent":"none","approver":"another_person","binding":"strong","containment":"required","named":"found","person":"live","starter":"listed","subject":"other"}}"#;
    let warrant = Warrant {
        decision: DecisionId::from_bits(1),
        by: PersonId::from_bits(ME),
        rules: vec!["operator-ends-any".to_owned()],
        facts: super::world::json(facts),
    };
    assert_eq!(replay_warrant(&book, &warrant), Replay::Same);
}

#[test]
fn roles_by_acts() {
    let (mut matrix, book) = (String::new(), compile(&World::new().own));
    for weak_binding in [WeakBinding::No, WeakBinding::UncontainedAgentOnSameUser] {
        matrix.push_str(&format!("{weak_binding:?}\n"));
        for act in acts() {
            let answers = everybody(&act).map(|mut asked| {
                asked.weak_binding = weak_binding;
                match told_by(&book, asked).0.as_str() {
                    "role_missing" => "-".to_owned(),
                    other => other.to_owned(),
                }
            });
            matrix.push_str(&format!("{:>15}: {}\n", act.action(), answers.join(" ")));
        }
    }
    insta::assert_snapshot!(matrix, @r#"
    No
         start_task: allow - - - - -
           end_task: - - allow - - allow
    decide_approval: - allow - - - -
             revoke: - - allow - - allow
          reinstate: - - - - allow -
       apply_estate: - - - - allow -
    seal_credential: - - - - allow -
     inspect_server: - - - - allow -
        rotate_keys: - - - - allow -
         open_login: allow allow allow allow allow allow
          end_login: - - allow - - -
    offer_enrolment: - - - - allow -
     remove_passkey: - - - - allow -
            inspect: allow allow allow allow allow allow
        open_sealed: - - - allow - -
         settle_act: - - allow - - -
    UncontainedAgentOnSameUser
         start_task: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
           end_task: - - allow - - allow
    decide_approval: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
             revoke: - - allow - - allow
          reinstate: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
       apply_estate: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
    seal_credential: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
     inspect_server: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
        rotate_keys: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
         open_login: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
          end_login: - - allow - - -
    offer_enrolment: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
     remove_passkey: - - - - allow -
            inspect: allow allow allow allow allow allow
        open_sealed: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
         settle_act: binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak binding_too_weak
    "#);
}

#[test]
fn what_stops_everybody() {
    use PersonRole::{Administrator, Approver as Approves, Operator, Starter};
    let book = compile(&World::new().own);
    for mut asked in acts().iter().flat_map(everybody) {
        asked.standing = Standing::Revoked;
        assert_eq!(told_by(&book, asked).0, "person_revoked");
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
