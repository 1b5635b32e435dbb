//! What people and their command lines prove who they are with.

use super::{
    Member,
    Need::{Always, Maybe},
    Schema,
    Shape::{Count, Identifier, ListOf, Text, Time, Word},
};

/// The shapes.
pub(super) const SCHEMAS: &[Schema] = &[
    Schema {
        name: "DeviceRequest",
        members: &[
            Member("client_id", Word(&["ambit-cli"]), Always),
            Member("device", Text, Maybe),
        ],
    },
    Schema {
        name: "DeviceAnswer",
        members: &[
            Member("device_code", Text, Always),
            Member("user_code", Text, Always),
            Member("verification_uri", Text, Always),
            Member("verification_uri_complete", Text, Always),
            Member("expires_in", Count, Always),
            Member("interval", Count, Always),
        ],
    },
    Schema {
        name: "OfferedEnrolment",
        members: &[
            Member("person", Text, Always),
            Member("link", Text, Always),
            Member("expires_at", Time, Always),
        ],
    },
    Schema {
        name: "Passkeys",
        members: &[Member("passkeys", ListOf("Passkey"), Always)],
    },
    Schema {
        name: "Passkey",
        members: &[
            Member("passkey", Text, Always),
            Member("person", Text, Always),
            Member("kept", Word(&["device", "synced"]), Always),
            Member("algorithm", Word(&["ES256", "EdDSA", "RS256"]), Always),
            Member("sign_count", Count, Always),
        ],
    },
    Schema {
        name: "RemovedPasskey",
        members: &[
            Member("passkey", Text, Always),
            Member("state", Word(&["removed"]), Always),
        ],
    },
    Schema {
        name: "EndedLogin",
        members: &[
            Member("login", Text, Always),
            Member("state", Word(&["ended"]), Always),
        ],
    },
    Schema {
        name: "SignOut",
        members: &[Member("csrf", Text, Always)],
    },
    Schema {
        name: "LoginEnd",
        members: &[
            Member("csrf", Text, Always),
            Member("login", Identifier("login"), Always),
        ],
    },
    Schema {
        name: "CodeAnswer",
        members: &[
            Member("csrf", Text, Always),
            Member("user_code", Text, Always),
            Member("answer", Word(&["look", "yes", "no"]), Always),
        ],
    },
    Schema {
        name: "PasskeyProof",
        members: &[
            Member("credential", Text, Always),
            Member("client_data", Text, Always),
            Member("authenticator_data", Text, Always),
            Member("signature", Text, Always),
            Member("user_handle", Text, Maybe),
        ],
    },
    Schema {
        name: "NewPasskey",
        members: &[
            Member("code", Text, Always),
            Member("credential", Text, Always),
            Member("client_data", Text, Always),
            Member("authenticator_data", Text, Always),
            Member("public_key", Text, Always),
            Member("algorithm", Text, Always),
        ],
    },
];
