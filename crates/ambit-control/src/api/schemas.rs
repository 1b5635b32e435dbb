//! The shapes of requests and answers, as the OpenAPI document tells them. A test holds real answers against them.

mod oauth;
mod people;

use ambit_core::limits::OPENED_AT_ONCE_MAX;
use ambit_policy::AUTHORIZATION_DETAIL_TYPE;

/// The shape of one object.
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) members: &'static [Member],
}

/// One member: its name, its shape, whether it is always there.
pub(super) struct Member(pub(super) &'static str, pub(super) Shape, pub(super) Need);

/// The shape of a value.
pub(super) enum Shape {
    Text,
    Time,
    Count,
    Texts,
    Object,
    Anything,
    Word(&'static [&'static str]),
    Of(&'static str),
    ListOf(&'static str),
    TextOrNull,
    Truth,
    /// A text that is not empty.
    SomeText,
    /// The identifier of one of these.
    Identifier(&'static str),
    /// At most so many.
    UpTo(u64),
    /// One to so many counts.
    SomeCounts(usize),
    Objects,
    /// An object of texts, whole numbers and truths.
    Scalars,
    /// An object whose members are of one shape each.
    MapOf(&'static str),
    /// At least one value of any kind.
    SomeValues,
    Number,
}

/// Whether a member is always there.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Need {
    Always,
    Maybe,
}

use Need::{Always, Maybe};
use Shape::{
    Anything, Count, ListOf, MapOf, Number, Object, Objects, Of, Scalars, SomeCounts, SomeText,
    SomeValues, Text, TextOrNull, Texts, Time, Truth, UpTo, Word,
};

const STATES: Shape = Word(&[
    "active",
    "completed",
    "cancelled",
    "expired",
    "revoked",
    "unregistered",
]);
const CONTAINED: Shape = Word(&["namespaces", "none"]);
const STANDINGS: Shape = Word(&["open", "spent", "withdrawn", "expired"]);
const SETTLEMENTS: Shape = Word(&["happened", "did_not_happen"]);
const VERDICTS: Shape = Word(&["approved", "refused"]);
const MARKS: Shape = Word(&[
    "allowed", "held", "denied", "unknown", "given", "ended", "noted",
]);

/// Returns every shape.
pub(super) fn schemas() -> impl Iterator<Item = &'static Schema> {
    let all = SCHEMAS.iter().chain(oauth::SCHEMAS);
    all.chain(people::SCHEMAS)
}

/// The shapes of the control API.
const SCHEMAS: &[Schema] = &[
    Schema {
        name: "StartTask",
        members: &[
            Member("template", Text, Always),
            Member("agent", Text, Maybe),
            Member("parameters", Scalars, Maybe),
            Member("contained", CONTAINED, Always),
            Member("csr", Text, Maybe),
            Member("attested", Truth, Maybe),
            Member("join_token", Truth, Maybe),
        ],
    },
    Schema {
        name: "Join",
        members: &[Member("token", Text, Always), Member("csr", Text, Always)],
    },
    Schema {
        name: "JoinedTask",
        members: &[
            Member("task", Text, Always),
            Member("instance", Text, Always),
            Member("spiffe_id", Text, Always),
            Member("svid", Text, Always),
            Member("bundle", Text, Always),
            Member("authority", Text, Always),
            Member("expires_at", Time, Always),
            Member("gateway", Text, Always),
        ],
    },
    Schema {
        name: "StartedTask",
        members: &[
            Member("task", Text, Always),
            Member("instance", Text, Always),
            Member("spiffe_id", Text, Always),
            Member("svid", Text, Maybe),
            Member("join_token", Text, Maybe),
            Member("bundle", Text, Always),
            Member("authorization_details", Objects, Always),
            Member("authority", Text, Always),
            Member("expires_at", Time, Always),
            Member("gateway", Text, Always),
        ],
    },
    Schema {
        name: "RotateKeys",
        members: &[Member(
            "step",
            Word(&["prepare", "activate", "replace"]),
            Always,
        )],
    },
    Schema {
        name: "Authority",
        members: &[
            Member("trust_domain", Text, Always),
            Member("sequence", Count, Always),
            Member("keys", ListOf("IssuingKey"), Always),
            Member("roots", Text, Always),
        ],
    },
    Schema {
        name: "IssuingKey",
        members: &[
            Member("state", Word(&["prepared", "active", "retired"]), Always),
            Member("certificate", Text, Always),
            Member("kid", Text, Always),
            Member("since", Time, Always),
            Member("until", Time, Always),
        ],
    },
    Schema {
        name: "Tasks",
        members: &[
            Member("tasks", ListOf("Task"), Always),
            Member("next", Text, Maybe),
        ],
    },
    Schema {
        name: "Task",
        members: &[
            Member("task", Text, Always),
            Member("state", STATES, Always),
            Member("template", Text, Always),
            Member("version", Count, Always),
            Member("agent", Text, Always),
            Member("instance", Text, Always),
            Member("spiffe_id", Text, Always),
            Member("subject", Text, Always),
            Member("parameters", Scalars, Always),
            Member("contained", CONTAINED, Always),
            Member("started_at", Time, Always),
            Member("expires_at", Time, Always),
            Member("calls", Count, Always),
            Member("labels", Texts, Always),
            Member("parent", Text, Maybe),
            Member("delegation", Text, Maybe),
        ],
    },
    Schema {
        name: "Delegate",
        members: &[
            Member("to", Text, Always),
            Member("spiffe_id", Text, Maybe),
            Member("authorization_details", ListOf("PartDetail"), Always),
            Member("ttl_seconds", Count, Maybe),
            Member("depth_left", UpTo(u8::MAX as u64), Maybe),
        ],
    },
    Schema {
        name: "PartDetail",
        members: &[
            Member("type", Word(&[AUTHORIZATION_DETAIL_TYPE]), Always),
            Member("server", Text, Maybe),
            Member("mode", Word(&["read"]), Maybe),
            Member("datatypes", Texts, Maybe),
            Member("actions", Texts, Maybe),
            Member("constraints", MapOf("Constraint"), Maybe),
            Member("approval", Word(&["free", "held"]), Maybe),
            Member("calls_max", UpTo(u32::MAX as u64), Maybe),
            Member("may_emit", Texts, Maybe),
        ],
    },
    Schema {
        name: "Constraint",
        members: &[
            Member("equals", Anything, Maybe),
            Member("one_of", SomeValues, Maybe),
            Member("min", Number, Maybe),
            Member("max", Number, Maybe),
            Member("path_under", Text, Maybe),
            Member("url_under", Text, Maybe),
            Member("bytes_max", Count, Maybe),
            Member("absent", Truth, Maybe),
        ],
    },
    Schema {
        name: "Delegation",
        members: &[
            Member("delegation", Text, Always),
            Member("parent", Text, Always),
            Member("to", Text, Always),
            Member("spiffe_id", Text, Maybe),
            Member("standing", STANDINGS, Always),
            Member("authorization_details", ListOf("PartDetail"), Always),
            Member("depth_left", Count, Always),
            Member("authority", Text, Always),
            Member("made_at", Time, Always),
            Member("expires_at", Time, Always),
            Member("child", Text, Maybe),
        ],
    },
    Schema {
        name: "Delegations",
        members: &[Member("delegations", ListOf("Delegation"), Always)],
    },
    Schema {
        name: "ExchangeDelegation",
        members: &[
            Member("contained", CONTAINED, Always),
            Member("csr", Text, Always),
        ],
    },
    Schema {
        name: "Withdrawal",
        members: &[
            Member("delegation", Text, Always),
            Member("ended", Texts, Always),
            Member("crossed", Texts, Always),
        ],
    },
    Schema {
        name: "EndTask",
        members: &[Member("end", Word(&["completed", "cancelled"]), Always)],
    },
    Schema {
        name: "EndedTask",
        members: &[
            Member("task", Text, Always),
            Member("state", STATES, Always),
            Member("below", Texts, Always),
        ],
    },
    Schema {
        name: "Approvals",
        members: &[Member("approvals", ListOf("Approval"), Always)],
    },
    Schema {
        name: "Approval",
        members: &[
            Member("approval", Text, Always),
            Member(
                "state",
                Word(&[
                    "pending", "approved", "refused", "void", "spent", "expired", "ended",
                ]),
                Always,
            ),
            Member("task", Text, Always),
            Member("decision", Text, Always),
            Member("action", Text, Always),
            Member("reason", Text, Always),
            Member("requested_at", Time, Always),
            Member("digest", Text, Always),
            Member("why", Text, Always),
            Member("rules", Texts, Always),
            Member("description", Text, Maybe),
            Member("agent", Text, Maybe),
            Member("template", Text, Maybe),
            Member("subject", Text, Maybe),
            Member("server", Text, Maybe),
            Member("tool", Text, Maybe),
            Member("expires_at", Time, Maybe),
            Member("by", Text, Maybe),
            Member("spent_by", Text, Maybe),
            Member("shown", Text, Maybe),
            Member("act", Object, Maybe),
        ],
    },
    Schema {
        name: "DecideApproval",
        members: &[
            Member("verdict", VERDICTS, Always),
            Member("reason", Text, Maybe),
        ],
    },
    Schema {
        name: "DecidedApproval",
        members: &[
            Member("approval", Text, Always),
            Member("task", Text, Always),
            Member("verdict", VERDICTS, Always),
            Member("state", Text, Always),
        ],
    },
    Schema {
        name: "Revoke",
        members: &[
            Member("target", Of("Target"), Always),
            Member("reason", SomeText, Always),
        ],
    },
    Schema {
        name: "Target",
        members: &[
            Member(
                "kind",
                Word(&["task", "instance", "agent", "person", "server"]),
                Always,
            ),
            Member("id", Text, Always),
        ],
    },
    Schema {
        name: "Revocation",
        members: &[
            Member("revocation", Text, Always),
            Member("target", Text, Always),
            Member("ended", Texts, Always),
            Member("crossed", Texts, Always),
            Member("took_ms", Count, Always),
        ],
    },
    Schema {
        name: "Reinstate",
        members: &[
            Member("target", Of("Target"), Always),
            Member("reason", SomeText, Always),
        ],
    },
    Schema {
        name: "Reinstatement",
        members: &[Member("target", Text, Always)],
    },
    Schema {
        name: "Estate",
        members: &[Member("archive", Text, Always)],
    },
    Schema {
        name: "Plan",
        members: &[
            Member("from", TextOrNull, Always),
            Member("to", Text, Always),
            Member("widens", Count, Always),
            Member("alters", Count, Always),
            Member("narrows", Count, Always),
            Member("subjects", ListOf("PlanSubject"), Always),
            Member("ends_count", Count, Always),
            Member("ends", Texts, Always),
            Member("unsealed", ListOf("Unsealed"), Always),
            Member("text", Text, Always),
        ],
    },
    Schema {
        name: "PlanSubject",
        members: &[
            Member("subject", Text, Always),
            Member("changes", ListOf("PlanChange"), Always),
        ],
    },
    Schema {
        name: "PlanChange",
        members: &[
            Member("direction", Word(&["widens", "alters", "narrows"]), Always),
            Member("text", Text, Always),
        ],
    },
    Schema {
        name: "AppliedEstate",
        members: &[
            Member("estate", Text, Always),
            Member("before", TextOrNull, Always),
            Member("cases", Count, Always),
            Member("ended", Texts, Always),
            // Left out where whoever applied it may not look under it.
            Member("stopped_count", Count, Maybe),
            Member("stopped", Texts, Maybe),
            Member("unsealed", ListOf("Unsealed"), Maybe),
        ],
    },
    Schema {
        name: "Unsealed",
        members: &[
            Member("server", Text, Always),
            Member("secret", Text, Always),
            Member("text", Text, Always),
        ],
    },
    Schema {
        name: "Proposal",
        members: &[
            Member("server", Text, Always),
            Member("toml", Text, Always),
            Member("tools_json", Text, Always),
        ],
    },
    Schema {
        name: "Secret",
        members: &[Member("secret", SomeText, Always)],
    },
    Schema {
        name: "SealedSecret",
        members: &[
            Member("secret", Text, Always),
            Member("state", Word(&["sealed"]), Always),
        ],
    },
    Schema {
        name: "Records",
        members: &[
            Member("size", Count, Always),
            Member("records", ListOf("LogRecord"), Always),
        ],
    },
    Schema {
        name: "LogRecord",
        members: &[
            Member("index", Count, Always),
            Member("at", Time, Always),
            Member("kind", Text, Always),
            Member("summary", Text, Always),
            Member("record", Object, Always),
        ],
    },
    Schema {
        name: "Trace",
        members: &[
            Member("task", Text, Always),
            Member("headline", Text, Always),
            Member("state", STATES, Always),
            Member("unknown", ListOf("TraceLine"), Always),
            Member("lines", ListOf("TraceLine"), Always),
            Member("text", Text, Always),
        ],
    },
    Schema {
        name: "TraceLine",
        members: &[
            Member("index", Count, Always),
            Member("time", Time, Always),
            Member("mark", MARKS, Always),
            Member("text", Text, Always),
        ],
    },
    Schema {
        name: "Why",
        members: &[
            Member("decision", Text, Always),
            Member("index", Count, Always),
            Member("time", Time, Always),
            Member("task", TextOrNull, Always),
            Member("sentence", Text, Always),
            Member("answer", Word(&["allow", "hold", "deny"]), Always),
            Member("reason", TextOrNull, Always),
            Member("remedy", TextOrNull, Always),
            Member("next", TextOrNull, Always),
            Member("outcome", Anything, Always),
            Member("change", TextOrNull, Always),
            Member("rules", Texts, Always),
            Member("estate", TextOrNull, Always),
            Member("facts", Anything, Always),
            Member("text", Text, Always),
        ],
    },
    Schema {
        name: "Status",
        members: &[
            Member("version", Text, Always),
            Member("time", Time, Always),
            Member("clock", Text, Always),
            Member("trust_domain", Text, Always),
            Member("authority_expires_at", Time, Always),
            Member("gateway", Text, Always),
            Member("gateway_url", Text, Maybe),
            Member("public", Text, Maybe),
            Member("estate", Text, Always),
            Member("agents", Count, Always),
            Member("servers", Count, Always),
            Member("tasks", Count, Always),
            Member("log_size", Count, Always),
            Member("open_acts", Texts, Always),
            Member("unknown_count", Count, Always),
            Member("unknown", ListOf("UnknownAct"), Always),
        ],
    },
    Schema {
        name: "UnknownAct",
        members: &[
            Member("decision", Text, Always),
            Member("task", Text, Always),
            Member("what", Text, Always),
            Member("permitted_at", Time, Always),
            Member("next", Text, Always),
        ],
    },
    Schema {
        name: "SettleAct",
        members: &[
            Member("settlement", SETTLEMENTS, Always),
            Member("reason", SomeText, Always),
        ],
    },
    Schema {
        name: "SettledAct",
        members: &[
            Member("decision", Text, Always),
            Member("task", Text, Always),
            Member("settlement", SETTLEMENTS, Always),
        ],
    },
    Schema {
        name: "OpenSealed",
        members: &[Member("records", SomeCounts(OPENED_AT_ONCE_MAX), Always)],
    },
    Schema {
        name: "OpenedSealed",
        members: &[Member("opened", ListOf("OpenedContent"), Always)],
    },
    Schema {
        name: "OpenedContent",
        members: &[
            Member("record", Count, Always),
            Member(
                "what",
                Word(&["parameters", "part", "act", "result"]),
                Always,
            ),
            Member("state", Word(&["opened", "erased", "not_kept"]), Always),
            Member("commitment", Text, Always),
            Member("content", Anything, Maybe),
            Member("shown", Text, Maybe),
        ],
    },
    Schema {
        name: "Problem",
        members: &[
            Member("type", Text, Always),
            Member("title", Text, Always),
            Member("status", Count, Always),
            Member("code", Text, Always),
            Member("detail", Text, Maybe),
            Member("decision", Text, Maybe),
            Member("problems", ListOf("EstateProblem"), Maybe),
        ],
    },
    Schema {
        name: "EstateProblem",
        members: &[
            Member("path", Text, Always),
            Member("line", Count, Always),
            Member("column", Count, Always),
            Member("message", Text, Always),
        ],
    },
];
