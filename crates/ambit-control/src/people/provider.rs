//! The organisation's OpenID provider (OpenID Connect Core and Discovery): code, PKCE, nonce, nothing else.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use ambit_core::{
    Millis, Timestamp,
    json::{Value, parse_bounded},
};
use ambit_engine::{EngineError, Moment, NoPasskey, Refusal};
use ambit_identity::{
    IdentityError,
    jose::{Algorithm, Doubt, JoseError, JwkSet, SigningKey, base64url},
    passkey::PasskeyError,
    replay::ReplayError,
    sign_in::{Flow, FlowError},
    token::{
        assertion::{AssertionMaker, TYPE_JWT_BEARER},
        id_token::{IdTokenIssuer, SignIn},
    },
};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Uri;
use tokio::sync::{Mutex, Semaphore};

use super::{NoSession, SessionsFull};
use crate::visible::visible;

/// The longest answer of a provider that is read, in bytes.
pub const PROVIDER_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How many codes are being redeemed at once.
pub const REDEMPTIONS_MAX: usize = 8;
/// How long what a provider says of itself is believed.
const KNOWN_TTL: Millis = Millis::from_seconds(600);
/// How long it is believed at least, so that a token with an unknown key makes no traffic.
const KNOWN_TTL_MIN: Millis = Millis::from_seconds(60);
/// How long a provider that failed is left alone.
const FAILED_PAUSE: Millis = Millis::from_seconds(5);

/// One request to the provider: `GET`, or `POST` of a form.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The address, `https` unless the provider is on loopback.
    pub url: String,
    /// The form. Whoever sends it proves to be the client, where the configuration says how.
    pub form: Option<String>,
}

/// What the provider answered, whole: at most [`PROVIDER_ANSWER_BYTES_MAX`].
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Sends a request and follows no redirect.
pub type Fetch = Arc<dyn Fn(Ask) -> Fetching + Send + Sync>;
/// The answer to come, or in words why there is none.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, String>> + Send>>;

/// What the operator says of the provider.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Its name, byte for byte as it says it.
    pub issuer: String,
    /// Our name at the provider.
    pub client_id: String,
    /// How others name us: the public URL, without a slash at its end.
    pub public_url: String,
    /// The key by which we prove to be that client (`private_key_jwt`). Without one, `fetch` adds what proves it, if
    /// anything does.
    pub key: Option<Arc<SigningKey>>,
    /// What sends requests to it.
    pub fetch: Fetch,
}

/// The provider at which people sign in.
pub struct Provider {
    config: ProviderConfig,
    assertions: Option<AssertionMaker>,
    known: Mutex<Known>,
    redemptions: Semaphore,
}

