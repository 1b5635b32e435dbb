//! `[sign_in]` of `ambit.toml`: the OpenID provider at which people sign in on the public port.

use std::{fs, path::PathBuf, sync::Arc};

use ambit_identity::{
    SvidKey,
    authority::PEM_BYTES_MAX,
    jose::{KeyUse, SigningKey},
};
use http::Uri;
use serde::Deserialize;
use zeroize::Zeroizing;

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
    /// The file of the key (PEM, P-256) that proves it instead (`private_key_jwt`). The provider fetches its public half
    /// at `/sign-in/jwks` of the public port.
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
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
        if self.secret.is_some() && self.key.is_some() {
            return Err(
                "sign_in.secret and sign_in.key are two ways to prove one thing; write one of them"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Returns the key that proves who we are to the provider, where a file of it is named.
    pub(crate) fn read_key(&self) -> Result<Option<Arc<SigningKey>>, String> {
        let Some(path) = &self.key else {
            return Ok(None);
        };
        let wrong = |what: String| format!("sign_in.key {}: {what}", path.display());
        let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if length.len() > PEM_BYTES_MAX as u64 {
            return Err(wrong(format!("it has more than {PEM_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let key = SvidKey::from_pem(&Zeroizing::new(text)).map_err(|error| {
            wrong(format!(
                "{error}; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
            ))
        })?;
        let key = SigningKey::from_svid_key(&key, KeyUse::Signature);
        let key = key.map_err(|error| wrong(error.to_string()))?;
        Ok(Some(Arc::new(key)))
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
                key: None,
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

    #[test]
    fn a_client_proves_itself_in_one_way() {
        let check = |more: &str, part: &str| {
            let text = format!("issuer = 'https://id.example.org'\nclient_id = 'ambit'\n{more}");
            let config: SignInConfig = toml::from_str(&text).unwrap();
            let found = config.check().err().unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{more}: {found}"
            );
        };
        check("", "");
        check("secret = 'a'", "");
        check("key = '/etc/ambit/provider.key'", "");
        check("secret = 'a'\nkey = 'b'", "write one of them");
    }

    #[test]
    fn a_key_is_one_on_p_256_in_a_file_of_a_bounded_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("provider.key");
        let config = SignInConfig {
            issuer: "https://id.example.org".to_owned(),
            client_id: "ambit".to_owned(),
            secret: None,
            key: Some(path.clone()),
        };
        let check = |text: &str, part: &str| {
            fs::write(&path, text).unwrap();
            let found = config.read_key().err().unwrap_or_default();
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{text}: {found}"
            );
        };
        let key = SvidKey::generate([7; 32]).unwrap().to_pem();
        check(&key, "");
        check("", "openssl genpkey");
        let padded = |bytes: usize| format!("{}{}", *key, " ".repeat(bytes - key.len()));
        check(&padded(PEM_BYTES_MAX), "");
        check(&padded(PEM_BYTES_MAX + 1), "more than");
        fs::remove_file(&path).unwrap();
        assert!(config.read_key().is_err());
        let none = SignInConfig {
            key: None,
            ..config
        };
        assert!(none.read_key().unwrap().is_none());
    }
}
