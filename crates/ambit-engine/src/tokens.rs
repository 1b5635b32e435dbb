//! Tokens: issued, refreshed, given up. What they carry is looked up in the fold at every use.
//!
//! Each is one turn of the sequencer: it looks whether the task is live and writes the record; only then is anything
//! signed. After the end of a task in the log nothing is issued under it.

mod issue;
mod refresh;

pub(crate) use self::issue::{first, gives};
use self::refresh::{Origin, Shown};

use std::sync::Arc;

use ambit_core::{
    ClientName, Digest, Millis, Reason, TaskId, Timestamp, TokenId,
    delegation::Part,
    json::Value,
    task::{End, Task, TaskState},
    token::{Grant, IssuedToken, KeyBinding, Reach, RestsOn, TokenEnd},
};
use ambit_identity::{Claimant, Ground, InstanceCaller, token::assertion::ProvedWorkload};
use ambit_policy::{CallerToken, PartProblem, TemplateStanding};

use crate::{
    Claim, EngineError, Handle, Moment, TokenEntry, TokenUse, desk::Desk, live::Live,
    moment::Chance,
};

/// By what evidence somebody asks for a token of a task.
#[derive(Debug)]
pub enum TokenBy<'a> {
    /// The instance that serves the task, by its certificate.
    Instance(&'a InstanceCaller),
    /// The instance that serves the task, by a JWT-SVID for this server alone.
    Workload(&'a ProvedWorkload),
    /// Somebody to whom the task was given.
    Leave(ClientLeave),
}

/// Leave to have the tokens of one task, once. Made by [`Handle::consent`] and by a claim.
///
/// ```compile_fail,E0451
/// fn forge(task: ambit_core::TaskId) {
///     let _ = ambit_engine::ClientLeave { task };
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ClientLeave {
    task: TaskId,
}

/// What a claimant got who asks for tokens.
#[derive(Debug)]
pub enum ClaimedTokens {
    /// Leave to have the tokens of this task: the one that waited for it, or its live one.
    Leave(ClientLeave),
    /// Nothing: it is the instance of a live task of another agent.
    OtherAgent,
    /// Nothing: no live task waits for it.
    NothingWaits,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct TokenAsk {
    /// Who asks (`client_id`), proved; none when that is the instance which serves the task.
    pub client: Option<String>,
    /// The one place where the token shall be used.
    pub audience: String,
    /// The key that its presenter must hold, proved.
    pub binding: KeyBinding,
    /// How long it shall live at most.
    pub ttl: Millis,
    /// Whether there shall be a refresh token beside it.
    pub refreshable: Refreshable,
    /// How it was asked for.
    pub grant: Grant,
    /// The token that is exchanged for it.
    pub parent: Option<TokenId>,
    /// What it shall carry of the task, as authorization details (RFC 9396); the whole when nothing is said.
    pub details: Option<Value>,
    /// What the estate must say for it, now and at every use.
    pub rests_on: RestsOn,
}

/// Whether there shall be a refresh token beside an access token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refreshable {
    /// There shall.
    Yes,
    /// There shall not.
    No,
}

/// A refresh token that is shown.
#[derive(Clone, Debug)]
pub struct RefreshAsk {
    /// Its text.
    pub text: String,
    /// Who shows it.
    pub client: String,
    /// How they showed to be that client.
    pub shown: ClientShown,
    /// The key that they prove to hold.
    pub binding: KeyBinding,
    /// What they showed as a client of the estate; see [`RestsOn::client`].
    pub client_proof: Option<Digest>,
    /// How long the access token shall live at most.
    pub ttl: Millis,
    /// The place for which it is asked; the one of the grant when none is named.
    pub audience: Option<String>,
}

/// How a client that shows a refresh token showed who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientShown {
    /// It authenticated. Its refresh tokens are bound to it by that, and it may have another key by now (RFC 8705 §4,
    /// RFC 9449 §5).
    Proved,
    /// It only said so. Its refresh tokens are bound to the key for which they were issued.
    Named,
}

/// Leave to sign one access token. Made only once its record is durable.
#[derive(Clone, Debug)]
pub struct TokenGrant {
    pub(crate) task: Arc<Task>,
    pub(crate) details: Arc<Value>,
    pub(crate) line: Vec<Arc<Task>>,
    pub(crate) access: IssuedToken,
    pub(crate) refresh: Option<String>,
}

