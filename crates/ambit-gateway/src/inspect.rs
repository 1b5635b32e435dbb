//! Asking a running server what tools it has, for its owner to review: the same code and the same sandbox.

use std::sync::Arc;

use ambit_core::{estate::Server, json::Value};

use crate::{
    Secrets,
    limits::TOOLS_SHOWN_MAX,
    sandbox::SandboxPolicy,
    upstream::{Means, Upstream, UpstreamError},
};

/// A server could not be asked for its tools. Written for the server's owner, not for an agent.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Its credential is not sealed, or can't be used: nobody asked it.
    #[error("{0}")]
    Credential(String),
    /// It gave no answer.
    #[error(transparent)]
    Upstream(Box<dyn std::error::Error + Send + Sync>),
    /// It refused.
    #[error("the server refused to list its tools: {0}")]
    Refused(String),
    /// It has too many.
    #[error("the server shows {seen} tools; at most {TOOLS_SHOWN_MAX} can be registered")]
    TooMany {
        /// How many.
        seen: usize,
    },
}

/// Returns the definitions of the tools that `server` shows, in its order.
///
/// # Errors
/// [`InspectError`] says what the server did.
pub async fn inspect(
    server: Server,
    secrets: Secrets,
    tls: Option<Arc<rustls::ClientConfig>>,
    sandbox: SandboxPolicy,
) -> Result<Vec<Value>, InspectError> {
    let broken = |error: UpstreamError| {
        if let UpstreamError::CredentialMissing(_) = error {
            return InspectError::Credential(error.to_string());
        }
        InspectError::Upstream(Box::new(error))
    };
    let means = Means::new(secrets, tls, sandbox);
    let upstream = Upstream::open(Arc::new(server), &means)
        .await
        .map_err(broken)?;
    let listed = upstream.list("tools/list", "tools", None).await;
    upstream.close().await;
    let tools = listed
        .map_err(broken)?
        .map_err(|error| InspectError::Refused(error.message))?;
    if tools.len() > TOOLS_SHOWN_MAX {
        return Err(InspectError::TooMany { seen: tools.len() });
    }
    Ok(tools)
}
