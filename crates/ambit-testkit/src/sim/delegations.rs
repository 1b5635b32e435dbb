//! How a simulation gives parts of tasks away, takes them, takes them back, and asks for tokens.

use std::future::Future;

use ambit_core::{
    DelegationId, Digest, InstanceId, TaskId, json,
    limits::ACCESS_TOKEN_TTL,
    task::Contained,
    token::{Grant, KeyBinding, RestsOn},
};
use ambit_engine::{
    Delegate, DelegateTask, Delegator, ExchangeRefusal, Refreshable, Refusal, TokenAsk, TokenBy,
    TokenRefusal,
};
use ambit_identity::{InstanceCaller, token::access::AccessToken};
use ambit_policy::PartAsk;

use super::{
    Simulation,
    laws::Broken,
    running::{Done, Trouble},
};

impl Simulation {
    /// Takes one step of a delegation, or asks for a token.
    pub(super) fn hand_down(&mut self) -> Result<(), Broken> {
        match self.chance.below(15) {
            0..6 => self.pass_on(),
            6..8 => self.delegate(),
            8..10 => self.exchange(),
            10 => self.withdraw(),
            11..13 => self.exchange_token(),
            _ => self.token(),
        }
    }

    /// Gives a part of a live task away and takes it, while something may be revoked.
    fn pass_on(&mut self) -> Result<(), Broken> {
        let live = self.agents.iter().rev();
        let mut live = live.filter(|it| !self.laws.is_over(it.task.id, None));
        let (giver, taker) = (live.next(), live.next());
        let Some(giver) = giver.map(|it| (it.task.id, it.caller.clone())) else {
            return Ok(());
        };
        let taker = taker.map(|it| (it.task.instance, it.caller.clone()));
        let taker = taker.filter(|_| self.chance.below(2) == 0);
        let to = taker.as_ref().map(|(_, it)| it.agent().to_string());
        let to = to.unwrap_or_else(|| "helper".to_owned());
        let details = self.one_of(&[PARTS[0], PARTS[1], PARTS[3]]);
        let ask = part(giver.0, &to, details, 1);
        if taker.is_some() {
            self.token_of(giver.1.clone())?;
        }
        self.give(None, giver, ask)?;
        self.settle()?;
        let Some(delegation) = self.delegations.last().copied() else {
            return Ok(());
        };
        if self.chance.below(3) == 0 {
            self.revoke()?;
        }
        match (taker, self.tokens.last().cloned()) {
            (Some((_, taker)), Some(subject)) => self.take_by_token(taker, (delegation, subject)),
            (taker, _) => self.take(Some("ana").filter(|_| taker.is_none()), delegation),
        }
    }

    fn delegate(&mut self) -> Result<(), Broken> {
        let person = self.one_of(&[None, None, Some("ana"), Some("eve")]);
        let to = self.one_of(&["helper", "archivist", "clerk", "scribe"]);
        let details = self.one_of(&PARTS);
        let depth_left = self.pick(3) as u8;
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let giver = (agent.task.id, agent.caller.clone());
        let ask = part(giver.0, to, details, depth_left);
        self.give(person, giver, ask)
    }

    fn give(
        &mut self,
        person: Option<&str>,
        (task, caller): (TaskId, InstanceCaller),
        ask: DelegateTask,
    ) -> Result<(), Broken> {
        self.note(
            "delegate",
            format_args!("{task} to {} by {person:?}", ask.to),
        );
        let moment = self.machine.clock.moment();
        if let Some(alias) = person {
            let person = self.machine.site.person(alias);
            return self.launch(|handle| async move {
                let by = Delegator::Person(&person);
                let given = handle.delegate(by, ask, moment).await?;
                Ok(Done::Delegated(given.id))
            });
        }
        self.by_instance(caller.instance(), |handle| async move {
            let by = Delegator::Instance(&caller);
            let given = handle.delegate(by, ask, moment).await?;
            Ok(Done::Delegated(given.id))
        })
    }

    fn exchange(&mut self) -> Result<(), Broken> {
        let person = self.one_of(&[None, Some("ana"), Some("ana"), Some("cat")]);
        let Some(delegation) = self.newest_delegation() else {
            return Ok(());
        };
        self.take(person, delegation)
    }

    fn take(&mut self, person: Option<&str>, delegation: DelegationId) -> Result<(), Broken> {
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let (instance, caller) = (agent.task.instance, agent.caller.clone());
        self.note("exchange", format_args!("{delegation} by {person:?}"));
        let contained = Contained::Namespaces;
        let moment = self.machine.clock.moment();
        if let Some(alias) = person {
            let person = self.machine.site.person(alias);
            return self.launch(|handle| async move {
                let by = Delegate::Runner(&person);
                let started = handle.exchange(by, delegation, contained, moment).await?;
                Ok(Done::Exchanged(Box::new(started)))
            });
        }
        self.by_instance(instance, |handle| async move {
            let by = Delegate::Instance(&caller);
            let started = handle.exchange(by, delegation, contained, moment).await?;
            Ok(Done::Exchanged(Box::new(started)))
        })
    }