/// Where a token stands now.
#[derive(Clone, Debug)]
pub enum TokenStanding {
    /// It is worth what its task is worth.
    Live(Box<IssuedToken>, Arc<Task>),
    /// It is worth nothing: unknown, over, spent, revoked, or its task has ended.
    Over,
}

/// What the access token is worth by which somebody comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presented {
    /// As much as its task; also when that has ended.
    AsItsTask,
    /// Nothing, though its task lives, and why: it was given up, or was never issued, or the estate does not give it any
    /// more. Another one can be had.
    Nothing(Reason),
}

/// No token is issued.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// No live task stands behind whoever asks.
    #[error(
        "no live task stands behind this; it has ended, or was never started: start one with `ambit task start`"
    )]
    NoTask,
    /// The task has too many live tokens.
    #[error(
        "the task has {max} live tokens, the most there may be; use those, or wait until one expires"
    )]
    TooMany {
        /// How many it has.
        max: usize,
    },
    /// The estate in force lets nobody do anything within the task.
    #[error(
        "nothing can be done within the task as the estate stands: {0}; it may be given back by another estate"
    )]
    Narrowed(Reason),
    /// The refresh token is unknown or over.
    #[error(
        "the refresh token is not valid: it expired, was revoked, or its task has ended; ask the person again"
    )]
    Unknown,
    /// The refresh token was spent before.
    #[error(
        "the refresh token was used before, so two hold it: all that came of it is revoked; ask the person again"
    )]
    Reused,
    /// The token is another client's.
    #[error("the token was issued to another client")]
    OtherClient,
    /// The key is another one.
    #[error("the token is bound to another key; prove the one for which it was issued")]
    OtherKey,
    /// The place is another one.
    #[error("the grant is for `{0}`; ask for that, or for nothing")]
    OtherAudience(String),
    /// The estate does not give the client tokens of this agent.
    #[error(
        "the estate gives client `{client}` no tokens of tasks of agent `{agent}`; add it to `agents` in `clients/{client}.toml`"
    )]
    OtherAgent {
        /// The client.
        client: String,
        /// The task's agent.
        agent: ambit_core::AgentName,
    },
    /// The estate does not say any more what the token rests upon.
    #[error(
        "the estate does not say any more that `{client}` is who it proved to be: it was taken out, or its keys or what it \
         runs are others now; prove yourself by what `ambit plan` shows, or ask the person again"
    )]
    Withdrawn {
        /// The client.
        client: String,
    },
    /// What it should carry is no part of the task.
    #[error(transparent)]
    Details(#[from] PartProblem),
    /// The task takes no token that is bound to no key.
    #[error(
        "this task takes no token that is bound to no key; send a DPoP proof (RFC 9449), or ask its owner for `binding` in the template"
    )]
    NoBearer,
    /// The engine could not answer.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

impl Handle {
    /// Issues an access token under the live task of whoever asks, and a refresh token where that is wanted.
    ///
    /// # Errors
    /// [`TokenRefusal`] when no live task stands behind, when it has too many tokens, or asks for them too fast.
    pub async fn issue_token(
        &self,
        by: TokenBy<'_>,
        ask: TokenAsk,
        moment: Moment,
    ) -> Result<TokenGrant, TokenRefusal> {
        self.shared.running()?;
        let found = self.task_behind(&by)?;
        let (mut chance, shared) = (Chance::new(moment.chance), self.shared.clone());
        let issued = self.turn(move |desk| {
            let result = issue::first(desk, found, ask, (&mut chance, &shared));
            Box::new(move |committed| committed.map_err(TokenRefusal::Failed).and(result))
        });
        issued.await?
    }

    /// Spends a refresh token for the next pair. One that was spent before ends its family, on the record.
    ///
    /// # Errors
    /// [`TokenRefusal`] when it is not valid, or not of this client and key.
    pub async fn refresh_token(
        &self,
        ask: RefreshAsk,
        moment: Moment,
    ) -> Result<TokenGrant, TokenRefusal> {
        self.shared.running()?;
        let (mut chance, shared) = (Chance::new(moment.chance), self.shared.clone());
        let issued = self.turn(move |desk| {
            let result = issue::next(desk, &ask, (&mut chance, &shared));
            Box::new(move |committed| committed.map_err(TokenRefusal::Failed).and(result))
        });
        issued.await?
    }

