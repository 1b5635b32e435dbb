//! Which client a name is: one that the estate declares, or one whose metadata document the name is.

use ambit_core::{
    ClientName,
    estate::{Client, ClientKeys as DeclaredKeys},
};
use ambit_identity::{
    CLIENT_KEY_USES,
    jose::{Algorithm, JwkSet, VerifyingKeys},
    token::assertion::ClientKeys,
};

use super::{
    ClientAgents, ClientProof, KnownClient, Server,
    document::{Described, Inquirer, NotKnown},
};
use crate::{
    check::chain,
    foreign::{Freshness, KeySource},
    visible::visible,
};

impl Server<'_> {
    /// Finds a client by its name (`client_id`): an `https` URL is its metadata document, any other name is in the estate.
    ///
    /// # Errors
    /// [`NotKnown`]: why it is not known and what to do.
    pub(super) async fn known_client(
        &self,
        (id, asker): (&str, &Inquirer),
        wanted: Freshness,
    ) -> Result<KnownClient, NotKnown> {
        if Described::of(id) == Described::ByDocument {
            let fetch = &self.control.fetch_document;
            let now = (self.control.clock)().now;
            let documents = &self.oauth.documents;
            return documents.find((id, asker), fetch, wanted, now).await;
        }
        let book = self.control.handle.book().map_err(|it| chain(&it))?;
        let name = id.parse::<ClientName>().ok();
        let declared = name.and_then(|it| book.estate().clients.get(&it));
        let declared = declared.ok_or_else(|| {
            format!(
                "client `{}` is unknown; write `clients/NAME.toml` and apply the estate; agents prove themselves with an SVID",
                visible(id)
            )
        })?;
        Ok(self.declared(declared, wanted).await?)
    }

    async fn declared(&self, client: &Client, wanted: Freshness) -> Result<KnownClient, String> {
        let id = client.name.as_str();
        let from = match &client.keys {
            DeclaredKeys::Public => None,
            DeclaredKeys::At(at) => Some(KeySource::At(at)),
            DeclaredKeys::Given(text) => Some(KeySource::Given(text)),
        };
        let keys = match from {
            None => ClientProof::Public,
            Some(from) => {
                let from_where = (&self.control.fetch, (self.control.clock)().now);
                let kept = &self.oauth.client_keys;
                let keys = kept.current(from_where, id, from, wanted).await;
                // Whoever names the client hears no more than that; why is in the log.
                let keys = keys.map_err(|_| {
                    format!("the keys of client `{id}` can't be had now; try again in a minute")
                })?;
                let client_id = id.to_owned();
                ClientProof::Keys(ClientKeys { client_id, keys })
            }
        };
        Ok(KnownClient {
            name: client.title.clone(),
            redirect_uris: client.redirect_uris.clone(),
            agents: ClientAgents::Only(client.agents.clone()),
            keys,
        })
    }
}

/// Returns what verifies the assertions of a client whose document came with these keys.
pub(super) fn client_keys(id: &str, set: &JwkSet) -> Result<ClientKeys, String> {
    let keys =
        VerifyingKeys::new(set, &CLIENT_KEY_USES, &Algorithm::ALL).map_err(|it| chain(&it))?;
    Ok(ClientKeys {
        client_id: id.to_owned(),
        keys,
    })
}
