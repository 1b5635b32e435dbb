//! What a simulation does: each step is drawn from chance.

use ambit_core::{
    ApprovalId, DecisionId, Digest, Labels, Millis, ServerName, SvidKind,
    act::{Act, Listing, Target},
    json::Value,
    record::{Settlement, Status, Verdict},
    task::{Contained, End},
};
use ambit_engine::{Effect, Ender, StartTask};

use super::{
    Agent, Asking, Simulation,
    laws::{Broken, ensure},
    running::Done,
};

impl Simulation {
    /// Takes one step.
    pub(super) fn draw(&mut self) -> Result<(), Broken> {
        if self.machine.disk.is_off() {
            return self.crash();
        }
        match self.chance.below(100) {
            0..6 => self.start(),
            6..22 => self.ask(),
            22..32 => self.ask_again(),
            32..42 => self.verdict(),
            42..54 => self.admit(),
            54..62 => self.perform(),
            62..64 => self.lose(),
            64..66 => self.revoke(),
            66 => self.reinstate(),
            67..69 => self.end(),
            69..71 => {
                let version = self.chance.below(self.machine.site.estates.count());
                self.apply(version)
            }
            71..75 => self.tick(),
            75..80 => self.turn_clock(),
            80..82 => self.certify(),
            82 => self.see(),
            83 => self.settle_act(),
            84 => self.flood(),
            85 => self.fuse(),
            86..88 => self.crash(),
            88..90 => self.waver(),
            90..92 => self.race(),
            92..97 => self.hand_down(),
            _ => self.settle(),
        }?;
        // What is launched together is decided on one snapshot and taken in one batch.
        if self.chance.below(3) == 0 {
            self.work()?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Broken> {
        let alias = self.one_of(&["ana", "ana", "ana", "cat"]);
        let agent = self.one_of(&["clerk", "clerk", "scribe"]);
        self.note("start", format_args!("{agent} for {alias}"));
        let person = self.machine.site.person(alias);
        let moment = self.machine.clock.moment();
        let ask = StartTask {
            template: "answer".parse().expect("a name"),
            agent: agent.parse().expect("a name"),
            parameters: [
                ("ticket".to_owned(), Value::from("T-1")),
                ("customer".to_owned(), Value::from("kim@example.org")),
            ]
            .into(),
            contained: Contained::Namespaces,
        };
        self.launch(|handle| async move {
            let started = handle.start_task(&person, ask, moment).await?;
            Ok(Done::Started(alias, Box::new(started)))
        })
    }

    fn ask(&mut self) -> Result<(), Broken> {
        let act = self.act();
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let (caller, instance) = (agent.caller.clone(), agent.task.instance);
        self.put((caller, instance, act))
    }

    /// Asks what was held: a human may have said yes meanwhile.
    fn ask_again(&mut self) -> Result<(), Broken> {
        let held = self.held();
        held.map_or(Ok(()), |(_, asking)| self.put(asking))
    }

    /// Returns one of the newest holds.
    fn held(&mut self) -> Option<(ApprovalId, Asking)> {
        let newest = self.approvals.len().min(3);
        let back = 1 + self.pick(newest as u64);
        let index = self.approvals.len().checked_sub(back)?;
        self.approvals.get(index).cloned()
    }

    fn put(&mut self, (caller, instance, act): Asking) -> Result<(), Broken> {
        *self.asked.entry(instance).or_insert(0) += 1;
        self.note(
            "ask",
            format_args!("{instance} {}", act.to_value().to_canonical()),
        );
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let answer = handle.decide(&caller, act.clone(), moment).await?;
            Ok(Done::Answered(Box::new(((caller, instance, act), answer))))
        })
    }

