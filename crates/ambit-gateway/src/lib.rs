//! The doors through which agents act: MCP, and CONNECT to declared model endpoints.
//!
//! Every protocol ends in one path: a request becomes an [`ambit_core::act::Act`], the engine decides and
//! records it, and only what the engine admitted goes upstream. Nothing here decides.
//!
//! **Architecture invariant:** nothing of an agent's reaches an upstream without a `Passage`.

pub mod limits;
mod mcp;
mod sandbox;
mod upstream;

use std::sync::Arc;

use ambit_core::estate::CredentialUse;
use http::{HeaderName, HeaderValue};

pub use crate::{mcp::methods, sandbox::SandboxPolicy};

/// Gives the header that a credential is injected with; none when it is not sealed here.
pub type Secrets = Arc<dyn Fn(&CredentialUse) -> Option<(HeaderName, HeaderValue)> + Send + Sync>;
