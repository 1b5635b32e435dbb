//! The Model Context Protocol as Ambit speaks it.

pub(crate) mod era;
pub mod methods;
pub(crate) mod wire;
