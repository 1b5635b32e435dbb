//! Taking authority away, and knowing when it is gone.

use ambit_core::{
    DecisionId, Millis, PersonId, Reason, RevocationId, TaskId,
    act::{Governance, Target},
    estate::Person,
    record::Body,
};
use ambit_identity::PersonCaller;
use ambit_policy::{Prospect, Standing, Touched};

use super::{Asked, TouchedTask, check_reason};
use crate::{Handle, Moment, Refusal, desk::Desk};

/// What a revocation did.
#[derive(Clone, Debug)]
pub struct RevocationReport {
    /// Names the revocation.
    pub revocation: RevocationId,
    /// From what authority was taken.
    pub target: Target,
    /// The tasks that it ended.
    pub ended: Vec<TaskId>,
    /// The decisions whose acts were under way when it took effect: each was cut.
    pub crossed: Vec<DecisionId>,
    /// From the request to the last door's acknowledgement.
    pub took: Millis,
    /// Whether the record of these figures is durable. The revocation itself is.
    pub effective: EffectiveRecord,
}

/// Where the second record of a revocation stands, which says when it took effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EffectiveRecord {
    /// It is durable.
    Written,
    /// There was no room for it: it comes when there is, or never, when Ambit stops before.
    ToCome,
}

impl Handle {
    /// Takes authority away from `target`. Returns when every door has let go, or its bounded time is over.
    pub async fn revoke(
        &self,
        caller: &PersonCaller,
        target: Target,
        reason: String,
        moment: Moment,
    ) -> Result<RevocationReport, Refusal> {
        check_reason("revocation", &reason)?;
        let asked_at = moment.now;
        let wanted = target.clone();
        let take =
            move |desk: &mut Desk<'_>, asked: &mut Asked| write(desk, asked, target, &reason);
        let done = self.govern_crossing(caller, moment, take).await?;
        let ((revocation, ended), crossed) = done;
        self.shared.flights.landed(&crossed).await;
        let took = (self.shared.clock)().now.since(asked_at);
        let effective = Body::RevocationEffective {
            revocation,
            crossed: crossed.clone(),
            took,
        };
        Ok(RevocationReport {
            revocation,
            target: wanted,
            ended,
            crossed,
            took,
            effective: self.effective(effective).await,
        })
    }

    /// Writes the second record, at once or when there is room: the revocation is in force all the same, and whoever asked
    /// for it hears so.
    async fn effective(&self, effective: Body) -> EffectiveRecord {
        let again = effective.clone();
        let written = self.turn(move |desk| {
            let written = desk.write(effective).map(|_| ());
            Box::new(move |committed| committed.and(written))
        });
        if matches!(written.await, Ok(Ok(()))) {
            return EffectiveRecord::Written;
        }
        let later = self.turn(move |desk| {
            let written = desk.write(again).map(|_| ());
            Box::new(move |committed| committed.and(written))
        });
        let _ = later.queued().await;
        EffectiveRecord::ToCome
    }
}

fn write(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    target: Target,
    reason: &str,
) -> Result<(RevocationId, Vec<TaskId>), Refusal> {
    check(desk, &target)?;
    let act = Governance::Revoke {
        target: target.clone(),
    };
    let task = match &target {
        Target::Task(id) => Some(*id),
        Target::Instance(id) => desk.live.state.instances.get(id).copied(),
        Target::Agent(_) | Target::Person(_) | Target::Server(_) => None,
    };
    let touched = task.and_then(|it| TouchedTask::new(desk.live, it));
    let touched = touched.as_ref();
    let permit = asked.permit(
        desk,
        act,
        touched.map_or(Touched::NOTHING, TouchedTask::owned),
    )?;
    if let Target::Person(person) = target
        && successor(desk, person)? == Successor::Nobody
    {
        let reason = Reason::LastAdministrator;
        let explanation = format!("{}: {}", reason.for_person(), reason.next_step());
        return Err(asked.refuse(desk, "revoke", reason, explanation)?);
    }
    let revocation = asked.chance.id(desk.at());
    let ended = desk.live.state.tasks_under(&target);
    let reason = asked.seal_reason(reason)?;
    let written = desk.write(Body::Revoked {
        revocation,
        target,
        reason: reason.sealed,
        warrant: permit.warrant(),
    })?;
    reason.keep(desk, written.index());
    Ok((revocation, ended))
}

/// Whether somebody is left who could lift a revocation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Successor {
    /// Somebody who is not revoked, can prove who they are, and whom the policies would let put another estate in force; or
    /// the person was none of these.
    Left,
    /// Nobody.
    Nobody,
}

/// Whether somebody can prove to be a person: by a local user, at a provider, with a passkey.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Provable {
    InSomeWay,
    InNone,
}

/// Says whether anybody would be left who could lift a revocation of `person`.
fn successor(desk: &Desk<'_>, person: PersonId) -> Result<Successor, Refusal> {
    let book = desk.live.book()?;
    let able = |(alias, it): (&String, &Person)| {
        let known = desk.live.person(alias).map(Target::Person);
        let standing = known.map_or(Standing::Live, |it| desk.live.state.standing(&it));
        provable(desk, alias, it) == Provable::InSomeWay
            && standing == Standing::Live
            && book.would_apply(alias) == Prospect::Open
    };
    // The policies are asked of as few as will do: nothing else is decided meanwhile.
    let people = &book.estate().people;
    let alias = desk.live.aliases.get(&person);
    let Some(own) = alias.and_then(|it| people.get_key_value(it)) else {
        return Ok(Successor::Left);
    };
    let last = able(own) && !people.iter().any(|it| it.0 != own.0 && able(it));
    Ok(match last {
        true => Successor::Nobody,
        false => Successor::Left,
    })
}

fn provable(desk: &Desk<'_>, alias: &str, person: &Person) -> Provable {
    let known = desk.live.person(alias);
    let keys = known.map_or(0, |it| desk.live.state.passkeys_of(it).count());
    match person.unix_uid.is_some() || person.oidc.is_some() || keys > 0 {
        true => Provable::InSomeWay,
        false => Provable::InNone,
    }
}

fn check(desk: &Desk<'_>, target: &Target) -> Result<(), Refusal> {
    let estate = desk.live.book()?;
    let estate = estate.estate();
    let there = match target {
        Target::Task(_) | Target::Instance(_) => !desk.live.state.tasks_under(target).is_empty(),
        Target::Agent(name) => estate.agents.contains_key(name),
        Target::Person(id) => desk.live.state.people.contains(id),
        Target::Server(name) => estate.servers.contains_key(name),
    };
    if there {
        Ok(())
    } else {
        let place = match target {
            Target::Task(_) | Target::Instance(_) => "`ambit task list` shows what is live",
            Target::Agent(_) | Target::Person(_) | Target::Server(_) => {
                "check the spelling against the estate in force"
            }
        };
        Err(Refusal::NotFound(format!(
            "there is no live {target}; {place}"
        )))
    }
}
