//! Strategies that make any record at all.

mod bundles;

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, Digest, Label, Labels, Millis, Reason, ServerName, SvidKind, Timestamp, ToolName,
    TrustDomain,
    act::Target,
    claim::{ClaimProof, Footing},
    delegation::{Delegation, Lineage, Part},
    estate::{Bound, ToolGrant},
    id::Id,
    json::{INTEGER_MAX, Value},
    proof::{Enrolment, Login, LoginBy, Passkey, PasskeyAlgorithm, PasskeyKept, ProofFact},
    record::{
        Actor, Answer, Body, Decided, KeyStep, Mandate, Performed, Record, Sealed, Settlement,
        Status, Verdict, Warrant,
    },
    task::{Contained, End, Task},
    token::{Grant, IssuedToken, KeyBinding, Reach, RestsOn, TokenEnd, TokenKind},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Any record.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    (time(), body()).prop_map(|(at, body)| Record { at, body })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (text(), option::of((text(), number())))
            .prop_map(|(origin, recovered)| Body::LogOpened { origin, recovered }),
        id().prop_map(|person| Body::PersonKnown { person }),
        (digest(), warrant()).prop_map(|(estate, warrant)| Body::EstateApplied { estate, warrant }),
        (task(), sealed(), warrant()).prop_map(|(task, parameters, warrant)| Body::TaskStarted {
            task: Box::new(task),
            parameters,
            warrant
        }),
        (id(), id(), digest(), svid(), time()).prop_map(
            |(instance, task, certificate, svid, expires_at)| Body::InstanceCertified {
                instance,
                task,
                certificate,
                svid,
                expires_at,
            }
        ),
        (id(), select(End::ALL.to_vec()), actor()).prop_map(|(task, end, by)| Body::TaskEnded {
            task,
            end,
            by
        }),
        decided().prop_map(|it| Body::Decided(Box::new(it))),
        performed().prop_map(|it| Body::Performed(Box::new(it))),
        governed(),
        observed(),
        tokens(),
        delegations(),
        proofs().prop_map(|it| Body::Proof(Box::new(it))),
        bundles::bundles().prop_map(|it| Body::Bundle(Box::new(it))),
    ]
}

fn proofs() -> impl Strategy<Value = ProofFact> {
    prop_oneof![
        (login(), warrant()).prop_map(|(login, warrant)| ProofFact::LoginOpened { login, warrant }),
        (id(), option::of(warrant()))
            .prop_map(|(login, warrant)| ProofFact::LoginEnded { login, warrant }),
        (id(), digest(), time(), warrant()).prop_map(|(person, secret, expires_at, warrant)| {
            ProofFact::EnrolmentOffered {
                enrolment: Enrolment {
                    person,
                    secret,
                    expires_at,
                },
                warrant,
            }
        }),
        (passkey(), digest())
            .prop_map(|(passkey, enrolment)| ProofFact::PasskeyRegistered { passkey, enrolment }),
        (id(), any::<u32>()).prop_map(|(passkey, sign_count)| ProofFact::PasskeyUsed {
            passkey,
            sign_count
        }),
        (id(), warrant())
            .prop_map(|(passkey, warrant)| ProofFact::PasskeyRemoved { passkey, warrant }),
    ]
}

fn login() -> impl Strategy<Value = Login> {
    let by = prop_oneof![
        digest().prop_map(|subject| LoginBy::Provider { subject }),
        id().prop_map(|passkey| LoginBy::Passkey { passkey }),
    ];
    (id(), id(), digest(), digest(), by, time()).prop_map(
        |(id, person, key, secret, by, expires_at)| Login {
            id,
            person,
            key,
            secret,
            by,
            expires_at,
        },
    )
}

fn passkey() -> impl Strategy<Value = Passkey> {
    let how = (
        select(PasskeyAlgorithm::ALL.to_vec()),
        select(PasskeyKept::ALL.to_vec()),
    );
    (id(), id(), text(), text(), any::<u32>(), how).prop_map(
        |(id, person, credential, public_key, sign_count, how)| Passkey {
            id,
            person,
            credential,
            algorithm: how.0,
            public_key,
            sign_count,
            kept: how.1,
        },
    )
}

