//! The Model Context Protocol as Ambit speaks it.

pub(crate) mod acts;
mod bridge;
pub(crate) mod changes;
pub(crate) mod downstream;
pub(crate) mod era;
mod listing;
mod local;
pub mod methods;
pub(crate) mod perform;
pub(crate) mod refusal;
pub(crate) mod wire;
