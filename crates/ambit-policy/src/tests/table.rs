//! One row for each thing that can stop an act, and for each that must not.

use std::str::FromStr;

use ambit_core::{
    Digest,
    act::{Act, Listing},
    estate::{BearerTokens, Bound, Containment, Estate, LeastBinding, Mode},
    task::{Contained, End, TaskState},
};
use cedar_policy::{Request as CedarRequest, Schema};

use super::world::{EXPIRES, World, call, compile, json, labels, operation, server, told, tool};
use crate::{
    Decision, Offering, Standing, SubjectStanding, TaskScope,
    book::ACTS_SCHEMA,
    contexts::{Sight, context},
    gather::gather,
    rules::Asked,
};

pub(super) fn check(name: &str, expected: &str, change: impl FnOnce(&mut World)) {
    let world = World::with(change);
    world.ask(|asked| {
        let facts = gather(&asked.request());
        let request = Asked::new(&asked.book.vocabulary, &facts);
        let request = request
            .with(context(&facts, &Sight::everything()).unwrap())
            .unwrap();
        let schema = Schema::from_str(ACTS_SCHEMA).unwrap();
        let known = request.action().unwrap();
        CedarRequest::new(
            request.principal().unwrap().clone(),
            known.clone(),
            request.resource().unwrap().clone(),
            request.context().unwrap().clone(),
            Some(&schema),
        )
        .unwrap_or_else(|it| panic!("{name}: the request does not fit the schema: {it}"));
        let decision = crate::decide(asked.request());
        if let Decision::Deny(denial) = &decision {
            assert!(!denial.explanation().is_empty(), "{name}");
        }
        assert_eq!(told(&decision), expected, "{name}");
    });
}

#[test]
fn the_chain_of_authority_stands_or_nothing_happens() {
    check("as it is", "allow", |_| {});
    for end in [End::Completed, End::Cancelled, End::Revoked] {
        check(end.as_str(), "deny task_ended", |it| {
            it.state = TaskState::Ended(end)
        });
    }
    check("expired", "deny task_expired", |it| it.at = EXPIRES);
    check("last moment", "allow", |it| it.at = EXPIRES - 1);
    check("agent", "deny agent_revoked", |it| {
        it.live.agent = Standing::Revoked
    });
    check("person", "deny person_revoked", |it| {
        it.live.person = SubjectStanding::Revoked
    });
    check("person gone", "deny person_gone", |it| {
        it.live.person = SubjectStanding::Gone
    });
    check("no starter", "deny starter_withdrawn", |it| {
        it.live.person = SubjectStanding::NotStarter
    });
    check("instance", "deny instance_revoked", |it| {
        it.live.instance = Standing::Revoked
    });
    check("server", "deny server_revoked", |it| {
        it.live.server = Standing::Revoked
    });
    check("ended before revoked", "deny task_ended", |it| {
        it.state = TaskState::Ended(End::Revoked);
        it.live.agent = Standing::Revoked;
        it.live.server = Standing::Revoked;
    });
    check("uncontained", "deny containment_required", |it| {
        it.contained = Contained::None
    });
    check("uncontained where it may", "allow", |it| {
        it.contained = Contained::None;
        it.template().containment = Containment::Optional;
    });
    check("other environment", "deny wrong_environment", |it| {
        it.act = call("staging", "look", "{}");
    });
}