fn tokens() -> impl Strategy<Value = Body> {
    let reach = select(Reach::ALL.to_vec());
    let end = select(TokenEnd::ALL.to_vec());
    prop_oneof![
        issued().prop_map(|it| Body::TokenIssued(Box::new(it))),
        (id(), id(), reach, end, text()).prop_map(|(token, task, reach, end, client)| {
            Body::TokenRevoked {
                token,
                task,
                reach,
                end,
                client,
            }
        }),
    ]
}

fn issued() -> impl Strategy<Value = IssuedToken> {
    let kind = prop_oneof![
        Just(TokenKind::Access),
        digest().prop_map(|secret| TokenKind::Refresh { secret }),
    ];
    let binding = prop_oneof![
        Just(KeyBinding::Bearer),
        digest().prop_map(|certificate| KeyBinding::Mtls { certificate }),
        digest().prop_map(|thumbprint| KeyBinding::Dpop { thumbprint }),
    ];
    let part = option::of(delegation().prop_map(|it| Arc::new(it.part)));
    let ids = (id(), id(), id(), option::of(id()), part);
    let rests_on = (option::of(digest()), option::of(digest()));
    let rests_on = rests_on.prop_map(|(client, registration)| RestsOn {
        client,
        registration,
    });
    let end = (rests_on, time());
    let grant = select(Grant::ALL.to_vec());
    (ids, kind, text(), text(), binding, grant, end).prop_map(
        |(ids, kind, client, audience, binding, grant, (rests_on, expires_at))| IssuedToken {
            id: ids.0,
            family: ids.1,
            kind,
            task: ids.2,
            client,
            audience,
            binding,
            grant,
            parent: ids.3,
            part: ids.4,
            rests_on,
            expires_at,
        },
    )
}

fn governed() -> impl Strategy<Value = Body> {
    let verdict = select(vec![Verdict::Approved, Verdict::Refused]);
    prop_oneof![
        (id(), id(), verdict, option::of(sealed()), warrant()).prop_map(
            |(approval, task, verdict, reason, warrant)| Body::ApprovalDecided {
                approval,
                task,
                verdict,
                reason,
                warrant,
            }
        ),
        (id(), target(), sealed(), warrant()).prop_map(|(revocation, target, reason, warrant)| {
            Body::Revoked {
                revocation,
                target,
                reason,
                warrant,
            }
        }),
        (
            id(),
            id(),
            select(Settlement::ALL.to_vec()),
            sealed(),
            warrant()
        )
            .prop_map(|(decision, task, settlement, reason, warrant)| {
                Body::ActSettled {
                    decision,
                    task,
                    settlement,
                    reason,
                    warrant,
                }
            }),
        (id(), vec(number(), 0..4), warrant()).prop_map(|(task, leaves, warrant)| {
            Body::SealedOpened {
                task,
                leaves,
                warrant,
            }
        }),
        (target(), sealed(), warrant()).prop_map(|(target, reason, warrant)| Body::Reinstated {
            target,
            reason,
            warrant
        }),
        (id(), target(), number()).prop_map(|(revocation, target, leaf)| {
            Body::RevocationCarried {
                revocation,
                target,
                leaf,
            }
        }),
        (id(), vec(id(), 0..4), span()).prop_map(|(revocation, crossed, took)| {
            Body::RevocationEffective {
                revocation,
                crossed,
                took,
            }
        }),
    ]
}

fn observed() -> impl Strategy<Value = Body> {
    prop_oneof![
        (id(), option::of(digest()))
            .prop_map(|(task, join_token)| Body::TaskWaits { task, join_token }),
        (id(), select(ClaimProof::ALL.to_vec()), digest(), footing()).prop_map(
            |(task, proof, workload, footing)| Body::TaskClaimed {
                task,
                proof,
                workload,
                footing,
            }
        ),
        id().prop_map(|task| Body::TaskAttended { task }),
        (server(), warrant())
            .prop_map(|(server, warrant)| Body::ServerInspected { server, warrant }),
        (
            select(KeyStep::ALL.to_vec()),
            digest(),
            number(),
            option::of(warrant()),
        )
            .prop_map(|(step, certificate, sequence, warrant)| Body::KeysRotated {
                step,
                certificate,
                sequence,
                warrant,
            }),
        (server(), tool(), digest()).prop_map(|(server, tool, seen)| Body::ToolSeen {
            server,
            tool,
            seen
        }),
        (text(), warrant())
            .prop_map(|(reference, warrant)| Body::CredentialSealed { reference, warrant }),
        (
            actor(),
            option::of(id()),
            reason(),
            number(),
            time(),
            time()
        )
            .prop_map(|(actor, task, reason, count, first_at, last_at)| {
                Body::RefusalsCoalesced {
                    actor,
                    task,
                    reason,
                    count,
                    first_at,
                    last_at,
                }
            }),
        digest().prop_map(|digest| Body::StateDigest { digest }),
    ]
}

