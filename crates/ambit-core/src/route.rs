//! The routes of the gateway: each is a resource of its own (RFC 8707), to which access tokens are bound.

use std::fmt;

use crate::ServerName;

/// A route of the gateway by which agents act.
///
/// One rule joins routes and access tokens: the audience of a token is the URL of exactly one route, letter by letter.
/// A token for `/mcp` is worth nothing at `/s/NAME/mcp`, nor the other way about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum GatewayRoute {
    /// `/mcp`: all of the task's servers, names joined.
    All,
    /// `/s/NAME/mcp`: one server, names unchanged.
    One(ServerName),
}

impl GatewayRoute {
    /// Reads the path of a URL. Nothing is decoded: a server's name needs no escapes.
    pub fn of_path(path: &str) -> Option<Self> {
        if path == "/mcp" {
            return Some(Self::All);
        }
        let name = path.strip_prefix("/s/")?.strip_suffix("/mcp")?;
        name.parse::<ServerName>().ok().map(Self::One)
    }

    /// Reads the URL of a route of the gateway at `gateway`: scheme, host and port, without a slash at its end.
    pub fn of_url(url: &str, gateway: &str) -> Option<Self> {
        Self::of_path(url.strip_prefix(gateway)?)
    }

    /// Returns the URL of the route of the gateway at `gateway`: scheme, host and port, without a slash at its end.
    pub fn url(&self, gateway: &str) -> String {
        format!("{gateway}{self}")
    }
}

impl fmt::Display for GatewayRoute {
    /// Writes the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("/mcp"),
            Self::One(server) => write!(f, "/s/{server}/mcp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_kinds_of_paths_are_routes() {
        for path in ["/mcp", "/s/files/mcp"] {
            assert_eq!(GatewayRoute::of_path(path).unwrap().to_string(), path);
        }
        for path in [
            "/",
            "",
            "/mcp/",
            "/s//mcp",
            "/s/a/b/mcp",
            "/s/%66iles/mcp",
            "/s/files",
            "/s/../mcp",
            "/S/files/mcp",
        ] {
            assert_eq!(GatewayRoute::of_path(path), None, "{path}");
        }
    }

    #[test]
    fn a_url_names_one_route_letter_by_letter() {
        let gateway = "https://gate.example:7420";
        let files = GatewayRoute::One("files".parse().unwrap());
        for route in [GatewayRoute::All, files] {
            assert_eq!(
                GatewayRoute::of_url(&route.url(gateway), gateway),
                Some(route)
            );
        }
        for url in [
            "https://gate.example:7420",
            "https://gate.example:7420/",
            "https://gate.example:7420/mcp/",
            "https://gate.example:7420/mcp?a=b",
            "https://gate.example:7420//mcp",
            "https://gate.example:74200/mcp",
            "https://GATE.example:7420/mcp",
            "http://gate.example:7420/mcp",
        ] {
            assert_eq!(GatewayRoute::of_url(url, gateway), None, "{url}");
        }
    }
}
