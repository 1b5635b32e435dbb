//! Token exchange (RFC 8693): the wire form of spending a delegation.
//!
//! The standard leaves open who may exchange what. Here a subject token alone gives nothing: the task that it is of
//! must have delegated to the very client that asks, by name, once. The client is the actor; there is no way to name
//! another one. So a pair of tokens that belong to different chains is refused, whoever holds both.

use ambit_core::{
    DelegationId, SpiffeId, Timestamp,
    token::{Grant, KeyBinding, RestsOn},
};
use ambit_engine::{Delegate, ExchangeRefusal, Refreshable, Refusal, TokenAsk, TokenGrant};
use ambit_identity::{Claimant, InstanceCaller, token::assertion::ProvedWorkload};

use super::{
    OAuthError, Server,
    claimed::{registered, run_of},
    client::{Client, Shown},
    grants::{Asking, ttl},
    keyring::LiveToken,
};

/// The grant (RFC 8693 §2.1).
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The one type of token that is taken and given (RFC 8693 §3).
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Who takes a delegation: the client itself.
enum Actor<'a> {
    /// A run of an agent, by its certificate.
    Instance(&'a InstanceCaller),
    /// A run of an agent, by its JWT-SVID.
    Workload(&'a ProvedWorkload),
    /// A client that the estate declares as a run of an agent, or a workload from elsewhere that is registered as one; by
    /// what is good until then. It serves a live task that it has claimed.
    Claimant(Claimant, Timestamp),
}

/// Spends the delegation that the form names for a child task and its first tokens.
pub(super) async fn token_exchange(
    server: Server<'_>,
    asking: Asking<'_>,
) -> Result<TokenGrant, OAuthError> {
    let form = asking.form;
    if form.get("authorization_details").is_some() {
        return Err(OAuthError::new(
            "invalid_authorization_details",
            "the delegation says what the child may do; leave authorization_details out, or delegate a smaller part",
        ));
    }
    let place = server.place(form)?;
    let actor = actor(server, asking.client)?;
    only_access_tokens(
        asking.form.get("requested_token_type"),
        "requested_token_type",
    )?;
    let subject = shown(server, &asking, ("subject_token", "subject_token_type"))?;
    let subject = subject.ok_or_else(|| {
        OAuthError::request(
            "parameter `subject_token` is missing; show a token of the task that delegated",
        )
    })?;
    if let Some(token) = shown(server, &asking, ("actor_token", "actor_token_type"))? {
        let acts = token.token.grant().actors.first();
        if acts.is_none() || acts != actor.runs(server)?.as_ref() {
            return Err(OAuthError::request(
                "actor_token is of another actor than the client that proved itself; leave it out: the client is the actor",
            ));
        }
    }
    let delegation: DelegationId = form.required("delegation")?.parse().map_err(|_| {
        OAuthError::request(
            "`delegation` is no name of a delegation, such as the `dlg_…` that its task was given",
        )
    })?;
    if asking.binding == KeyBinding::Bearer {
        return Err(OAuthError::new(
            "invalid_dpop_proof",
            "what is delegated is bound to the delegate's key; send a DPoP proof (RFC 9449), or ask at the mTLS endpoint",
        ));
    }
    let ask = TokenAsk {
        client: asking.client.id(),
        audience: place.url,
        binding: asking.binding,
        ttl: ttl(asking.binding),
        // The child outlives its first token, and nobody else can be asked for the next one.
        refreshable: Refreshable::Yes,
        grant: Grant::TokenExchange,
        parent: Some(subject.issued.id),
        details: None,
        rests_on: actor.rests_on(&asking, server)?,
    };
    let moment = (server.control.clock)();
    let shown = (delegation, &subject.token);
    let by = actor.as_delegate();
    let granted = server.control.handle.exchange_token(by, shown, ask, moment);
    granted.await.map_err(refused)
}

/// Returns who the client is as a delegate.
fn actor<'a>(server: Server<'_>, client: &'a Client) -> Result<Actor<'a>, OAuthError> {
    let none = |what| Err(OAuthError::new("unauthorized_client", what));
    Ok(match client {
        Client::Instance(caller) => Actor::Instance(caller),
        Client::Workload(proved) => Actor::Workload(proved),
        Client::Foreign(svid, _) => Actor::Claimant(registered(server, svid)?, svid.expires_at()),
        Client::Holder { identified, .. } => {
            Actor::Claimant(identified.claimant.clone(), identified.expires_at)
        }
        Client::Known {
            shown: Shown::Key(proved),
            ..
        } => Actor::Claimant(run_of(server, proved)?, proved.expires_at()),
        Client::Known {
            shown: Shown::Name, ..
        } => {
            return none(
                "a public client proves nothing, and a delegation is for one named agent; declare keys and `runs` for it",
            );
        }
        Client::Unnamed => {
            return none(
                "only a run of the agent that the delegation names takes it; prove yourself by an SVID, or by a \
                 client_assertion",
            );
        }
    })
}

impl Actor<'_> {
    const fn as_delegate(&self) -> Delegate<'_> {
        match self {
            Self::Instance(caller) => Delegate::Instance(caller),
            Self::Workload(proved) => Delegate::Workload(proved),
            Self::Claimant(claimant, expires_at) => Delegate::Claimant(claimant, *expires_at),
        }
    }

    /// Returns the run of an agent that it is.
    fn runs(&self, server: Server<'_>) -> Result<Option<SpiffeId>, OAuthError> {
        Ok(match self {
            Self::Instance(caller) => Some(caller.spiffe_id().clone()),
            Self::Workload(proved) => Some(proved.spiffe_id().clone()),
            Self::Claimant(claimant, _) => server.control.handle.serves(claimant)?,
        })
    }

    fn rests_on(&self, asking: &Asking<'_>, server: Server<'_>) -> Result<RestsOn, OAuthError> {
        Ok(RestsOn {
            client: asking.client_proof(server)?,
            registration: match self {
                Self::Instance(_) | Self::Workload(_) => None,
                Self::Claimant(claimant, _) => claimant.registration(),
            },
        })
    }
}

