//! The places where tokens can be used: routes of the gateway, letter by letter (RFC 8707).

use ambit_core::{GatewayRoute, json::Value};

use super::{OAuthError, Server, form::Form};

/// A route of the gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Its URL, as the gateway compares it.
    pub(super) url: String,
    route: GatewayRoute,
}

impl Server<'_> {
    /// Returns the one place that the form names.
    pub(super) fn place(&self, form: &Form) -> Result<Place, OAuthError> {
        let Some(text) = form.get("resource") else {
            return Err(OAuthError::target(format!(
                "name the place where the token shall be used as `resource`, such as {} (RFC 8707)",
                GatewayRoute::All.url(self.gateway_url()?)
            )));
        };
        self.read_place(text)
    }

    /// Returns the place that a text names.
    pub(super) fn read_place(&self, text: &str) -> Result<Place, OAuthError> {
        let gateway = self.gateway_url()?;
        let unknown = || {
            OAuthError::target(format!(
                "`resource` is no route of this gateway; use {gateway}/mcp or {gateway}/s/NAME/mcp, letter by letter"
            ))
        };
        let route = GatewayRoute::of_url(text, gateway).ok_or_else(unknown)?;
        if let GatewayRoute::One(server) = &route
            && !self
                .control
                .handle
                .book()?
                .estate()
                .servers
                .contains_key(server)
        {
            return Err(unknown());
        }
        let url = text.to_owned();
        Ok(Place { url, route })
    }

    fn gateway_url(&self) -> Result<&str, OAuthError> {
        self.control.gateway_url.as_deref().ok_or_else(|| {
            OAuthError::target(
                "the gateway takes no tokens; write doors.gateway_url into ambit.toml",
            )
        })
    }
}

impl Place {
    /// Returns what of a task's authority can be used there: what bounds it as a whole, and what is about the server.
    pub(super) fn of(&self, details: &Value) -> Value {
        let GatewayRoute::One(server) = &self.route else {
            return details.clone();
        };
        let about = |it: &&Value| {
            let named = it.get("server").and_then(Value::as_str);
            named.is_none_or(|it| it == server.as_str())
        };
        let details = details.as_array().unwrap_or_default();
        details.iter().filter(about).cloned().collect()
    }
}
