//! `[telemetry]` of `ambit.toml`: where spans are sent, if anywhere.

use serde::Deserialize;

use super::public::PublicUrl;

/// Where spans are sent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    /// The base URL of an OpenTelemetry collector (OTLP over HTTP, protobuf): `http` on this machine, `https` anywhere.
    pub(crate) otlp_endpoint: String,
}

impl TelemetryConfig {
    /// Says whether the endpoint can be used, or what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        // Without TLS nothing leaves this machine.
        PublicUrl::of_key("telemetry.otlp_endpoint", &self.otlp_endpoint).map(drop)
    }

    /// Returns where traces are posted (OpenTelemetry Protocol 1.x, OTLP/HTTP request).
    pub(crate) fn traces(&self) -> String {
        format!("{}/v1/traces", self.otlp_endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stay_here_or_are_encrypted() {
        let check = |url: &str, wanted: Result<(), &str>| {
            let config = TelemetryConfig {
                otlp_endpoint: url.to_owned(),
            };
            match (config.check(), wanted) {
                (Ok(()), Ok(())) => (),
                (Err(error), Err(part)) => assert!(error.contains(part), "{url}: {error}"),
                (found, _) => panic!("{url}: {found:?}"),
            }
        };
        check("http://127.0.0.1:4318", Ok(()));
        check("http://localhost:4318", Ok(()));
        check("https://otel.example.org", Ok(()));
        check(
            "http://otel.example.org:4318",
            Err("not of this machine alone"),
        );
        check("http://10.0.0.1:4318", Err("not of this machine alone"));
        check(
            "http://127.0.0.1:4318/v1/traces",
            Err("more than scheme, host and port"),
        );
        check("127.0.0.1:4318", Err("telemetry.otlp_endpoint"));
    }
}