fn svid() -> impl Strategy<Value = SvidKind> {
    prop_oneof![
        Just(SvidKind::X509),
        vec(text(), 0..3).prop_map(|audiences| SvidKind::Jwt { audiences }),
    ]
}

fn decided() -> impl Strategy<Value = Decided> {
    let who = (id(), actor(), option::of(id()), text());
    let what = (
        option::of(server()),
        option::of(tool()),
        option::of(digest()),
        option::of(sealed()),
    );
    let why = (digest(), value(), answer(), vec(text(), 0..3));
    (who, what, why).prop_map(|(who, what, why)| Decided {
        decision: who.0,
        actor: who.1,
        task: who.2,
        action: who.3,
        server: what.0,
        tool: what.1,
        pin: what.2,
        act: what.3,
        estate: why.0,
        facts: why.1,
        answer: why.2,
        rules: why.3,
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (time(), labels(), option::of(id())).prop_map(|(act_by, charged, spends)| Answer::Allow {
            act_by,
            charged,
            spends
        }),
        (id(), time(), reason()).prop_map(|(approval, expires_at, reason)| Answer::Hold {
            approval,
            expires_at,
            reason
        }),
        reason().prop_map(|reason| Answer::Deny { reason }),
    ]
}

fn performed() -> impl Strategy<Value = Performed> {
    let numbers = (span(), number(), number());
    let status = select(Status::ALL.to_vec());
    let failure = option::of("[a-z :]{1,20}");
    let kept = (option::of(sealed()), failure);
    (id(), id(), status, numbers, labels(), kept).prop_map(
        |(decision, task, status, numbers, labels, (result, failure))| Performed {
            decision,
            task,
            status,
            took: numbers.0,
            sent_bytes: numbers.1,
            received_bytes: numbers.2,
            labels,
            result,
            failure,
        },
    )
}

fn task() -> impl Strategy<Value = Task> {
    let names = (server(), any::<u32>(), server());
    let ids = (id(), id(), id(), digest(), digest());
    let contained = select(vec![Contained::Namespaces, Contained::None]);
    let made = (names, ids, time(), time(), contained, lineage());
    made.prop_map(|(names, ids, start, end, contained, lineage)| {
        let agent: AgentName = names.2.as_str().parse().unwrap();
        let domain: TrustDomain = "example.org".parse().unwrap();
        Task {
            id: ids.0,
            template: names.0.as_str().parse().unwrap(),
            template_version: names.1,
            estate: ids.3,
            spiffe_id: domain.instance(&agent, ids.1),
            agent,
            instance: ids.1,
            subject: ids.2,
            parameters: BTreeMap::new(),
            authority: ids.4,
            started_at: start,
            expires_at: end,
            contained,
            lineage,
        }
    })
}

fn lineage() -> impl Strategy<Value = Lineage> {
    let child = (id(), id(), 1..=u8::MAX, any::<u8>());
    prop_oneof![
        Just(Lineage::Root),
        child.prop_map(|(parent, delegation, depth, depth_left)| Lineage::Child {
            parent,
            delegation,
            depth,
            depth_left
        }),
    ]
}

fn delegations() -> impl Strategy<Value = Body> {
    prop_oneof![
        (delegation(), sealed(), mandate()).prop_map(|(delegation, part, mandate)| {
            Body::DelegationMade {
                delegation: Box::new(delegation),
                part,
                mandate,
            }
        }),
        (task(), sealed(), mandate()).prop_map(|(task, part, mandate)| Body::DelegationSpent {
            task: Box::new(task),
            part,
            mandate
        }),
        (id(), id(), mandate()).prop_map(|(delegation, parent, mandate)| {
            Body::DelegationWithdrawn {
                delegation,
                parent,
                mandate,
            }
        }),
    ]
}

fn delegation() -> impl Strategy<Value = Delegation> {
    let ids = (id(), id(), digest(), server(), option::of(id()));
    let grant = (option::of(any::<u32>()), any::<bool>()).prop_map(|(calls_max, held)| ToolGrant {
        arguments: BTreeMap::new(),
        calls_max,
        approval: if held { Bound::Held } else { Bound::Free },
    });
    let tools = proptest::collection::btree_map((server(), tool()), grant, 0..3);
    let reads = proptest::collection::btree_set(server(), 0..3);
    let part = (reads, tools, any::<u32>(), labels());
    (ids, part, any::<u8>(), time(), time()).prop_map(|(ids, part, depth_left, made, end)| {
        let agent: AgentName = ids.3.as_str().parse().unwrap();
        let domain: TrustDomain = "example.org".parse().unwrap();
        Delegation {
            id: ids.0,
            parent: ids.1,
            spiffe_id: ids.4.map(|it| domain.instance(&agent, it)),
            to: agent,
            part: Part {
                reads: part.0,
                tools: part.1,
                calls_max: part.2,
                may_emit: part.3,
            },
            depth_left,
            authority: ids.2,
            made_at: made,
            expires_at: end,
        }
    })
}

fn mandate() -> impl Strategy<Value = Mandate> {
    (id(), actor(), vec(text(), 0..3), value()).prop_map(|(decision, by, rules, facts)| Mandate {
        decision,
        by,
        rules,
        facts,
    })
}

fn warrant() -> impl Strategy<Value = Warrant> {
    (id(), id(), vec(text(), 0..3), value()).prop_map(|(decision, by, rules, facts)| Warrant {
        decision,
        by,
        rules,
        facts,
    })
}

fn sealed() -> impl Strategy<Value = Sealed> {
    (digest(), option::of(digest())).prop_map(|(commitment, blob)| Sealed { commitment, blob })
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        id().prop_map(Actor::Instance),
        id().prop_map(Actor::Person),
        digest().prop_map(Actor::Workload),
        Just(Actor::Ambit),
        Just(Actor::Nobody),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        id().prop_map(Target::Task),
        id().prop_map(Target::Instance),
        id().prop_map(Target::Person),
        server().prop_map(|it| Target::Agent(it.as_str().parse().unwrap())),
        server().prop_map(Target::Server),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Integer),
        (-1e9..1e9).prop_filter_map("whole", |it: f64| {
            (it.fract() != 0.0).then_some(Value::Number(it))
        }),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(text(), inner, 0..4).prop_map(Value::Object),
        ]
    })
}