    fn withdraw(&mut self) -> Result<(), Broken> {
        let alias = self.one_of(&["ana", "ana", "cat", "eve"]);
        let Some(delegation) = self.newest_delegation() else {
            return Ok(());
        };
        self.note("withdraw", format_args!("{delegation} by {alias}"));
        let person = self.machine.site.person(alias);
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let by = Delegator::Person(&person);
            let back = handle.withdraw(by, delegation, moment).await?;
            Ok(Done::Withdrawn(back))
        })
    }

    /// Exchanges a delegation and a token, which may be no pair.
    fn exchange_token(&mut self) -> Result<(), Broken> {
        let delegation = self.newest_delegation();
        let newest = self.tokens.len().min(NEWEST);
        let back = 1 + self.pick(newest.max(1) as u64);
        let place = self.tokens.len().checked_sub(back);
        let subject = place.and_then(|it| self.tokens.get(it).cloned());
        let caller = self.agent().map(|it| it.caller.clone());
        let (Some(delegation), Some(subject), Some(caller)) = (delegation, subject, caller) else {
            return Ok(());
        };
        self.take_by_token(caller, (delegation, subject))
    }

    fn take_by_token(
        &mut self,
        caller: InstanceCaller,
        (delegation, subject): (DelegationId, AccessToken),
    ) -> Result<(), Broken> {
        let ask = self.wanted(&caller);
        let instance = caller.instance();
        self.note("exchange token", format_args!("{delegation} by {instance}"));
        let moment = self.machine.clock.moment();
        self.by_instance(instance, |handle| async move {
            let by = Delegate::Instance(&caller);
            let shown = (delegation, &subject);
            match handle.exchange_token(by, shown, ask, moment).await {
                Ok(granted) => Ok(Done::ExchangedToken(Box::new(granted))),
                Err(ExchangeRefusal::Step(refusal)) => Err(refusal),
                Err(ExchangeRefusal::Token(TokenRefusal::Failed(error))) => Err(error.into()),
                Err(ExchangeRefusal::Token(refusal)) => Err(Refusal::Invalid(refusal.to_string())),
            }
        })
    }

    fn newest_delegation(&mut self) -> Option<DelegationId> {
        let newest = self.delegations.len().min(NEWEST);
        let back = 1 + self.pick(newest.max(1) as u64);
        let place = self.delegations.len().checked_sub(back)?;
        self.delegations.get(place).copied()
    }

    /// Asks for an access token of a task, live or not.
    fn token(&mut self) -> Result<(), Broken> {
        let caller = self.agent().map(|it| it.caller.clone());
        caller.map_or(Ok(()), |it| self.token_of(it))
    }

    fn token_of(&mut self, caller: InstanceCaller) -> Result<(), Broken> {
        let ask = self.wanted(&caller);
        self.note("token", caller.instance());
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let issued = handle.issue_token(TokenBy::Instance(&caller), ask, moment);
            match issued.await {
                Ok(issued) => Ok(Done::Token(Box::new(issued))),
                Err(TokenRefusal::Failed(error)) => Err(Trouble::Engine(error)),
                Err(_) => Err(Trouble::Invalid),
            }
        })
    }

    /// Returns the token that is asked for.
    fn wanted(&mut self, caller: &InstanceCaller) -> TokenAsk {
        TokenAsk {
            client: Some(caller.spiffe_id().to_string()),
            audience: "https://127.0.0.1:1/mcp".to_owned(),
            binding: KeyBinding::Dpop {
                thumbprint: Digest::of(&self.chance.next().to_be_bytes()),
            },
            ttl: ACCESS_TOKEN_TTL,
            refreshable: Refreshable::No,
            grant: Grant::ClientCredentials,
            parent: None,
            details: None,
            rests_on: RestsOn::default(),
        }
    }

    /// Asks for what an agent may be refused: the refusal is in the log, unless there were a flood of them.
    fn by_instance<F>(
        &mut self,
        instance: InstanceId,
        ask: impl FnOnce(ambit_engine::Handle) -> F,
    ) -> Result<(), Broken>
    where
        F: Future<Output = Result<Done, Refusal>> + 'static,
    {
        *self.asked.entry(instance).or_insert(0) += 1;
        self.launch(|handle| {
            let asked = ask(handle);
            async move {
                match asked.await {
                    Err(Refusal::Denied { denied, .. }) => {
                        Ok(Done::Refused(instance, denied.decision))
                    }
                    answer => Ok(answer?),
                }
            }
        })
    }
}

fn part(task: TaskId, to: &str, details: &str, depth_left: u8) -> DelegateTask {
    let details = json::parse(details.as_bytes()).expect("details");
    DelegateTask {
        task,
        to: to.parse().expect("a name"),
        spiffe_id: None,
        part: PartAsk::from_details(&details).expect("a part"),
        ttl: None,
        depth_left,
    }
}

/// How many of the newest delegations are used.
const NEWEST: usize = 4;

/// What is given away: something, more than there is, and little.
const PARTS: [&str; 4] = [
    r#"[{"type":"ambit_task","server":"tickets","datatypes":["tools","resources","prompts"]},
        {"type":"ambit_task","server":"tickets","actions":["close_ticket","send_reply","refund"]}]"#,
    r#"[{"type":"ambit_task","server":"tickets","actions":["close_ticket","send_reply"]}]"#,
    r#"[{"type":"ambit_task","server":"tickets","actions":["delete_ticket"]}]"#,
    r#"[{"type":"ambit_task","calls_max":3,"may_emit":[]},
        {"type":"ambit_task","server":"tickets","datatypes":["tools"]},
        {"type":"ambit_task","server":"tickets","actions":["refund"],"calls_max":1}]"#,
];
