//! People in front of browsers: who they are, by the word of the organisation's OpenID provider, or by their passkeys.
//!
//! - [`Provider`]: the provider, asked by whoever starts and ends a sign-in.
//! - [`Sessions`]: who signed in, for a short while, in memory alone.
//! - `page`: pages without scripts, on which whatever others wrote is only text.
//!
//! A session proves who somebody is, as the operating system does on the local socket. What that person may do is asked
//! of the estate in force at every act.

pub(crate) mod page;
mod provider;
mod session;

use ambit_identity::passkey::RelyingParty;

pub use self::{
    provider::{
        Ask, Fetch, Fetched, Fetching, PROVIDER_ANSWER_BYTES_MAX, Provider, ProviderConfig,
        REDEMPTIONS_MAX, SignInError,
    },
    session::{
        NoSession, SESSION_TTL, SESSIONS_MAX, SESSIONS_PER_PERSON_MAX, Session, Sessions,
        SessionsFull,
    },
};

/// Where people sign in.
#[derive(Clone, Debug)]
pub enum SignIns {
    /// Nowhere: people come by the local socket alone.
    Nowhere,
    /// At this provider.
    At(std::sync::Arc<Provider>),
    /// Here, with passkeys that are bound to this host.
    WithPasskeys(RelyingParty),
}
