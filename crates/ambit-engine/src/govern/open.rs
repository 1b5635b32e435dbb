//! Opening what stands sealed beside records: decided, and on the record before it is shown.

use ambit_audit::decode;
use ambit_core::{
    TaskId,
    act::Governance,
    limits::OPENED_AT_ONCE_MAX,
    record::{Body, Content, Sealed},
    task::Task,
};
use ambit_identity::PersonCaller;
use ambit_policy::Touched;

use super::Asked;
use crate::{EngineError, Handle, Moment, Refusal, desk::Desk, state::ended_task};

/// What stands sealed beside one record.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The place of the record.
    pub leaf: u64,
    /// What it is.
    pub content: Content,
    /// What the record commits to.
    pub sealed: Sealed,
    /// What is there.
    pub found: Found,
}

/// What is there of something sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// All of it, as it was sealed.
    Whole(Vec<u8>),
    /// Nothing any more: its key was destroyed.
    Erased,
    /// Nothing: it was too long to be kept, or enough of its kind was kept already.
    NotKept,
}

/// What stands sealed beside a record, and the task under whose key.
type SealedAt = (u64, TaskId, Content, Sealed);

impl Handle {
    /// Opens what stands sealed beside the records at `leaves`, which are of one task: arguments, parameters, results. Who
    /// may is decided, and that it is opened is durable before it is. A record beside which nothing is sealed is left out.
    ///
    /// # Errors
    /// The caller may not; a record is not there; or nothing is sealed beside any of them.
    pub async fn open_sealed(
        &self,
        caller: &PersonCaller,
        leaves: Vec<u64>,
        moment: Moment,
    ) -> Result<Vec<Opened>, Refusal> {
        if leaves.is_empty() || leaves.len() > OPENED_AT_ONCE_MAX {
            return Err(Refusal::Invalid(format!(
                "name 1 to {OPENED_AT_ONCE_MAX} records to open at once"
            )));
        }
        let sealed = self.sealed_at(&leaves)?;
        let first = sealed.first().map(|it| it.1);
        let task = first.filter(|first| sealed.iter().all(|it| it.1 == *first));
        let of = task.map(|it| self.task_named(it)).transpose()?.flatten();
        let leaves = sealed.iter().map(|it| it.0).collect();
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let touched = Touched {
                subject: of.as_ref().map(|it| it.subject),
                of: of.as_ref().map(|it| (&it.agent, &it.template)),
                ..Touched::NOTHING
            };
            let permit = asked.permit(desk, Governance::OpenSealed { task }, touched)?;
            let task = task.ok_or_else(|| nothing_to_open(first))?;
            let warrant = permit.warrant();
            desk.write(Body::SealedOpened {
                task,
                leaves,
                warrant,
            })?;
            Ok(())
        };
        self.govern(caller, moment, take).await?;
        let opened = sealed.into_iter().map(|it| self.look(it));
        Ok(opened.collect::<Result<_, _>>()?)
    }

    fn sealed_at(&self, leaves: &[u64]) -> Result<Vec<SealedAt>, Refusal> {
        let mut sealed = Vec::new();
        for leaf in leaves {
            let found = self.shared.archive.leaves(*leaf, 1);
            let found = found.map_err(EngineError::from)?;
            let bytes = found.first().ok_or_else(|| {
                Refusal::NotFound(format!(
                    "the log has no record {leaf}; see `ambit log tail`"
                ))
            })?;
            let record = decode(bytes).map_err(|error| {
                Refusal::Invalid(format!("record {leaf}: {error}; run `ambit log verify`"))
            })?;
            let beside = record.body.sealed();
            sealed.extend(beside.map(|(task, content, it)| (*leaf, task, content, it)));
        }
        Ok(sealed)
    }

    /// Returns a task, live or ended, without its parameters.
    fn task_named(&self, task: TaskId) -> Result<Option<Task>, EngineError> {
        let live = self.shared.read()?;
        if let Some(entry) = live.state.task(task) {
            return Ok(Some(entry.task.clone()));
        }
        drop(live);
        let ended = ended_task(self.shared.archive.as_ref(), task)?;
        Ok(ended.map(|it| it.task))
    }

    fn look(&self, (leaf, task, content, sealed): SealedAt) -> Result<Opened, EngineError> {
        let found = match (sealed.blob, self.open((leaf, task), &sealed)?) {
            (_, Some(whole)) => Found::Whole(whole),
            (Some(_), None) => Found::Erased,
            (None, None) => Found::NotKept,
        };
        Ok(Opened {
            leaf,
            content,
            sealed,
            found,
        })
    }
}

fn nothing_to_open(first: Option<TaskId>) -> Refusal {
    let why = match first {
        Some(_) => "the records are of several tasks; open those of one at a time",
        None => {
            "nothing is sealed there; arguments stand beside decisions, results beside outcomes, parameters beside \
             the start of a task"
        }
    };
    Refusal::Invalid(why.to_owned())
}
