//! The nouns of Ambit and the laws they keep.
//!
//! Nothing here reads a clock, a file, a socket or the environment, so nothing here can fail for
//! a reason outside its arguments.
//!
//! **Architecture invariant:** this crate depends on no other Ambit crate and on no async runtime.

pub mod act;
pub mod bundle;
pub mod claim;
pub mod delegation;
pub mod digest;
pub mod estate;
pub mod id;
pub mod json;
pub mod label;
pub mod limits;
pub mod name;
pub mod origin;
pub mod proof;
pub mod quotable;
pub mod reason;
pub mod record;
pub mod route;
pub mod spiffe;
pub mod task;
pub mod time;
pub mod token;

pub use crate::{
    digest::Digest,
    id::{
        ApprovalId, DecisionId, DelegationId, InstanceId, LoginId, PasskeyId, PersonId,
        RevocationId, TaskId, TokenId,
    },
    label::{Label, Labels},
    name::{
        AgentName, ClientName, FederationName, GroupName, IssuerName, ServerName, TemplateName,
        ToolName,
    },
    reason::{Reason, Remedy},
    route::GatewayRoute,
    spiffe::{SpiffeId, SvidKind, TrustDomain},
    time::{Millis, Timestamp},
};