    /// Gives up a token of `client`: an access token alone, or a refresh token with all that came of its grant. What is
    /// unknown or over already stays so.
    ///
    /// # Errors
    /// [`TokenRefusal::OtherClient`] when it is not the client's.
    pub async fn give_up_token(
        &self,
        client: &str,
        token: TokenId,
        reach: Reach,
    ) -> Result<(), TokenRefusal> {
        self.end_token(client.to_owned(), token, reach, TokenEnd::Revoked)
            .await
    }

    /// Ends all that came of an authorization code which `client` showed a second time: the family of tokens of that task
    /// which began with that one, whatever became of the first.
    ///
    /// # Errors
    /// [`TokenRefusal::OtherClient`] when it is not the client's.
    pub async fn code_replayed(
        &self,
        client: &str,
        (task, family): (TaskId, TokenId),
    ) -> Result<(), TokenRefusal> {
        self.shared.running()?;
        let client = client.to_owned();
        let ended = self.turn(move |desk| {
            let result = match desk.live.state.of_family(task, family) {
                None => Ok(()),
                Some(token) => {
                    let ends = (Reach::Family, TokenEnd::CodeReplayed);
                    issue::end(desk, &client, token, ends)
                }
            };
            Box::new(move |committed| committed.map_err(TokenRefusal::Failed).and(result))
        });
        ended.await?
    }

    /// Ends the family of a refresh token that is shown by its text.
    pub async fn give_up_refresh(&self, client: &str, text: &str) -> Result<(), TokenRefusal> {
        let Some(shown) = Shown::read(text) else {
            return Ok(());
        };
        let (custody, client) = (self.shared.custody.clone(), client.to_owned());
        let ended = self.turn(move |desk| {
            let result = issue::give_up(desk, custody.as_ref(), &client, &shown);
            Box::new(move |committed| committed.map_err(TokenRefusal::Failed).and(result))
        });
        ended.await?
    }

    async fn end_token(
        &self,
        client: String,
        token: TokenId,
        reach: Reach,
        end: TokenEnd,
    ) -> Result<(), TokenRefusal> {
        let ended = self.turn(move |desk| {
            let result = issue::end(desk, &client, token, (reach, end));
            Box::new(move |committed| committed.map_err(TokenRefusal::Failed).and(result))
        });
        ended.await?
    }

    /// Says what the access token is worth now by which `caller` comes. Without one, as much as the task.
    pub fn presented(
        &self,
        caller: &InstanceCaller,
        now: Timestamp,
    ) -> Result<Presented, EngineError> {
        Ok(self.shared.read()?.presented(caller, now))
    }

    /// Says where a token stands now.
    pub fn token(&self, id: TokenId, now: Timestamp) -> Result<TokenStanding, EngineError> {
        let live = self.shared.read()?;
        Ok(live.token_standing(id, now))
    }

    /// Returns what was issued under this name, whatever it is worth now, as long as it is kept.
    pub fn issued_token(&self, id: TokenId) -> Result<Option<Box<IssuedToken>>, EngineError> {
        let live = self.shared.read()?;
        let entry = live.state.token(id);
        Ok(entry.map(|it| Box::new(it.token.clone())))
    }

