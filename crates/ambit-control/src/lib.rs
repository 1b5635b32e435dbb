//! The doors through which authority is obtained and governed.
//!
//! - [`estate`]: reading what an organisation declared.
//! - [`plan`]: what its next version changes, in words.
//! - [`visible`]: text as people must see it.
//!
//! **Architecture invariant:** no agent's traffic passes here.

pub mod estate;
pub mod plan;
pub mod visible;
