//! Opening a conversation: which era, which revision, and the handshake of the legacy one.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicI64, AtomicU64},
};

use ambit_core::{
    estate::{Server, Transport},
    json::Value,
};
use tokio::time::timeout;

use super::{
    Call, Channel, Means, Upstream, UpstreamError, http::HttpChannel, implementation,
    listening::Listening, stdio::StdioChannel,
};
use crate::{
    limits::{UPSTREAM_PROBE_TIMEOUT, UPSTREAM_START_TIMEOUT},
    mcp::{
        era::{Era, LEGACY_VERSION, LEGACY_VERSIONS, MODERN_VERSION},
        wire::{self, HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, RpcError, UNSUPPORTED_VERSION},
    },
    sandbox,
};

impl Upstream {
    /// Opens a conversation with `server`: finds out its era and, in the legacy one, shakes hands.
    ///
    /// # Errors
    /// [`UpstreamError`]; nothing of the agent's was sent yet.
    pub(crate) async fn open(server: Arc<Server>, means: &Means) -> Result<Self, UpstreamError> {
        let opened = timeout(UPSTREAM_START_TIMEOUT, Self::negotiate(server, means)).await;
        opened.unwrap_or(Err(UpstreamError::Start(
            "it did not answer in time".into(),
        )))
    }

    async fn negotiate(server: Arc<Server>, means: &Means) -> Result<Self, UpstreamError> {
        let changed = Arc::new(AtomicBool::new(false));
        let (channel, url) = match &server.transport {
            Transport::Http { url, credential } => {
                let pool = means.pool(url)?;
                let channel = HttpChannel::new(
                    pool,
                    credential.clone(),
                    Arc::clone(&means.secrets),
                    Arc::clone(&changed),
                );
                let channel = Channel::Http(Arc::new(channel), Listening::default());
                (channel, Some(url.clone()))
            }
            Transport::Stdio { .. } => {
                let slot = Arc::clone(&means.processes).try_acquire_owned();
                let slot = slot.map_err(|_| UpstreamError::TooManyProcesses)?;
                let child = sandbox::start(&server.transport, &means.sandbox)?;
                (
                    Channel::Stdio(StdioChannel::new(child, slot, Arc::clone(&changed))?),
                    None,
                )
            }
        };
        let mut upstream = Self {
            server,
            channel,
            era: Era::Modern,
            version: MODERN_VERSION.to_owned(),
            next_id: AtomicI64::new(1),
            answer_timeout: means.answer_timeout,
            changed,
            checked_at: AtomicU64::new(0),
            distrusted: AtomicBool::new(false),
            differing: Mutex::default(),
        };
        let known = url.as_deref().and_then(|it| means.known_era(it));
        upstream.era = match known {
            Some(era) => era,
            None => upstream.probe().await?,
        };
        if upstream.era == Era::Legacy {
            upstream.version = LEGACY_VERSION.to_owned();
            let shaken = upstream.handshake().await;
            if let (Err(_), Some(url)) = (&shaken, &url) {
                means.learn_era(url, None);
            }
            upstream.version = shaken.map_err(|error| upstream.explain(error))?;
            upstream.listen().await;
        }
        if let Some(url) = &url {
            means.learn_era(url, Some(upstream.era));
        }
        Ok(upstream)
    }

    /// Asks in the modern way. A modern answer, even a refusal in modern words, shows a modern server.
    async fn probe(&self) -> Result<Era, UpstreamError> {
        let call = Call::new("server/discover", &[]);
        let asked = timeout(UPSTREAM_PROBE_TIMEOUT, self.call(&call)).await;
        match asked {
            Ok(Ok(answered)) => match answered.outcome {
                Ok(result) => Ok(era_of_discovery(&result)),
                Err(error) => era_of_refusal(&error),
            },
            // A legacy server may say nothing, anything, or nothing that is a message.
            Err(_)
            | Ok(Err(
                UpstreamError::Timeout
                | UpstreamError::Status(400..=499)
                | UpstreamError::Malformed(_),
            )) => Ok(Era::Legacy),
            Ok(Err(error)) => Err(self.explain(error)),
        }
    }

    /// Shakes hands as the legacy era wants; returns the revision.
    async fn handshake(&self) -> Result<String, UpstreamError> {
        let capabilities = Value::object([]).to_canonical();
        let client = implementation().to_canonical();
        let version = wire::quoted(LEGACY_VERSION);
        let params = [
            ("capabilities", capabilities.as_str()),
            ("clientInfo", client.as_str()),
            ("protocolVersion", version.as_str()),
        ];
        let answered = self.call(&Call::new("initialize", &params)).await?;
        let result = answered.outcome.map_err(|_| UpstreamError::Incompatible)?;
        let version = result
            .get("protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // Over stdio nothing that Ambit uses differs in the first revision either.
        let first = matches!(self.channel, Channel::Stdio(_)) && version == "2024-11-05";
        if !LEGACY_VERSIONS.contains(&version) && !first {
            return Err(UpstreamError::Incompatible);
        }
        let text = wire::notification_text("notifications/initialized", &[]);
        match &self.channel {
            Channel::Http(channel, _) => {
                let head = super::Head {
                    era: Era::Legacy,
                    version,
                    method: "notifications/initialized",
                };
                channel.tell(head, text).await?;
            }
            Channel::Stdio(channel) => channel.tell(text).await?,
        }
        Ok(version.to_owned())
    }

    /// Puts the last words of a process that ended at once into the error, for its owner.
    fn explain(&self, error: UpstreamError) -> UpstreamError {
        match (&self.channel, &error) {
            (Channel::Stdio(channel), UpstreamError::Closed | UpstreamError::Unreachable(_)) => {
                let complaint = channel.complaint();
                let words = if complaint.is_empty() {
                    "it ended without a word"
                } else {
                    complaint.trim()
                };
                UpstreamError::Start(words.to_owned())
            }
            _ => error,
        }
    }
}

fn era_of_discovery(result: &Value) -> Era {
    let versions = result
        .get("supportedVersions")
        .and_then(Value::as_array)
        .unwrap_or_default();
    if versions
        .iter()
        .any(|it| it.as_str() == Some(MODERN_VERSION))
    {
        Era::Modern
    } else {
        Era::Legacy
    }
}

fn era_of_refusal(error: &RpcError) -> Result<Era, UpstreamError> {
    match error.code {
        UNSUPPORTED_VERSION => {
            let supported = error
                .data
                .as_ref()
                .and_then(|it| it.get("supported"))
                .and_then(Value::as_array);
            let legacy = supported
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_str);
            if legacy.clone().any(|it| LEGACY_VERSIONS.contains(&it)) {
                Ok(Era::Legacy)
            } else {
                Err(UpstreamError::Incompatible)
            }
        }
        HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY => Ok(Era::Modern),
        _ => Ok(Era::Legacy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_era_follows_from_the_first_answer() {
        let check = |code: i64, supported: &[&str]| {
            let data = Value::object([("supported", supported.iter().copied().collect())]);
            era_of_refusal(&RpcError::new(code, "").with(data)).ok()
        };
        assert_eq!(check(-32601, &[]), Some(Era::Legacy));
        assert_eq!(check(-32000, &[]), Some(Era::Legacy));
        assert_eq!(check(-32020, &[]), Some(Era::Modern));
        assert_eq!(check(-32022, &["2025-11-25"]), Some(Era::Legacy));
        assert_eq!(check(-32022, &["2027-01-01"]), None);
    }
}
