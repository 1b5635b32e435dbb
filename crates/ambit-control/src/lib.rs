//! The doors through which authority is obtained and governed.
//!
//! - [`estate`]: reading what an organisation declared.
//! - [`api`]: the doors themselves.
//! - [`check`]: whether it may come into force.
//! - [`credentials`]: which credentials it wants and nobody has sealed.
//! - [`foreign`]: workload tokens of other issuers.
//! - [`inspect`]: what a running server's registry files could be.
//! - [`people`]: who is in front of a browser.
//! - [`oauth`]: the authorization server.
//! - [`plan`]: what its next version changes, in words.
//! - [`story`]: the log told in words.
//! - [`visible`]: text as people must see it.
//! - [`workload`]: identities for the processes of this machine (SPIFFE Workload API).
//!
//! **Architecture invariant:** no agent's traffic passes here.

pub mod api;
mod carried;
pub mod check;
pub mod credentials;
pub mod estate;
pub mod federation;
pub mod foreign;
#[cfg(test)]
mod heard;
pub mod inspect;
mod locked;
pub mod oauth;
pub mod people;
pub mod plan;
pub mod story;
pub mod visible;
pub mod workload;
