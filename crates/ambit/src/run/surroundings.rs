//! The environment that a command gets: where Ambit is, and nothing that opens a door elsewhere.

use std::{collections::BTreeMap, ffi::OsString};

use ambit_core::json::Value;

use super::view::INNER_HOME;
use crate::{config::variable, output::pretty};

/// Variables that say how to print and which language to use; they are passed on.
const PASSED: [&str; 11] = [
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_TIME",
    "NO_COLOR",
    "PATH",
    "TERM",
    "TZ",
];

/// Where a command finds Ambit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Surroundings {
    mcp_url: String,
    proxy_url: String,
}

impl Surroundings {
    /// Of a contained command: nobody else can reach the port.
    pub(crate) fn contained(port: u16) -> Self {
        Self {
            mcp_url: format!("http://127.0.0.1:{port}/mcp"),
            proxy_url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Of a command on the host's own network: `secret` tells it from other users' processes.
    pub(crate) fn uncontained(port: u16, secret: &str) -> Self {
        Self {
            mcp_url: format!("http://127.0.0.1:{port}/{secret}/mcp"),
            proxy_url: format!("http://ambit:{secret}@127.0.0.1:{port}"),
        }
    }

    /// Returns the variables that say where Ambit is.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![("AMBIT_MCP_URL", self.mcp_url.clone())];
        for name in [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
        ] {
            variables.push((name, self.proxy_url.clone()));
        }
        for name in ["NO_PROXY", "no_proxy"] {
            variables.push((name, "127.0.0.1,localhost".to_owned()));
        }
        // Node's own fetch looks at the proxy variables only when told to.
        variables.push(("NODE_USE_ENV_PROXY", "1".to_owned()));
        variables
    }

    /// Returns an MCP client configuration in the form that most clients read.
    pub(crate) fn mcp_config(&self) -> String {
        let server = Value::object([
            ("type", Value::from("http")),
            ("url", self.mcp_url.as_str().into()),
        ]);
        let servers = Value::object([("ambit", server)]);
        format!("{}\n", pretty(&Value::object([("mcpServers", servers)])))
    }
}

/// Returns the environment of a contained command, before [`Surroundings::variables`]: what is
/// passed on, and the variables that the user named.
pub(crate) fn contained_environment(named: &[String]) -> BTreeMap<OsString, OsString> {
    let passed = PASSED.into_iter().chain(named.iter().map(String::as_str));
    let mut environment: BTreeMap<OsString, OsString> = passed
        .filter_map(|name| Some((name.into(), variable(name)?)))
        .collect();
    environment.insert("HOME".into(), INNER_HOME.into());
    environment.insert("USER".into(), "agent".into());
    environment.insert("TMPDIR".into(), "/tmp".into());
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_configuration_names_the_door() {
        let text = Surroundings::contained(4).mcp_config();
        let value = ambit_core::json::parse(text.as_bytes()).unwrap();
        let url = value
            .get("mcpServers")
            .and_then(|it| it.get("ambit")?.get("url"));
        assert_eq!(url, Some(&Value::from("http://127.0.0.1:4/mcp")));
    }

    #[test]
    fn the_environment_has_a_home_of_its_own_and_nothing_of_ambit() {
        let environment = contained_environment(&["AMBIT_NOT_SET".to_owned()]);
        assert_eq!(
            environment.get(&OsString::from("HOME")),
            Some(&INNER_HOME.into())
        );
        let named = environment.keys().filter_map(|name| name.to_str());
        assert!(named.into_iter().all(|name| !name.starts_with("AMBIT")));
    }
}
