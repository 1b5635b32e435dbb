//! Arguments, labels, budgets and approvals: one row for each thing that can stop an act there.

use ambit_core::{Digest, Timestamp};

use super::{
    table::check,
    world::{EXPIRES, World, approval, call, labels, server, tool},
};
use crate::{ApprovalState, Decision};

#[test]
fn arguments_fit_the_schema() {
    let get = |arguments: &str| call("tickets", "get_ticket", arguments);
    for (arguments, expected) in [
        (r#"{"id":7,"tag":"new"}"#, "allow"),
        (r#"{"id":"7"}"#, "deny arguments_invalid"),
        (r#"{"id":0}"#, "deny arguments_invalid"),
        (r#"{"id":7.5}"#, "deny arguments_invalid"),
        (r#"{"id":7,"tag":"N"}"#, "deny arguments_invalid"),
        (r#"{"id":7,"all":true}"#, "deny arguments_invalid"),
        ("{}", "deny arguments_invalid"),
        ("[7]", "deny arguments_invalid"),
    ] {
        check(arguments, expected, |it| it.act = get(arguments));
    }
}

#[test]
fn arguments_keep_the_bounds_of_the_task() {
    for (at, name, arguments, expected) in [
        ("tickets", "close_ticket", r#"{"id":1042}"#, "allow"),
        (
            "tickets",
            "close_ticket",
            r#"{"id":1043}"#,
            "deny argument_out_of_bounds",
        ),
        (
            "tickets",
            "close_ticket",
            r#"{"id":"1042"}"#,
            "deny argument_out_of_bounds",
        ),
        (
            "tickets",
            "close_ticket",
            "{}",
            "deny argument_out_of_bounds",
        ),
        (
            "mail",
            "send_reply",
            r#"{"to":["maria@example.com"],"body":"Hi"}"#,
            "allow",
        ),
    ] {
        check(arguments, expected, |it| it.act = call(at, name, arguments));
    }
}

#[test]
fn every_item_path_and_url_keeps_the_bounds() {
    for (at, name, arguments, expected) in [
        ("mail", "send_reply", r#"{"to":[],"body":"Hi"}"#, "allow"),
        (
            "mail",
            "send_reply",
            r#"{"to":["maria@example.com","evil@example.com"],"body":"Hi"}"#,
            "deny argument_out_of_bounds",
        ),
        (
            "mail",
            "send_reply",
            r#"{"to":"maria@example.com","body":"Hi"}"#,
            "deny argument_out_of_bounds",
        ),
        (
            "mail",
            "send_reply",
            r#"{"to":[],"body":"Hi","cc":null}"#,
            "deny argument_out_of_bounds",
        ),
        (
            "files",
            "write_file",
            r#"{"path":"/srv/docs/1042/a.txt"}"#,
            "allow",
        ),
        (
            "files",
            "write_file",
            r#"{"path":"/srv/docs/1042/../../x"}"#,
            "deny argument_out_of_bounds",
        ),
        (
            "files",
            "fetch",
            r#"{"url":"https://docs.example/public/a"}"#,
            "allow",
        ),
        (
            "files",
            "fetch",
            r#"{"url":"https://docs.example.evil/public/a"}"#,
            "deny argument_out_of_bounds",
        ),
    ] {
        check(arguments, expected, |it| it.act = call(at, name, arguments));
    }
}

#[test]
fn a_tool_is_the_one_that_its_owner_accepted() {
    check("a changed tool", "deny tool_changed", |it| {
        it.live.tool_seen = Some(Digest::of(b"other"));
    });
    check("a tool as it was", "allow", |it| {
        let pin = it
            .own
            .tool(&server("tickets"), &tool("get_ticket"))
            .unwrap()
            .pin;
        it.live.tool_seen = Some(pin);
    });
}

#[test]
fn labels_stop_what_leaves_and_nothing_else() {
    let send = || call("mail", "send_reply", r#"{"to":[],"body":"Hi"}"#);
    check("what may leave", "allow", |it| {
        it.act = send();
        it.usage.labels = labels(&["customer"]);
    });
    check("what may not", "deny label_may_not_leave", |it| {
        it.act = send();
        it.usage.labels = labels(&["customer", "payroll"]);
    });
    check("execute leaves too", "deny label_may_not_leave", |it| {
        it.act = call("tickets", "refund", r#"{"amount":5}"#);
        it.usage.labels = labels(&["payroll"]);
    });
    check("a write stays inside", "allow", |it| {
        it.act = call("tickets", "close_ticket", r#"{"id":1042}"#);
        it.usage.labels = labels(&["payroll"]);
    });
    check("a read is free", "allow", |it| {
        it.usage.labels = labels(&["payroll"])
    });
}

#[test]
fn budgets_end() {
    check("the last call", "allow", |it| it.usage.calls = 9);
    check("one beyond", "deny budget_exhausted", |it| {
        it.usage.calls = 10
    });
    for (calls, expected) in [(1, "hold approval_required"), (2, "deny budget_exhausted")] {
        check("a tool's own calls", expected, |it| {
            it.act = call("tickets", "refund", r#"{"amount":5}"#);
            let refund = (server("tickets"), tool("refund"));
            it.usage.tool_calls.insert(refund, calls);
        });
    }
    for (count, expected) in [(63, "allow"), (64, "deny budget_exhausted")] {
        check("room for labels", expected, |it| {
            let names: Vec<String> = (0..count).map(|it| format!("l{it}")).collect();
            it.usage.labels = labels(&names.iter().map(String::as_str).collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_person_is_asked_and_the_answer_counts_once() {
    let until = Timestamp::from_millis(EXPIRES);
    let over = Timestamp::from_millis(0);
    let id = approval(9);
    let pending = |expires_at| ApprovalState::Pending {
        approval: id,
        expires_at,
    };
    let approved = |until| ApprovalState::Approved {
        approval: id,
        until,
    };
    for (state, expected) in [
        (ApprovalState::None, "hold approval_required"),
        (pending(until), "hold approval_required"),
        (pending(over), "hold approval_required"),
        (approved(until), "allow"),
        (approved(over), "hold approval_required"),
        (
            ApprovalState::Refused { approval: id },
            "deny approval_refused",
        ),
        (
            ApprovalState::Void { approval: id },
            "hold approval_required",
        ),
        (ApprovalState::TooMany, "deny approvals_pending_limit"),
    ] {
        check(&format!("{state:?}"), expected, |it| {
            it.act = call("tickets", "refund", r#"{"amount":5}"#);
            it.approval = state;
        });
    }
    check(
        "an approval lifts no hard stop",
        "deny argument_out_of_bounds",
        |it| {
            it.act = call("tickets", "refund", r#"{"amount":51}"#);
            it.approval = approved(until);
        },
    );
    check("too many wait, but nobody need be asked", "allow", |it| {
        it.approval = ApprovalState::TooMany;
    });
    let held = |state| {
        World::with(|it| {
            it.act = call("tickets", "refund", r#"{"amount":5}"#);
            it.approval = state;
        })
        .decide()
    };
    let Decision::Allow(permit) = held(approved(until)) else {
        panic!("approved");
    };
    assert_eq!(permit.spends(), Some(id));
    let Decision::Hold(hold) = held(pending(until)) else {
        panic!("pending");
    };
    assert_eq!((hold.approval(), hold.expires_at()), (id, until));
    let Decision::Allow(permit) = World::with(|it| it.approval = approved(until)).decide() else {
        panic!("free");
    };
    assert_eq!(permit.spends(), None, "what nobody asked for is not spent");
}