/// Why nobody signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// There is neither a provider nor a host's name for passkeys.
    #[error(
        "people do not sign in at this server; write `[sign_in]`, or for passkeys a host's name in `public.url`, in \
         ambit.toml and start it again"
    )]
    Nowhere,
    /// The request is no answer of a provider.
    #[error("{0}")]
    Request(&'static str),
    /// There is no sign-in to go on with.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The provider can't be asked.
    #[error(
        "the provider at {issuer} can't be asked: {reason}; try again, then tell who operates this server"
    )]
    Unreachable {
        /// The provider.
        issuer: String,
        /// What went wrong.
        reason: String,
    },
    /// What the provider says can't be used.
    #[error("the provider at {issuer} {what}; tell who operates this server")]
    Wrong {
        /// The provider.
        issuer: String,
        /// What it does.
        what: String,
    },
    /// The provider signed nobody in.
    #[error(
        "the provider signed nobody in and says `{error}`; begin again, or ask who runs the provider"
    )]
    Declined {
        /// The provider's code.
        error: String,
    },
    /// The ID token does not hold.
    #[error(
        "the provider's ID token does not hold; begin again, then tell who operates this server"
    )]
    Token(#[from] JoseError),
    /// We can't prove to the provider who we are.
    #[error("Ambit can't sign for the provider; tell who operates this server")]
    NoAssertion(#[source] JoseError),
    /// Whoever signed in is nobody here.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The passkey is not of anybody, or does not hold.
    #[error(transparent)]
    Passkey(#[from] NoPasskey),
    /// The browser's answer does not hold.
    #[error(transparent)]
    Answer(#[from] PasskeyError),
    /// Nobody signs in with passkeys here.
    #[error("nobody signs in with a passkey at this server")]
    NoPasskeys,
    /// Nobody signs in at a provider here.
    #[error("nobody comes from a provider at this server; sign in with a passkey")]
    NoProvider,
    /// The link is for another person than the one who is signed in.
    #[error(
        "somebody else is signed in here, {here}, and the link is for {wanted}; sign out first, or open the link in {wanted}'s own browser"
    )]
    SomebodyElse {
        /// Who is signed in.
        here: String,
        /// For whom the link is.
        wanted: String,
    },
    /// What the person asked for was not done.
    #[error(transparent)]
    Refused(Refusal),
    /// Nobody is signed in.
    #[error(transparent)]
    Session(#[from] NoSession),
    /// The engine does not answer.
    #[error("Ambit can't say who you are just now; try again")]
    Engine(#[from] EngineError),
    /// Too many sign in at once.
    #[error("too many people sign in just now; try again in some minutes")]
    Busy(#[source] ReplayError),
    /// No more sessions can be held.
    #[error(transparent)]
    Full(#[from] SessionsFull),
}

/// What the provider said of itself, and when.
#[derive(Default)]
struct Known {
    said: Option<(Timestamp, Arc<Said>)>,
    failed_at: Option<Timestamp>,
}

struct Said {
    authorization_endpoint: String,
    token_endpoint: String,
    names_itself: bool,
    tokens: IdTokenIssuer,
}

impl Provider {
    /// Makes the provider. It is asked at the first sign-in, so that we start without it.
    pub fn new(config: ProviderConfig) -> Self {
        let maker = |key: &Arc<SigningKey>| {
            let (client, issuer) = (config.client_id.clone(), config.issuer.clone());
            AssertionMaker::new(Arc::clone(key), client, issuer)
        };
        Self {
            assertions: config.key.as_ref().map(maker),
            config,
            known: Mutex::default(),
            redemptions: Semaphore::new(REDEMPTIONS_MAX),
        }
    }

    /// Returns the provider's name.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Returns our public URL.
    pub fn public_url(&self) -> &str {
        &self.config.public_url
    }

    /// Returns the public half of the key by which we prove to be its client, as a JWK set, where there is one.
    pub fn published_key(&self) -> Option<Value> {
        self.assertions.as_ref().map(AssertionMaker::published)
    }

    /// Returns the address to which a browser goes to sign in (OpenID Connect Core §3.1.2.1).
    ///
    /// # Errors
    /// [`SignInError`] when the provider can't be asked where that is.
    pub async fn authorization_url(
        &self,
        flow: &Flow,
        now: Timestamp,
    ) -> Result<String, SignInError> {
        let said = self.said(now, KNOWN_TTL).await?;
        let endpoint = &said.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", "openid")
            .append_pair("state", flow.state())
            .append_pair("nonce", flow.nonce())
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256")
            .finish();
        Ok(format!("{endpoint}{joint}{query}"))
    }

    /// Checks who answered (RFC 9207): a browser may have been sent here by another provider.
    ///
    /// # Errors
    /// [`SignInError`] when it was not ours, or it does not say so and always does.
    pub async fn check_answerer(
        &self,
        issuer: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SignInError> {
        match issuer {
            Some(issuer) if issuer == self.config.issuer => Ok(()),
            Some(_) => Err(SignInError::Request(
                "another provider answered; begin again",
            )),
            None if self.said(now, KNOWN_TTL).await?.names_itself => Err(SignInError::Request(
                "the answer does not say which provider gave it; begin again",
            )),
            None => Ok(()),
        }
    }

    /// Redeems a code and returns who signed in.
    ///
    /// # Errors
    /// [`SignInError`] when the provider does not say so, for this flow.
    pub async fn redeem(
        &self,
        code: &str,
        flow: &Flow,
        moment: &Moment,
    ) -> Result<SignIn, SignInError> {
        let now = moment.now;
        let Ok(_place) = self.redemptions.try_acquire() else {
            return Err(self.unreachable("many people sign in just now"));
        };
        let said = self.said(now, KNOWN_TTL).await?;
        let form = self.redemption(code, flow, moment)?;
        let answer = self.ask(said.token_endpoint.clone(), Some(form)).await?;
        let token = self.text(&answer, "id_token")?;
        match said.tokens.verify(&token, flow, now) {
            // It may have begun to use another key.
            Err(error) if Doubt::of(&token, &error) == Doubt::NewerKeys => {
                let fresh = self.said(now, KNOWN_TTL_MIN).await?;
                Ok(fresh.tokens.verify(&token, flow, now)?)
            }
            verified => Ok(verified?),
        }
    }

    /// Returns the form that redeems a code (RFC 6749 §4.1.3), with what proves us where that is a key.
    fn redemption(&self, code: &str, flow: &Flow, moment: &Moment) -> Result<String, SignInError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("code_verifier", flow.verifier())
            .append_pair("client_id", &self.config.client_id);
        if let Some(assertions) = &self.assertions {
            let token_id = base64url::encode(moment.chance);
            let assertion = assertions.assertion(&token_id, moment.now);
            let assertion = assertion.map_err(SignInError::NoAssertion)?;
            form.append_pair("client_assertion_type", TYPE_JWT_BEARER)
                .append_pair("client_assertion", &assertion);
        }
        Ok(form.finish())
    }

    fn redirect_uri(&self) -> String {
        format!("{}/sign-in/callback", self.config.public_url)
    }

    /// Returns what the provider says of itself, as it was at most `ttl` ago.
    async fn said(&self, now: Timestamp, ttl: Millis) -> Result<Arc<Said>, SignInError> {
        let mut known = self.known.lock().await;
        if let Some((at, said)) = &known.said
            && now < at.plus(ttl)
        {
            return Ok(Arc::clone(said));
        }
        if known
            .failed_at
            .is_some_and(|at| now < at.plus(FAILED_PAUSE))
        {
            return Err(self.unreachable("it failed a moment ago"));
        }
        match self.learn().await {
            Ok(said) => {
                let said = Arc::new(said);
                known.said = Some((now, Arc::clone(&said)));
                known.failed_at = None;
                Ok(said)
            }
            Err(error) => {
                known.failed_at = Some(now);
                Err(error)
            }
        }
    }

    async fn learn(&self) -> Result<Said, SignInError> {
        let issuer = &self.config.issuer;
        // A slash at the end of the name is not doubled (OpenID Connect Discovery §4).
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let url = format!("{base}/.well-known/openid-configuration");
        let metadata = self.ask(url, None).await?;
        if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(self.wrong("calls itself by another name than `[sign_in] issuer`"));
        }
        let methods = metadata.get("code_challenge_methods_supported");
        let methods = methods.and_then(Value::as_array);
        if methods.is_some_and(|it| !it.iter().any(|it| it.as_str() == Some("S256"))) {
            return Err(self.wrong("does not offer PKCE with S256"));
        }
        self.check_own_proof(&metadata)?;
        let keys = self
            .ask(self.endpoint(&metadata, "jwks_uri")?, None)
            .await?;
        let tokens = JwkSet::from_value(&keys).and_then(|set| {
            IdTokenIssuer::new(issuer.clone(), self.config.client_id.clone(), &set)
        });
        let names_itself = metadata.get("authorization_response_iss_parameter_supported");
        Ok(Said {
            authorization_endpoint: self.endpoint(&metadata, "authorization_endpoint")?,
            token_endpoint: self.endpoint(&metadata, "token_endpoint")?,
            names_itself: names_itself.and_then(Value::as_bool) == Some(true),
            tokens: tokens.map_err(|error| self.wrong(format!("has keys of no use: {error}")))?,
        })
    }

    /// Refuses a provider that says that it does not take what we prove ourselves with.
    fn check_own_proof(&self, metadata: &Value) -> Result<(), SignInError> {
        if self.assertions.is_none() {
            return Ok(());
        }
        let lacks = |name: &str, word: &str| {
            let offered = metadata.get(name).and_then(Value::as_array);
            offered.is_some_and(|it| !it.iter().any(|it| it.as_str() == Some(word)))
        };
        if lacks("token_endpoint_auth_methods_supported", "private_key_jwt") {
            return Err(self.wrong("does not offer `private_key_jwt`, which `[sign_in] key` wants"));
        }
        let algorithm = Algorithm::Es256.as_str();
        if lacks(
            "token_endpoint_auth_signing_alg_values_supported",
            algorithm,
        ) {
            return Err(self.wrong("takes no client assertions with ES256"));
        }
        Ok(())
    }

    async fn ask(&self, url: String, form: Option<String>) -> Result<Value, SignInError> {
        let fetched = (self.config.fetch)(Ask { url, form }).await;
        let fetched = fetched.map_err(|reason| self.unreachable(reason))?;
        let parsed = parse_bounded(&fetched.body, PROVIDER_ANSWER_BYTES_MAX);
        if fetched.status != 200 {
            let error = parsed.ok();
            let error = error.as_ref().and_then(|it| it.get("error"));
            return match error.and_then(Value::as_str) {
                Some(error) => Err(SignInError::Declined {
                    error: shortened(error),
                }),
                None => Err(self.unreachable(format!("it answered {}", fetched.status))),
            };
        }
        parsed.map_err(|error| self.wrong(format!("answers with no JSON of one reading: {error}")))
    }

    /// Returns an address of the metadata. Where the provider has TLS, so has all of it.
    fn endpoint(&self, metadata: &Value, name: &str) -> Result<String, SignInError> {
        let text = self.text(metadata, name)?;
        let scheme = |it: &str| {
            let uri = it.parse::<Uri>().ok();
            uri.and_then(|it| it.scheme_str().map(str::to_owned))
        };
        if text.contains('#') || scheme(&text) != scheme(&self.config.issuer) {
            return Err(self.wrong(format!("names an address of no use as `{name}`")));
        }
        Ok(text)
    }

    fn text(&self, value: &Value, name: &str) -> Result<String, SignInError> {
        let text = value.get(name).and_then(Value::as_str);
        let text = text.ok_or_else(|| self.wrong(format!("leaves `{name}` out")))?;
        Ok(text.to_owned())
    }

    fn unreachable(&self, reason: impl Into<String>) -> SignInError {
        SignInError::Unreachable {
            issuer: self.config.issuer.clone(),
            reason: reason.into(),
        }
    }

    fn wrong(&self, what: impl Into<String>) -> SignInError {
        SignInError::Wrong {
            issuer: self.config.issuer.clone(),
            what: what.into(),
        }
    }
}

impl SignInError {
    /// The provider's answer, which names an error and no code (RFC 6749 §4.1.2.1).
    pub fn declined(error: &str) -> Self {
        Self::Declined {
            error: shortened(error),
        }
    }
}

impl From<Refusal> for SignInError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(error) => Self::Engine(error),
            refusal @ (Refusal::Denied { .. }
            | Refusal::NotFound(_)
            | Refusal::Invalid(_)
            | Refusal::Conflict(_)) => Self::Refused(refusal),
        }
    }
}

/// Returns foreign text, visible and short.
fn shortened(text: &str) -> String {
    let text: String = text.chars().take(ERROR_CHARACTERS_SHOWN).collect();
    visible(&text)
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderConfig({})", self.issuer)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.config.issuer)
    }
}