#[test]
fn a_proof_is_as_strong_as_the_task_wants_it() {
    let taken = |it: &mut World| it.own.bearer_tokens = BearerTokens::Taken;
    let check = |binding, least: LeastBinding, act: &str, expected: &str| {
        let name = format!("{binding} {least:?} {act}");
        check(&name, expected, |it| {
            taken(it);
            it.binding = binding;
            it.template().binding = least;
            it.act = match act {
                "read" => call("tickets", "get_ticket", r#"{"id":7}"#),
                "list" => Act::List {
                    server: server("tickets"),
                    what: Listing::Prompts,
                },
                _ => call("tickets", "close_ticket", r#"{"id":1042}"#),
            };
        });
    };
    let weak = "deny binding_too_weak";
    for least in [
        LeastBinding::Mtls,
        LeastBinding::Dpop,
        LeastBinding::BearerToRead,
        LeastBinding::BearerToAct,
    ] {
        let by_dpop = if least == LeastBinding::Mtls {
            weak
        } else {
            "allow"
        };
        let reads = if least < LeastBinding::BearerToRead {
            weak
        } else {
            "allow"
        };
        let acts = if least < LeastBinding::BearerToAct {
            weak
        } else {
            "allow"
        };
        for act in ["read", "write"] {
            check("mtls", least, act, "allow");
            check("dpop", least, act, by_dpop);
            // A kind of proof that nobody knows is none.
            check("", least, act, weak);
            check("Bearer", least, act, weak);
        }
        check("bearer", least, "read", reads);
        check("bearer", least, "list", reads);
        check("bearer", least, "write", acts);
    }
}

#[test]
fn a_change_of_the_estate_never_weakens_the_proof_of_a_live_task() {
    let bearer = |name, expected, change: &dyn Fn(&mut World)| {
        super::table::check(name, expected, |it| {
            it.own.bearer_tokens = BearerTokens::Taken;
            it.binding = "bearer";
            it.template().binding = LeastBinding::BearerToAct;
            change(it);
        });
    };
    let binding = |estate: &mut Estate, binding| {
        for template in estate.templates.values_mut() {
            template.binding = binding;
        }
    };
    bearer("as it was", "allow", &|_| {});
    bearer("narrowed since", "deny binding_too_weak", &|it| {
        it.later(|it| binding(it, LeastBinding::Dpop));
    });
    bearer("refused since", "deny binding_too_weak", &|it| {
        it.later(|it| it.bearer_tokens = BearerTokens::Refused);
    });
    bearer("widened since", "deny binding_too_weak", &|it| {
        it.template().binding = LeastBinding::Dpop;
        it.later(|it| binding(it, LeastBinding::BearerToAct));
    });
    bearer("taken since", "deny binding_too_weak", &|it| {
        it.own.bearer_tokens = BearerTokens::Refused;
        it.later(|it| it.bearer_tokens = BearerTokens::Taken);
    });
}

#[test]
fn tenants_see_how_a_caller_proved_itself() {
    let policy = r#"@id("acts-want-a-certificate")
        forbid (principal is Ambit::Task, action in Ambit::Action::"side_effect", resource)
        unless { context.binding == "mtls" };"#;
    for (binding, expected) in [("mtls", "allow"), ("dpop", "deny policy_forbids")] {
        check(binding, expected, |it| {
            it.policy(policy);
            it.binding = binding;
            it.act = call("tickets", "close_ticket", r#"{"id":1042}"#);
        });
    }
}

#[test]
fn reads_are_free_and_side_effects_are_named() {
    check(
        "read of a server without reads",
        "deny server_not_granted",
        |it| {
            it.act = call("vault", "read_secret", "{}");
        },
    );
    check("unheard-of server", "deny server_not_granted", |it| {
        it.act = call("nowhere", "x", "{}");
    });
    check("read beside named tools", "deny tool_not_granted", |it| {
        it.act = call("mail", "read_mail", "{}");
    });
    check("unknown tool", "deny tool_unknown", |it| {
        it.act = call("tickets", "nuke", "{}")
    });
    check(
        "side effect without a name",
        "deny tool_not_granted",
        |it| {
            it.act = call("tickets", "export_all", "{}");
        },
    );
    check("named side effect", "allow", |it| {
        it.act = call("tickets", "close_ticket", r#"{"id":1042}"#);
    });
    check("granted read, narrowed", "allow", |it| {
        it.act = call("mail", "list_inbox", r#"{"folder":"support"}"#);
    });
    check(
        "granted read, beyond",
        "deny argument_out_of_bounds",
        |it| {
            it.act = call("mail", "list_inbox", r#"{"folder":"board"}"#);
        },
    );
}

#[test]
fn resources_prompts_and_lists_are_free_where_reads_are() {
    let resource = |at: &str| Act::ReadResource {
        server: server(at),
        uri: "ticket://7".to_owned(),
    };
    check("resource", "allow", |it| it.act = resource("tickets"));
    check(
        "resource of a server with tools only",
        "deny server_not_granted",
        |it| {
            it.act = resource("mail");
        },
    );
    let prompt = |arguments: &str| Act::GetPrompt {
        server: server("tickets"),
        prompt: "summary".to_owned(),
        arguments: json(arguments),
    };
    check("prompt", "allow", |it| it.act = prompt("{}"));
    check("prompt with a list", "deny arguments_invalid", |it| {
        it.act = prompt("[]")
    });
    check("completion", "allow", |it| {
        it.act = Act::Complete {
            server: server("tickets"),
            parameters: json("{}"),
        };
    });
    for (at, expected) in [("tickets", "allow"), ("mail", "deny server_not_granted")] {
        check(at, expected, |it| {
            it.act = Act::List {
                server: server(at),
                what: Listing::Resources,
            };
        });
    }
}

#[test]
fn a_model_endpoint_is_declared_or_unreachable() {
    let connect = |host: &str, port| Act::Connect {
        host: host.to_owned(),
        port,
    };
    check("declared", "allow", |it| {
        it.act = connect("model.example", 443)
    });
    check("other port", "deny endpoint_not_listed", |it| {
        it.act = connect("model.example", 80)
    });
    check("other host", "deny endpoint_not_listed", |it| {
        it.act = connect("evil.example", 443)
    });
    check("labels do not matter there", "allow", |it| {
        it.act = connect("model.example", 443);
        it.usage.labels = labels(&["secret"]);
    });
    check("calls do not matter there", "allow", |it| {
        it.act = connect("model.example", 443);
        it.usage.calls = 10;
    });
    check("the task does", "deny task_expired", |it| {
        it.act = connect("model.example", 443);
        it.at = EXPIRES;
    });
}

#[test]
fn a_later_estate_narrows_a_live_task_and_never_widens_it() {
    let answer = || "answer".parse::<ambit_core::TemplateName>().unwrap();
    check("template gone", "deny template_withdrawn", |it| {
        it.later(|it| it.templates.clear());
    });
    check("agent gone", "deny template_withdrawn", |it| {
        it.later(|it| it.agents.clear())
    });
    check(
        "template taken from the agent",
        "deny template_withdrawn",
        |it| {
            it.later(|it| it.agents.values_mut().for_each(|it| it.templates.clear()));
        },
    );
    check("server gone", "deny server_not_granted", |it| {
        it.later(|it| {
            it.servers.remove(&server("tickets"));
        });
    });
    check("reads taken", "deny tool_not_granted", |it| {
        it.later(|it| it.templates.get_mut(&answer()).unwrap().reads.clear());
    });
    check("reads given", "deny server_not_granted", |it| {
        it.act = call("vault", "read_secret", "{}");
        it.later(|it| {
            let reads = &mut it.templates.get_mut(&answer()).unwrap().reads;
            reads.insert(server("vault"));
        });
    });
    check("a new reading tool", "deny tool_not_granted", |it| {
        it.act = call("tickets", "peek", "{}");
        it.later(|it| {
            let peek = operation("peek", Mode::Read, &[], r#"{"type":"object"}"#);
            let tickets = it.servers.get_mut(&server("tickets")).unwrap();
            tickets.tools.insert(peek.name.clone(), peek);
        });
    });
    check(
        "a read became a side effect",
        "deny tool_not_granted",
        |it| {
            it.later(|it| {
                let tickets = it.servers.get_mut(&server("tickets")).unwrap();
                tickets.tools.get_mut(&tool("get_ticket")).unwrap().mode = Mode::Send;
            });
        },
    );
}

#[test]
fn of_two_estates_the_narrower_bound_counts() {
    let answer = || "answer".parse::<ambit_core::TemplateName>().unwrap();
    check("fewer calls", "deny budget_exhausted", |it| {
        it.usage.calls = 5;
        it.later(|it| it.templates.get_mut(&answer()).unwrap().calls_max = 5);
    });
    check("more calls", "deny budget_exhausted", |it| {
        it.usage.calls = 10;
        it.later(|it| it.templates.get_mut(&answer()).unwrap().calls_max = 50);
    });
    check("held from now on", "hold approval_required", |it| {
        it.act = call("tickets", "close_ticket", r#"{"id":1042}"#);
        it.later(|it| {
            let tools = &mut it.templates.get_mut(&answer()).unwrap().tools;
            let named = tools.get_mut(&(server("tickets"), tool("close_ticket")));
            named.unwrap().approval = Bound::Held;
        });
    });
    check(
        "labels may leave no more",
        "deny label_may_not_leave",
        |it| {
            it.act = call("mail", "send_reply", r#"{"to":[],"body":"Hi"}"#);
            it.usage.labels = labels(&["customer"]);
            it.later(|it| it.templates.get_mut(&answer()).unwrap().may_emit = labels(&["web"]));
        },
    );
}

#[test]
fn a_scope_of_another_estate_or_task_permits_nothing() {
    let world = World::new();
    let mut later = world.own.clone();
    later.digest = Digest::of(b"later");
    let later = compile(&later);
    world.ask(|asked| {
        let mut request = asked.request();
        request.book = &later;
        assert_eq!(told(&crate::decide(request)), "deny policy_error");
        let mut task = asked.task.clone();
        task.id = ambit_core::TaskId::from_bits(99);
        let mut request = asked.request();
        request.task = &task;
        assert_eq!(told(&crate::decide(request)), "deny policy_error");
        assert!(TaskScope::new(&later, &later, asked.task).is_err());
    });
}

#[test]
fn lists_show_what_some_call_could_do() {
    World::new().ask(|asked| {
        let offered = |at: &str, name: &str| {
            asked.scope.offers(asked.book, &server(at), &tool(name)) == Offering::Offered
        };
        let expected = [
            ("tickets", "get_ticket", true),
            ("tickets", "close_ticket", true),
            ("tickets", "refund", true),
            ("tickets", "export_all", false),
            ("tickets", "nuke", false),
            ("mail", "read_mail", false),
            ("staging", "look", false),
            ("vault", "read_secret", false),
        ];
        for (at, name, shown) in expected {
            assert_eq!(offered(at, name), shown, "{at}/{name}");
        }
        for (at, shown) in [("tickets", true), ("mail", true), ("vault", false)] {
            let offered = asked.scope.offers_server(&server(at)) == Offering::Offered;
            assert_eq!(offered, shown, "{at}");
        }
    });
}
