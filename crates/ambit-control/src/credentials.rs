//! Credentials that an estate wants and nobody has sealed: every call to their servers would fail.

use ambit_core::{
    ServerName,
    estate::{Estate, Server, Transport},
    json::Value,
};
use ambit_engine::{Archive, ArchiveError};

/// A server whose credential is not sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsealed {
    /// Which server.
    pub server: ServerName,
    /// The name under which its credential is to be sealed.
    pub secret: String,
}

/// Returns the servers of `estate` that want a credential, by name: in a store where nothing was sealed yet, none has it.
pub fn wanted(estate: &Estate) -> Vec<Unsealed> {
    let credential = |(name, server): (&ServerName, &Server)| match &server.transport {
        Transport::Http { credential, .. } => credential.as_ref().map(|it| Unsealed {
            server: name.clone(),
            secret: it.reference.clone(),
        }),
        Transport::Stdio { .. } => None,
    };
    estate.servers.iter().filter_map(credential).collect()
}

/// Returns the servers of `estate` whose credentials are not sealed in the store, by name.
///
/// # Errors
/// The store can't be read.
pub fn unsealed(archive: &dyn Archive, estate: &Estate) -> Result<Vec<Unsealed>, ArchiveError> {
    let mut missing = Vec::new();
    for wanted in wanted(estate) {
        if archive.secret(&wanted.secret)?.is_none() {
            missing.push(wanted);
        }
    }
    Ok(missing)
}

impl Unsealed {
    /// Returns it as the control API gives it.
    pub fn to_value(&self) -> Value {
        Value::object([
            ("server", self.server.as_str().into()),
            ("secret", self.secret.as_str().into()),
            ("text", self.to_string().into()),
        ])
    }
}

/// Says what is missing and what to do.
impl std::fmt::Display for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "server `{}` wants the credential `{}`, which is not sealed: its calls fail; run `ambit secret set {} < FILE`",
            self.server, self.secret, self.secret
        )
    }
}