const ERROR_CHARACTERS_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use ambit_identity::sign_in::FlowKey;
    use ambit_testkit::TestClock;

    use super::*;

    #[test]
    fn so_many_codes_are_redeemed_at_once() {
        let provider = Provider::new(ProviderConfig {
            issuer: "https://id.example.org".to_owned(),
            client_id: "ambit".to_owned(),
            public_url: "https://ambit.example.org".to_owned(),
            key: None,
            // It takes its time.
            fetch: Arc::new(|_| Box::pin(std::future::pending())),
        });
        let moment = TestClock::new(1).moment();
        let flow = FlowKey::new(&[5; 32]).begin([6; 32], "/", moment.now);
        let flow = flow.unwrap();
        let redeem = || Box::pin(provider.redeem("code", &flow, &moment));
        let mut context = Context::from_waker(Waker::noop());
        let mut redeemed: Vec<_> = (0..REDEMPTIONS_MAX).map(|_| redeem()).collect();
        for one in &mut redeemed {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        let Poll::Ready(Err(refused)) = redeem().as_mut().poll(&mut context) else {
            panic!("there is no place");
        };
        assert!(refused.to_string().contains("many people"), "{refused}");
        drop(redeemed.pop());
        assert!(redeem().as_mut().poll(&mut context).is_pending());
    }
}