    fn act(&mut self) -> Act {
        let server: ServerName = self
            .one_of(&["tickets", "tickets", "tickets", "vault"])
            .parse()
            .expect("a name");
        let ticket = || Value::object([("id", "T-1".into())]);
        let cents = Value::Integer(1 + i64::from(self.chance.below(3) as u8));
        let refund = || Value::object([("id", "T-1".into()), ("cents", cents)]);
        let reply = |to: &str| Value::object([("to", to.into()), ("body", "it is mended".into())]);
        let (tool, arguments) = match self.chance.below(14) {
            0..3 => ("get_ticket", ticket()),
            3 => ("close_ticket", ticket()),
            4 => ("close_ticket", Value::object([("id", "T-2".into())])),
            5..7 => ("send_reply", reply("kim@example.org")),
            7 => ("send_reply", reply("mallory@example.net")),
            8..11 => ("refund", refund()),
            11 => ("delete_ticket", ticket()),
            12 => {
                let uri = "ticket://T-1".to_owned();
                return Act::ReadResource { server, uri };
            }
            _ => {
                let what = Listing::Prompts;
                return Act::List { server, what };
            }
        };
        Act::CallTool {
            server,
            tool: tool.parse().expect("a name"),
            arguments,
        }
    }

    fn verdict(&mut self) -> Result<(), Broken> {
        let Some((approval, _)) = self.held() else {
            return Ok(());
        };
        let alias = self.one_of(&["ben", "ben", "ben", "ben", "ben", "cat", "ana", "eve"]);
        let verdict = self.one_of(&[Verdict::Approved, Verdict::Approved, Verdict::Refused]);
        self.note(
            "verdict",
            format_args!("{} {approval} by {alias}", verdict.as_str()),
        );
        let person = self.machine.site.person(alias);
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let decided = handle.decide_approval(&person, approval, verdict, moment);
            decided.await?;
            Ok(Done::Decided(approval, verdict))
        })
    }

    /// Takes a permit to its door, in time or late.
    fn admit(&mut self) -> Result<(), Broken> {
        if self.permits.is_empty() {
            return Ok(());
        }
        let index = self.pick(self.permits.len() as u64);
        let permit = self.permits.swap_remove(index);
        let wait = self.one_of(&[0, 0, 0, 0, 900, 1999, 2000]);
        self.machine.clock.advance(Millis::new(wait));
        let now = self.machine.clock.now();
        let (decision, act_by) = (permit.value().decision(), permit.value().act_by());
        self.absorb()?;
        let admitted = self.machine.engine()?.handle.admit(permit, now);
        let Ok(passage) = admitted else {
            self.note("turn away", decision);
            return Ok(());
        };
        self.note("admit", decision);
        ensure(
            self.laws.permitted(decision) == Some(passage.task()),
            || format!("{decision} passes without its record"),
        )?;
        let over = self.laws.is_over(passage.task(), passage.act().server());
        ensure(!over, || format!("{decision} passes after its end"))?;
        ensure(now < act_by, || format!("{decision} passes too late"))?;
        ensure(self.admitted.insert(decision), || {
            format!("{decision} passes twice")
        })?;
        self.passages.push(passage);
        Ok(())
    }

    fn perform(&mut self) -> Result<(), Broken> {
        if self.passages.is_empty() {
            return Ok(());
        }
        let index = self.pick(self.passages.len() as u64);
        let passage = self.passages.swap_remove(index);
        let decision = passage.decision();
        let labels = self.one_of(&["", "", "", "customer", "secret"]);
        let bytes = self.one_of(&[0, 2, 200, 70_000]);
        let effect = Effect {
            status: self.one_of(&Status::ALL),
            took: Millis::new(3),
            sent_bytes: 10,
            received_bytes: bytes as u64,
            labels: Labels::new(labels.parse().ok()).expect("few labels"),
            result: (bytes > 0).then(|| vec![b'x'; bytes]),
            failure: None,
        };
        self.note("perform", format_args!("{decision} {labels}"));
        let moment = self.machine.clock.moment();
        let urgent = effect.labels.count() > 0;
        self.launch(|handle| async move {
            handle.performed(passage, effect, moment).await?;
            Ok(if urgent {
                Done::Ended(decision)
            } else {
                Done::Else
            })
        })
    }

    /// A door dies with its act, or before it.
    fn lose(&mut self) -> Result<(), Broken> {
        let lost = self.passages.pop().map(|it| it.decision());
        let dropped = self.permits.pop().map(|it| it.spend().decision());
        let name = |it: Option<DecisionId>| it.map(|it| it.to_string()).unwrap_or_default();
        self.note("lose", format_args!("{} {}", name(lost), name(dropped)));
        Ok(())
    }

    pub(super) fn revoke(&mut self) -> Result<(), Broken> {
        let target = match self.chance.below(24) {
            0 => Target::Agent("scribe".parse().expect("a name")),
            1 => Target::Server("vault".parse().expect("a name")),
            2 => match self.people.get("cat") {
                Some(person) => Target::Person(*person),
                None => return Ok(()),
            },
            3 if self.chance.below(4) == 0 => Target::Agent("clerk".parse().expect("a name")),
            4 if self.chance.below(4) == 0 => Target::Server("tickets".parse().expect("a name")),
            number => match self.agent() {
                Some(agent) if number % 2 == 0 => Target::Task(agent.task.id),
                Some(agent) => Target::Instance(agent.task.instance),
                None => return Ok(()),
            },
        };
        let alias = self.one_of(&["ana", "ana", "cat", "eve"]);
        self.note("revoke", format_args!("{target} by {alias}"));
        let person = self.machine.site.person(alias);
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let report = handle
                .revoke(&person, target, "odd calls".to_owned(), moment)
                .await?;
            Ok(Done::Revoked(report))
        })
    }

    fn reinstate(&mut self) -> Result<(), Broken> {
        let target = match self.chance.below(5) {
            0 => Target::Agent("scribe".parse().expect("a name")),
            1 => Target::Server("vault".parse().expect("a name")),
            2 => Target::Agent("clerk".parse().expect("a name")),
            3 => Target::Server("tickets".parse().expect("a name")),
            _ => match self.people.get("cat") {
                Some(person) => Target::Person(*person),
                None => return Ok(()),
            },
        };
        let alias = self.one_of(&["ana", "ana", "cat", "eve"]);
        self.note("reinstate", format_args!("{target} by {alias}"));
        let person = self.machine.site.person(alias);
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let reason = "a false alarm".to_owned();
            let done = handle.reinstate(&person, target, reason, moment).await?;
            Ok(Done::Reinstated(done))
        })
    }

    /// Says of an act that it happened, or did not: mostly of one whose outcome nobody knows.
    fn settle_act(&mut self) -> Result<(), Broken> {
        let open = self.laws.open.iter();
        let open: Vec<_> = open.map(|(decision, _)| *decision).collect();
        if open.is_empty() {
            return Ok(());
        }
        let which = self.pick(open.len() as u64);
        let Some(decision) = open.get(which).copied() else {
            return Ok(());
        };
        let alias = self.one_of(&["ana", "ana", "cat", "eve"]);
        let settlement = self.one_of(&Settlement::ALL);
        self.note(
            "settle",
            format_args!("{decision} {} by {alias}", settlement.as_str()),
        );
        let person = self.machine.site.person(alias);
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let reason = "looked at the target".to_owned();
            let settling = handle.settle_act(&person, (decision, settlement), reason, moment);
            Ok(Done::Settled(settling.await?.decision))
        })
    }

    fn end(&mut self) -> Result<(), Broken> {
        let by = self.chance.below(3);
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let (task, caller) = (agent.task.id, agent.caller.clone());
        self.note("end", format_args!("{task} {by}"));
        let person = self.machine.site.person("ana");
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let by = match by {
                0 => Ender::Person(&person),
                1 => Ender::Instance(&caller),
                // It may have ended with another: then it has no end of its own.
                _ => {
                    handle.end_unserved(task).await?;
                    return Ok(Done::Else);
                }
            };
            handle.end_task(by, task, End::Completed, moment).await?;
            Ok(Done::Over(task))
        })
    }

    /// Puts a version of the estate in force.
    pub(super) fn apply(&mut self, version: u64) -> Result<(), Broken> {
        self.note("apply", version);
        let (book, files) = self.machine.site.estates.version(version);
        let person = self.machine.site.person("ana");
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            let applied = handle.apply(&person, book, files, moment).await?;
            Ok(Done::Applied(applied.estate))
        })
    }

    fn tick(&mut self) -> Result<(), Broken> {
        self.note("tick", "");
        let moment = self.machine.clock.moment();
        self.launch(|handle| async move {
            handle.tick(moment).await?;
            Ok(Done::Else)
        })
    }

    /// Turns the clock, mostly a little, sometimes back, sometimes further than the log believes.
    fn turn_clock(&mut self) -> Result<(), Broken> {
        let second = 1000;
        let millis = match self.chance.below(20) {
            0..10 => self.chance.below(3 * second),
            10..16 => self.chance.below(12 * 60) * second,
            16 => self.chance.below(3600) * second,
            17 if self.chance.below(4) == 0 => 30 * 3600 * second,
            _ => 0,
        };
        if millis > 0 {
            self.note("forward", millis);
            self.machine.clock.advance(Millis::new(millis));
        }
        if self.chance.below(3) == 0 {
            let back = self.chance.below(millis.max(20 * second));
            self.note("back", back);
            self.machine.clock.turn_back(Millis::new(back));
        }
        Ok(())
    }

    /// The clock runs ahead and is set back: what had ended by the log's time has ended.
    fn waver(&mut self) -> Result<(), Broken> {
        let span = Millis::new(self.chance.below(20 * 60 * 1000));
        self.machine.clock.advance(span);
        self.ask()?;
        self.settle()?;
        self.machine.clock.turn_back(span);
        self.note("waver", span);
        self.ask_again()
    }

    /// Another estate comes into force while the same is asked again.
    fn race(&mut self) -> Result<(), Broken> {
        let version = self.chance.below(self.machine.site.estates.count());
        self.apply(version)?;
        self.ask_again()?;
        self.ask_again()
    }

    fn certify(&mut self) -> Result<(), Broken> {
        let certificate = Digest::of(&self.chance.next().to_be_bytes());
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let task = agent.task.clone();
        self.note("certify", task.id);
        self.launch(|handle| async move {
            let expires_at = task.expires_at;
            let named = (SvidKind::X509, certificate);
            handle.certified(&task, named, expires_at).await?;
            Ok(Done::Certified(certificate))
        })
    }

    /// A server shows a tool as pinned by some version of the estate, or otherwise.
    fn see(&mut self) -> Result<(), Broken> {
        let version = self.chance.below(3);
        let (book, _) = self.machine.site.estates.version(version);
        let server: ServerName = "tickets".parse().expect("a name");
        let tool = self.one_of(&["refund", "close_ticket"]);
        let tool = tool.parse().expect("a name");
        let pinned = book.estate().tool(&server, &tool).map(|it| it.pin);
        let seen = match version {
            2 => Digest::of(b"changed"),
            _ => pinned.expect("a tool"),
        };
        self.note("see", format_args!("{tool} {seen}"));
        self.launch(|handle| async move {
            handle.tool_seen(server, tool, seen).await?;
            Ok(Done::Else)
        })
    }

    fn flood(&mut self) -> Result<(), Broken> {
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let (caller, instance) = (agent.caller.clone(), agent.task.instance);
        self.note("flood", instance);
        *self.asked.entry(instance).or_insert(0) += FLOOD as u64;
        for _ in 0..FLOOD {
            let caller = caller.clone();
            let act = Act::CallTool {
                server: "tickets".parse().expect("a name"),
                tool: "no_such_tool".parse().expect("a name"),
                arguments: Value::object([]),
            };
            let moment = self.machine.clock.moment();
            self.launch(|handle| async move {
                let answer = handle.decide(&caller, act.clone(), moment).await?;
                Ok(Done::Answered(Box::new(((caller, instance, act), answer))))
            })?;
        }
        self.settle()
    }

    fn fuse(&mut self) -> Result<(), Broken> {
        let steps = self.chance.below(200);
        self.note("fuse", steps);
        self.machine.disk.fail_after(steps);
        Ok(())
    }

    /// Returns one of the newest agents, alive or not.
    pub(super) fn agent(&mut self) -> Option<&Agent> {
        let newest = self.agents.len().min(AGENTS);
        let back = 1 + self.pick(newest as u64);
        self.agents.get(self.agents.len().checked_sub(back)?)
    }

    pub(super) fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.pick(items.len() as u64);
        *items.get(index).expect("an item")
    }

    pub(super) fn pick(&mut self, bound: u64) -> usize {
        self.chance.below(bound) as usize
    }
}

/// How many of the newest agents act.
const AGENTS: usize = 4;
/// How many refused calls a flood has: more than are written one by one.
const FLOOD: usize = 70;
