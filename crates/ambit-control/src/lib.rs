//! The doors through which authority is obtained and governed.
//!
//! - [`estate`]: reading what an organisation declared.
//! - [`check`]: whether it may come into force.
//! - [`plan`]: what its next version changes, in words.
//! - [`story`]: the log told in words.
//! - [`visible`]: text as people must see it.
//!
//! **Architecture invariant:** no agent's traffic passes here.

pub mod check;
pub mod estate;
pub mod plan;
pub mod story;
pub mod visible;