/// Reads a token that is shown beside the request: ours, and worth something now.
fn shown(
    server: Server<'_>,
    asking: &Asking<'_>,
    (name, kind): (&'static str, &'static str),
) -> Result<Option<LiveToken>, OAuthError> {
    let given = asking.form.get(kind);
    let Some(text) = asking.form.get(name) else {
        return match given {
            None => Ok(None),
            Some(_) => Err(OAuthError::request(format!(
                "`{kind}` stands without `{name}`; send both"
            ))),
        };
    };
    if given.is_none() {
        return Err(OAuthError::request(format!(
            "parameter `{kind}` is missing; it is {ACCESS_TOKEN}"
        )));
    }
    only_access_tokens(given, kind)?;
    let now = (server.control.clock)().now;
    server.live_token(text, now)?.map(Some).ok_or_else(|| {
        OAuthError::request(format!(
            "`{name}` is worth nothing: it is no access token of this server, expired, was given up, or its task has ended"
        ))
    })
}

fn only_access_tokens(kind: Option<&str>, name: &str) -> Result<(), OAuthError> {
    if kind.is_none_or(|it| it == ACCESS_TOKEN) {
        return Ok(());
    }
    Err(OAuthError::request(format!(
        "`{name}` must be {ACCESS_TOKEN}"
    )))
}

/// RFC 8693 §2.2.2: whatever is not acceptable by policy is an invalid request.
fn refused(refusal: ExchangeRefusal) -> OAuthError {
    match refusal {
        ExchangeRefusal::Step(Refusal::Denied { denied, .. }) => OAuthError::request(format!(
            "{}: {} ({})",
            denied.reason.code(),
            denied.reason.for_agent(),
            denied.decision
        )),
        ExchangeRefusal::Step(
            Refusal::NotFound(what) | Refusal::Invalid(what) | Refusal::Conflict(what),
        ) => OAuthError::request(what),
        ExchangeRefusal::Step(Refusal::Failed(error)) => error.into(),
        ExchangeRefusal::Token(error) => OAuthError::refused(error),
    }
}
