//! `[sign_in]` of `ambit.toml`: the OpenID provider at which people sign in on the public port.

use http::Uri;
use serde::Deserialize;

/// The provider.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInConfig {
    /// Its name, byte for byte as its metadata has it, such as `https://id.example.org`.
    pub(crate) issuer: String,
    /// The name under which Ambit is registered there.
    pub(crate) client_id: String,
    /// The sealed credential that proves it (`ambit secret set NAME`). Without one Ambit is a public client.
    #[serde(default)]
    pub(crate) secret: Option<String>,
}

impl SignInConfig {
    /// Says whether the provider can be asked, or what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| {
            Err(format!(
                "sign_in.issuer `{}` {what}; write it as \"https://id.example.org\"",
                self.issuer
            ))
        };
        let Ok(uri) = self.issuer.parse::<Uri>() else {
            return wrong("is no URL");
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_local = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|it| it.is_loopback());
        match uri.scheme_str() {
            Some("https") if !host.is_empty() => {}
            Some("http") if is_local => {}
            _ => return wrong("has no https, which only a provider of this machine may leave out"),
        }
        if uri.query().is_some() || self.issuer.contains(['#', '@']) {
            return wrong("has more than scheme, host and path");
        }
        if self.client_id.is_empty() || !self.client_id.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(
                "sign_in.client_id must be the name under which Ambit is registered at the provider".to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_named_by_a_url_with_tls() {
        let check = |issuer: &str, client_id: &str, part: &str| {
            let config = SignInConfig {
                issuer: issuer.to_owned(),
                client_id: client_id.to_owned(),
                secret: None,
            };
            let found = config.check().err().unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{issuer}: {found}"
            );
        };
        check("https://id.example.org", "ambit", "");
        check("https://id.example.org/realms/a/", "ambit", "");
        check("http://127.0.0.1:9", "ambit", "");
        check("http://[::1]:9", "ambit", "");
        check("http://localhost", "ambit", "");
        check("http://id.example.org", "ambit", "has no https");
        check("http://10.0.0.1", "ambit", "has no https");
        check("id.example.org", "ambit", "has no https");
        check("", "ambit", "is no URL");
        check("https://a@id.example.org", "ambit", "more than");
        check("https://id.example.org?x", "ambit", "more than");
        check("https://id.example.org", "", "client_id");
        check("https://id.example.org", "a b", "client_id");
    }
}
