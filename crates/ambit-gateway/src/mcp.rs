//! The Model Context Protocol as Ambit speaks it.
//!
//! Where it says less than the protocol allows, it does so on purpose:
//! - Requests of servers to agents (sampling, elicitation, roots; `input_required` in the modern era) are refused: an
//!   answer to them would be an act that nobody decided.
//! - `resources/subscribe`, `tasks/*` and members that Ambit does not know are refused for the same reason.
//! - `_meta` of an agent's does not go upstream but for progress and the level of log messages: it is not decided.
//! - Listings are whole: no cursor of an agent's goes upstream. `tools/list` shows what owners accepted.
//! - There are no sessions: what a request may do hangs on its task.

pub(crate) mod acts;
mod added;
mod bridge;
pub(crate) mod changes;
pub(crate) mod downstream;
pub(crate) mod era;
mod listing;
mod local;
pub mod methods;
pub(crate) mod perform;
pub(crate) mod refusal;
pub(crate) mod spans;
pub(crate) mod wire;
