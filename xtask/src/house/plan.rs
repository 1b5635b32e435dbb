//! The floor plan as data: who may import whom, and which walls hold what.

/// A crate of ours and the crates of ours that it may import.
pub(super) struct Room {
    pub(super) name: &'static str,
    pub(super) imports: &'static [&'static str],
}

/// The floor plan: arrows in one direction.
pub(super) const ROOMS: &[Room] = &[
    Room {
        name: "ambit-core",
        imports: &[],
    },
    Room {
        name: "ambit-identity",
        imports: &["ambit-core"],
    },
    Room {
        name: "ambit-policy",
        imports: &["ambit-core"],
    },
    Room {
        name: "ambit-audit",
        imports: &["ambit-core"],
    },
    Room {
        name: "ambit-engine",
        imports: &[
            "ambit-core",
            "ambit-identity",
            "ambit-policy",
            "ambit-audit",
        ],
    },
    Room {
        name: "ambit-store",
        imports: &["ambit-core", "ambit-audit", "ambit-engine"],
    },
    Room {
        name: "ambit-broker",
        imports: &["ambit-core", "ambit-engine"],
    },
    Room {
        name: "ambit-gateway",
        imports: &[
            "ambit-core",
            "ambit-identity",
            "ambit-engine",
            "ambit-broker",
        ],
    },
    Room {
        name: "ambit-control",
        imports: &[
            "ambit-core",
            "ambit-identity",
            "ambit-policy",
            "ambit-audit",
            "ambit-engine",
        ],
    },
    Room {
        name: "ambit",
        imports: ALL,
    },
    Room {
        name: TESTKIT,
        imports: ALL,
    },
    Room {
        name: "xtask",
        imports: &[],
    },
    Room {
        name: "ambit-fuzz",
        imports: ALL,
    },
];

const ALL: &[&str] = &[
    "ambit-core",
    "ambit-identity",
    "ambit-policy",
    "ambit-audit",
    "ambit-engine",
    "ambit-store",
    "ambit-broker",
    "ambit-gateway",
    "ambit-control",
];

/// The crate that only tests import.
pub(super) const TESTKIT: &str = "ambit-testkit";

/// A package of others that only some rooms may name.
pub(super) struct Wall {
    pub(super) package: &'static str,
    pub(super) rooms: &'static [&'static str],
}

/// The walls around what is heavy or dangerous.
pub(super) const WALLS: &[Wall] = &[
    Wall {
        package: "cedar-policy",
        rooms: &["ambit-policy"],
    },
    Wall {
        package: "cedar-policy-core",
        rooms: &["ambit-policy"],
    },
    Wall {
        package: "rusqlite",
        rooms: &["ambit-store"],
    },
    Wall {
        package: "libsqlite3-sys",
        rooms: &["ambit-store"],
    },
    Wall {
        package: "rcgen",
        rooms: CERTIFICATES,
    },
    Wall {
        package: "rustls-webpki",
        rooms: CERTIFICATES,
    },
    Wall {
        package: "x509-parser",
        rooms: CERTIFICATES,
    },
    Wall {
        package: "hyper",
        rooms: DOORS,
    },
    Wall {
        package: "hyper-util",
        rooms: DOORS,
    },
    Wall {
        package: "axum",
        rooms: DOORS,
    },
    Wall {
        package: "tokio-rustls",
        rooms: DOORS,
    },
    Wall {
        package: "tonic",
        rooms: &["ambit-control"],
    },
    Wall {
        package: "toml",
        rooms: &["ambit-control", "ambit", "xtask"],
    },
];

const CERTIFICATES: &[&str] = &["ambit-identity", TESTKIT];
const DOORS: &[&str] = &["ambit-gateway", "ambit-control", "ambit", TESTKIT];

/// What a room may use of tokio.
pub(super) struct Tokio {
    pub(super) room: &'static str,
    pub(super) features: &'static [&'static str],
}

/// The rooms without I/O; the others may use all of tokio. An empty list: no tokio at all.
pub(super) const TOKIO: &[Tokio] = &[
    Tokio {
        room: "ambit-core",
        features: &[],
    },
    Tokio {
        room: "ambit-identity",
        features: &[],
    },
    Tokio {
        room: "ambit-policy",
        features: &[],
    },
    Tokio {
        room: "ambit-audit",
        features: &[],
    },
    Tokio {
        room: "ambit-engine",
        features: &["sync"],
    },
];

/// A text that may stand only in some rooms.
pub(super) struct Phrase {
    pub(super) text: &'static str,
    pub(super) scope: Scope,
    pub(super) why: &'static str,
}

/// Where a phrase may or may not stand.
pub(super) enum Scope {
    Nowhere,
    Only(&'static [&'static str]),
    OnlyOrTestsOf(&'static [&'static str], &'static str),
    NotIn(&'static [&'static str]),
}

/// The phrases; each is split, so that this file keeps the rules as well.
pub(super) const PHRASES: &[Phrase] = &[
    Phrase {
        text: concat!("#[", "ignore"),
        scope: Scope::Nowhere,
        why: "a test runs or goes; none is ignored",
    },
    Phrase {
        text: concat!("todo", "!("),
        scope: Scope::Nowhere,
        why: "write it now or leave it out",
    },
    Phrase {
        text: concat!("unimplemented", "!("),
        scope: Scope::Nowhere,
        why: "write it now or leave it out",
    },
    Phrase {
        text: concat!("SystemTime", "::now"),
        scope: Scope::Only(CLOCK_READERS),
        why: "time is an argument; only crate ambit reads the clock",
    },
    Phrase {
        text: concat!("Instant", "::now"),
        scope: Scope::Only(CLOCK_READERS),
        why: "time is an argument; only crate ambit reads the clock",
    },
    Phrase {
        text: concat!("std", "::env"),
        scope: Scope::Only(CLOCK_READERS),
        why: "only crate ambit reads arguments and the environment",
    },
    Phrase {
        text: concat!("tokio", "::spawn"),
        scope: Scope::NotIn(&["ambit-engine"]),
        why: "the engine starts no tasks; its caller drives it",
    },
    Phrase {
        text: concat!("Durable", " for "),
        // The unit tests of audit can't use the testkit: it links another copy of audit.
        scope: Scope::OnlyOrTestsOf(&["ambit-store", TESTKIT], "ambit-audit"),
        why: "only the store (and the testkit) may say that a record is durable",
    },
];

// The driver under `fuzz` is told its target by the environment; drivers of others' clients read arguments.
const CLOCK_READERS: &[&str] = &["ambit", TESTKIT, "xtask", "ambit-fuzz", "judges"];

/// Directories of one machine; no path below them may stand in the tree.
pub(super) const MACHINE_PATHS: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// The longest Rust file, in lines.
pub(super) const FILE_LINES_MAX: usize = 600;