    /// Says where a refresh token stands now, by its text.
    pub fn refresh_standing(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<TokenStanding, EngineError> {
        let live = self.shared.read()?;
        let Some(shown) = Shown::read(text) else {
            return Ok(TokenStanding::Over);
        };
        Ok(match live.token_standing(shown.token, now) {
            TokenStanding::Live(token, task) if shown.is_of(&token) == Origin::Ours => {
                TokenStanding::Live(token, task)
            }
            TokenStanding::Live(..) | TokenStanding::Over => TokenStanding::Over,
        })
    }

    /// Claims a task as [`Handle::claim`] does, for whoever wants its tokens.
    ///
    /// # Errors
    /// Nothing could be written.
    pub async fn claim_tokens(&self, claimant: Claimant) -> Result<ClaimedTokens, EngineError> {
        Ok(match self.claim(claimant).await? {
            Claim::New(task) | Claim::Known(task) => {
                ClaimedTokens::Leave(ClientLeave { task: task.id })
            }
            Claim::OtherAgent => ClaimedTokens::OtherAgent,
            Claim::NothingWaits => ClaimedTokens::NothingWaits,
        })
    }

    /// Finds the task that stands behind whoever asks. Whether it is live is looked at in the turn.
    fn task_behind(&self, by: &TokenBy<'_>) -> Result<TaskId, TokenRefusal> {
        let spiffe_id = match by {
            TokenBy::Instance(caller) => caller.spiffe_id(),
            TokenBy::Workload(proved) => proved.spiffe_id(),
            TokenBy::Leave(leave) => return Ok(leave.task),
        };
        let (_, instance) = spiffe_id.as_instance().ok_or(TokenRefusal::NoTask)?;
        let live = self.shared.read()?;
        let task = live.state.instances.get(&instance);
        let entry = task.and_then(|it| live.state.task(*it));
        // The name says the trust domain and the agent, too: one of another domain is none of ours.
        let entry = entry.filter(|it| it.task.spiffe_id == *spiffe_id);
        entry.map(|it| it.task.id).ok_or(TokenRefusal::NoTask)
    }
}

impl ClientLeave {
    pub(crate) const fn of(task: TaskId) -> Self {
        Self { task }
    }
}

impl TokenGrant {
    /// Returns the task, with its parameters.
    pub const fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Returns what the token carries of the task's authority, as authorization details (RFC 9396).
    pub fn carried(&self) -> Arc<Value> {
        match &self.access.part {
            None => self.details.clone(),
            Some(part) => Arc::new(ambit_policy::token_details(&self.details, part)),
        }
    }

    /// Returns the task's authority as authorization details (RFC 9396).
    pub const fn authorization_details(&self) -> &Arc<Value> {
        &self.details
    }

    /// Returns the task and each one above it, itself first: who acts, then in whose stead.
    pub fn line(&self) -> &[Arc<Task>] {
        &self.line
    }

    /// Returns the last of the line: the task that a person started.
    pub fn root(&self) -> &Arc<Task> {
        self.line.last().unwrap_or(&self.task)
    }

    /// Returns what is to be signed.
    pub const fn access(&self) -> &IssuedToken {
        &self.access
    }

    /// Returns the text of the refresh token, when there is one.
    pub fn refresh(&self) -> Option<&str> {
        self.refresh.as_deref()
    }
}

impl Live {
    /// Says what the access token is worth as of `now` by which `caller` came. Without one, as much as the task. That the
    /// token's time has come is asked elsewhere.
    pub(crate) fn presented(&self, caller: &InstanceCaller, now: Timestamp) -> Presented {
        let Some(claim) = caller.token() else {
            return Presented::AsItsTask;
        };
        let task = self.state.instances.get(&caller.instance());
        // With a task end its tokens, and what is told is that it ended.
        if task.is_none_or(|it| self.acting(*it, now).is_err()) {
            return Presented::AsItsTask;
        }
        // Every token that the authorization server issues is named so; another name was never in the log.
        let id = claim.token_id.parse::<TokenId>();
        // Nor is a token of one task worth anything in the name of the run of another.
        let id = id.ok().filter(|_| task == Some(&claim.task));
        let entry = id.and_then(|it| self.state.token(it));
        let entry = entry.filter(|it| it.token.task == claim.task);
        match entry.map_or(Err(Reason::TokenGivenUp), |it| self.stands(it)) {
            Ok(()) => Presented::AsItsTask,
            Err(reason) => Presented::Nothing(reason),
        }
    }

    /// Says whether a token was neither spent nor withdrawn: the estate in force would give it again. That its time has
    /// come is asked elsewhere.
    ///
    /// # Errors
    /// Why it is worth nothing.
    pub(crate) fn stands(&self, entry: &TokenEntry) -> Result<(), Reason> {
        let token = &entry.token;
        if entry.standing == TokenUse::Spent {
            return Err(Reason::TokenGivenUp);
        }
        let task = self.state.task(token.task).ok_or(Reason::TaskUnknown)?;
        let given = self.gives(&task.task, &token.client, &token.rests_on);
        given.map_err(|_| Reason::TokenWithdrawn)
    }

