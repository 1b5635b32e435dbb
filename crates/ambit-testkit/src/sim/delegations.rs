//! How a simulation gives parts of tasks away, takes them, takes them back, and asks for tokens.

use std::future::Future;

use ambit_core::{
    Digest, InstanceId, json,
    limits::ACCESS_TOKEN_TTL,
    task::Contained,
    token::{Grant, KeyBinding},
};
use ambit_engine::{
    Delegate, DelegateTask, Delegator, Refreshable, Refusal, TokenAsk, TokenBy, TokenRefusal,
};
use ambit_policy::PartAsk;

use super::{
    Simulation,
    laws::Broken,
    running::{Done, Trouble},
};

impl Simulation {
    /// Takes one step of a delegation, or asks for a token.
    pub(super) fn hand_down(&mut self) -> Result<(), Broken> {
        match self.chance.below(10) {
            0..4 => self.delegate(),
            4..8 => self.exchange(),
            8 => self.withdraw(),
            _ => self.token(),
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
        let (task, instance, caller) = (agent.task.id, agent.task.instance, agent.caller.clone());
        self.note("delegate", format_args!("{task} to {to} by {person:?}"));
        let details = json::parse(details.as_bytes()).expect("details");
        let ask = DelegateTask {
            task,
            to: to.parse().expect("a name"),
            spiffe_id: None,
            part: PartAsk::from_details(&details).expect("a part"),
            ttl: None,
            depth_left,
        };
        let moment = self.machine.clock.moment();
        if let Some(alias) = person {
            let person = self.machine.site.person(alias);
            return self.launch(|handle| async move {
                let by = Delegator::Person(&person);
                let given = handle.delegate(by, ask, moment).await?;
                Ok(Done::Delegated(given.id))
            });
        }
        self.by_instance(instance, |handle| async move {
            let by = Delegator::Instance(&caller);
            let given = handle.delegate(by, ask, moment).await?;
            Ok(Done::Delegated(given.id))
        })
    }

    fn exchange(&mut self) -> Result<(), Broken> {
        let person = self.one_of(&[None, Some("ana"), Some("ana"), Some("cat")]);
        let newest = self.delegations.len().min(NEWEST);
        let back = 1 + self.pick(newest.max(1) as u64);
        let place = self.delegations.len().checked_sub(back);
        let Some(delegation) = place.and_then(|it| self.delegations.get(it).copied()) else {
            return Ok(());
        };
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
        let newest = self.delegations.len().min(NEWEST);
        let back = 1 + self.pick(newest.max(1) as u64);
        let place = self.delegations.len().checked_sub(back);
        let Some(delegation) = place.and_then(|it| self.delegations.get(it).copied()) else {
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

    /// Asks for an access token of a task, live or not.
    fn token(&mut self) -> Result<(), Broken> {
        let thumbprint = Digest::of(&self.chance.next().to_be_bytes());
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let (instance, caller) = (agent.task.instance, agent.caller.clone());
        self.note("token", instance);
        let ask = TokenAsk {
            client: caller.spiffe_id().to_string(),
            audience: "https://127.0.0.1:1/mcp".to_owned(),
            binding: KeyBinding::Dpop { thumbprint },
            ttl: ACCESS_TOKEN_TTL,
            refreshable: Refreshable::No,
            grant: Grant::ClientCredentials,
            parent: None,
            details: None,
        };
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let issued = handle.issue_token(TokenBy::Instance(&caller), ask, moment);
            match issued.await {
                Ok(issued) => Ok(Done::Token(issued.access().id)),
                Err(TokenRefusal::Failed(error)) => Err(Trouble::Engine(error)),
                Err(_) => Err(Trouble::Invalid),
            }
        })
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