fn id<K: std::fmt::Debug>() -> impl Strategy<Value = Id<K>>
where
    Id<K>: std::fmt::Debug,
{
    any::<u128>().prop_map(Id::from_bits)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MILLIS_MAX).prop_map(Timestamp::from_millis)
}

fn span() -> impl Strategy<Value = Millis> {
    number().prop_map(Millis::new)
}

fn footing() -> impl Strategy<Value = Footing> {
    let parts = (option::of(digest()), option::of(any::<u32>()));
    parts.prop_map(|(registration, unix_uid)| Footing {
        registration,
        unix_uid,
    })
}

fn number() -> impl Strategy<Value = u64> {
    0..=INTEGER_MAX.cast_unsigned()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{0,12}", any::<String>()]
}

fn reason() -> impl Strategy<Value = Reason> {
    select(Reason::ALL.to_vec())
}

fn server() -> impl Strategy<Value = ServerName> {
    "[a-z]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|it| it.parse().unwrap())
}

fn tool() -> impl Strategy<Value = ToolName> {
    "[A-Za-z0-9_./-]{1,20}".prop_map(|it| it.parse().unwrap())
}

fn labels() -> impl Strategy<Value = Labels> {
    vec(server(), 0..4).prop_map(|names| {
        let label = |it: ServerName| -> Label { it.as_str().parse().unwrap() };
        Labels::new(names.into_iter().map(label)).unwrap()
    })
}
