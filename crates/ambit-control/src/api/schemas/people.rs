//! What people and their command lines prove who they are with.

use super::{
    Member,
    Need::{Always, Maybe},
    Schema,
    Shape::{Count, Text, Word},
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
        name: "EndedLogin",
        members: &[
            Member("login", Text, Always),
            Member("state", Word(&["ended"]), Always),
        ],
    },
];