    /// Refuses what the estate in force does not give: a declared client the tokens of another agent, anybody a token that
    /// rests upon what the estate does not say any more.
    pub(crate) fn gives(
        &self,
        task: &Task,
        client: &str,
        rests_on: &RestsOn,
    ) -> Result<(), TokenRefusal> {
        let withdrawn = || TokenRefusal::Withdrawn {
            client: client.to_owned(),
        };
        if let Ok(name) = client.parse::<ClientName>() {
            let book = self.book()?;
            let declared = book.estate().clients.get(&name).ok_or_else(withdrawn)?;
            if !declared.agents.contains(&task.agent) {
                return Err(TokenRefusal::OtherAgent {
                    client: client.to_owned(),
                    agent: task.agent.clone(),
                });
            }
            // One that showed nothing is worth nothing.
            rests_on.client.ok_or_else(withdrawn)?;
        }
        match self.grounds.hold(rests_on) {
            Ground::Stands => Ok(()),
            Ground::Gone => Err(withdrawn()),
        }
    }

    /// Says whether anything can still be done within a task that is active: whether the estate in force lets its person
    /// have it done, and its agent do it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn lets(&self, task: TaskId) -> Result<(), TokenRefusal> {
        self.subject(task).map_err(TokenRefusal::Narrowed)?;
        let runtime = self.runtime.get(&task).ok_or(TokenRefusal::NoTask)?;
        let scope = runtime.scope(&*self.book()?)?;
        match scope.template() {
            TemplateStanding::InForce => Ok(()),
            TemplateStanding::Withdrawn => Err(TokenRefusal::Narrowed(Reason::TemplateWithdrawn)),
        }
    }

    /// Says what the access token is worth as of `now` by which `caller` came, for what takes the whole of a task.
    pub(crate) fn caller_token(&self, caller: &InstanceCaller, now: Timestamp) -> CallerToken {
        if caller.token().is_none() {
            return CallerToken::Whole;
        }
        match self.presented(caller, now) {
            Presented::Nothing(reason) => CallerToken::Nothing(reason),
            Presented::AsItsTask if caller.expires_at() <= now => {
                CallerToken::Nothing(Reason::TokenExpired)
            }
            Presented::AsItsTask => match self.carried(caller) {
                Some(_) => CallerToken::Narrowed,
                None => CallerToken::Whole,
            },
        }
    }

    /// Returns what the access token by which `caller` came carries of its task, when that is not the whole.
    pub(crate) fn carried(&self, caller: &InstanceCaller) -> Option<Arc<Part>> {
        let id = caller.token()?.token_id.parse::<TokenId>().ok()?;
        self.state.token(id)?.token.part.clone()
    }

    fn token_standing(&self, id: TokenId, now: Timestamp) -> TokenStanding {
        let Some(entry) = self.state.token(id) else {
            return TokenStanding::Over;
        };
        let good = self.stands(entry).is_ok() && entry.token.expires_at > now;
        let good = good && self.lets(entry.token.task).is_ok();
        let task = self.acting(entry.token.task, now);
        match task {
            Ok(task) if good => TokenStanding::Live(Box::new(entry.token.clone()), task),
            Ok(_) | Err(_) => TokenStanding::Over,
        }
    }

    /// Returns the task when it is live as of `now`.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn acting(&self, id: TaskId, now: Timestamp) -> Result<Arc<Task>, Reason> {
        let entry = self.state.task(id).ok_or(Reason::TaskUnknown)?;
        let runtime = self.runtime.get(&id).ok_or(Reason::TaskEnded)?;
        match entry.state.standing(entry.task.expires_at, now) {
            TaskState::Active => Ok(runtime.task.clone()),
            TaskState::Ended(End::Expired) => Err(Reason::TaskExpired),
            TaskState::Ended(
                End::Completed | End::Cancelled | End::Revoked | End::Unregistered,
            ) => Err(Reason::TaskEnded),
        }
    }
}

impl Desk<'_> {
    /// Returns the task when it is live as of this batch.
    fn acting(&self, id: TaskId) -> Result<Arc<Task>, TokenRefusal> {
        let acting = self.live.acting(id, self.at());
        acting.map_err(|_| TokenRefusal::NoTask)
    }
}
