//! The doors through which authority is obtained and governed.
//!
//! - [`estate`]: reading what an organisation declared.
//!
//! **Architecture invariant:** no agent's traffic passes here.

pub mod estate;
