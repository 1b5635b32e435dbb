//! The organisation's OpenID provider, as others wrote it: whoever signs in there is who they say they are.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use super::world::{Beside, World, free_address, judge, tool, tools};

/// Where the provider will be: the world is told before it starts, and starts before its address is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provider(SocketAddr);

impl Provider {
    /// Finds a place for one.
    pub(crate) fn planned() -> Self {
        Self(free_address())
    }

    /// Returns its issuer URL.
    pub(crate) fn url(self) -> String {
        format!("http://{}", self.0)
    }

    /// Returns the settings by which a server has people sign in there.
    pub(crate) fn settings(self) -> String {
        format!(
            "\n[sign_in]\nissuer = \"{}\"\nclient_id = \"ambit\"\n",
            self.url()
        )
    }

    /// Starts it for `world`, whose server is a client with a secret.
    pub(crate) fn start(self, world: &World) -> Beside {
        started(self.node(world))
    }

    /// Starts it for `world`, whose server proves itself by a key: the provider fetches its public half.
    pub(crate) fn start_for_key(self, world: &World) -> Beside {
        let mut node = self.node(world);
        node.arg(format!("{}/sign-in/jwks", world.public()));
        node.env("NODE_EXTRA_CA_CERTS", world.roots());
        started(node)
    }

    fn node(self, world: &World) -> Command {
        let mut node = Command::new(tool("node"));
        node.arg(judge("browser/provider.mjs")).arg(modules());
        node.arg(self.0.port().to_string());
        node.arg(format!("{}/sign-in/callback", world.public()));
        node
    }
}

fn started(node: Command) -> Beside {
    let (running, said) = Beside::start(node);
    assert!(said.starts_with("provider "), "{said}");
    running
}

/// Returns where npm put the judges.
pub(crate) fn modules() -> PathBuf {
    tools().join("npm/node_modules")
}
