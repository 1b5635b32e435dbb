//! Requests of ours to the provider at which people sign in.

use std::sync::Arc;

use ambit_control::people::{Ask, Fetch, Fetched, PROVIDER_ANSWER_BYTES_MAX};
use ambit_gateway::Secrets;
use http::{HeaderName, HeaderValue};

use super::{FetchError, Fetcher, Reach, Wanted, told};
use crate::config::SignInConfig;

impl Fetcher {
    /// Returns what sends requests to the provider that `config` names.
    pub(crate) fn provider(&self, config: &SignInConfig, secrets: &Secrets) -> Fetch {
        let client = Arc::new(Client {
            fetcher: self.clone(),
            config: config.clone(),
            secrets: Arc::clone(secrets),
        });
        Arc::new(move |ask| {
            let client = Arc::clone(&client);
            Box::pin(async move { client.ask(ask).await.map_err(|error| told(&error)) })
        })
    }
}

/// Who we are at the provider.
struct Client {
    fetcher: Fetcher,
    config: SignInConfig,
    secrets: Secrets,
}

impl Client {
    async fn ask(&self, ask: Ask) -> Result<Fetched, FetchError> {
        let form = match ask.form {
            Some(form) => Some((form, self.proof()?)),
            None => None,
        };
        let wanted = Wanted {
            url: ask.url,
            reach: Reach::Named,
            bytes_max: PROVIDER_ANSWER_BYTES_MAX,
            form,
        };
        let answer = self.fetcher.fetch(wanted).await?;
        Ok(Fetched {
            status: answer.status.as_u16(),
            body: answer.body,
        })
    }

    /// Returns what proves who we are, where the configuration names a secret.
    fn proof(&self) -> Result<Option<(HeaderName, HeaderValue)>, FetchError> {
        let Some(reference) = &self.config.secret else {
            return Ok(None);
        };
        let missing = || FetchError::Secret(reference.clone());
        let secret = (self.secrets)(reference).ok_or_else(missing)?;
        let basic = secret.basic(&self.config.client_id);
        let name = HeaderName::from_bytes(basic.name().as_bytes()).map_err(|_| missing())?;
        let mut value = HeaderValue::from_bytes(basic.value()).map_err(|_| missing())?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}
