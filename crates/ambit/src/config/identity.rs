//! `[identity]` of `ambit.toml`: an identity that somebody else's SPIFFE Workload API gives to Ambit itself.

use std::net::SocketAddr;

use serde::Deserialize;

/// Where the identity comes from, and where it is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityConfig {
    /// The socket of the Workload API, such as `unix:///run/spire/agent.sock`.
    pub(crate) workload_api: String,
    /// Where agents find the same gateway once more, known by that identity.
    pub(crate) listen: SocketAddr,
}

impl IdentityConfig {
    /// Says whether the socket can be asked, or what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        // Who answers at a TCP address is known by nothing (SPIFFE Workload Endpoint §3).
        let path = self.workload_api.strip_prefix("unix://");
        if path.is_some_and(|it| it.starts_with('/') && it.len() > 1 && !it.contains(['?', '#'])) {
            return Ok(());
        }
        Err(format!(
            "identity.workload_api `{}` is no socket of a Workload API; write it as \"unix:///run/spire/agent.sock\"",
            self.workload_api
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_api_is_a_local_socket() {
        let check = |text: &str, fits: bool| {
            let config = IdentityConfig {
                workload_api: text.to_owned(),
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            };
            assert_eq!(config.check().is_ok(), fits, "{text}");
        };
        check("unix:///run/spire/agent.sock", true);
        for text in [
            "",
            "unix:///",
            "unix:/run/agent.sock",
            "unix://host/agent.sock",
            "/run/agent.sock",
            "tcp://127.0.0.1:1",
            "unix:///a?b",
        ] {
            check(text, false);
        }
    }
}
