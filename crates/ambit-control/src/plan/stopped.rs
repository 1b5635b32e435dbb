//! Live tasks in which nothing can be done any more once a version of the estate is in force: their person is gone from it,
//! or may not start such a task, or their agent may not run it.

use std::collections::BTreeMap;

use ambit_core::{AgentName, TaskId, TemplateName, delegation::Lineage, estate::Estate};
use ambit_policy::{Standing, SubjectStanding};

use super::{Changes, Direction, Plan, Subject};

/// The most tasks that are named of one person or agent, and in an answer.
pub(crate) const STOPPED_NAMED_MAX: usize = 20;

/// A live task, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Running {
    pub(crate) task: TaskId,
    pub(crate) template: TemplateName,
    pub(crate) agent: AgentName,
    pub(crate) lineage: Lineage,
    /// On whose behalf, by the alias of the estate; none when nobody knows who that is.
    pub(crate) subject: Option<String>,
}

impl Plan {
    /// Names whose live tasks would stop.
    pub(crate) fn stop(&mut self, (old, new): (&Estate, &Estate), running: &[Running]) {
        let mut stopped: BTreeMap<&str, Vec<&Running>> = BTreeMap::new();
        for (alias, task) in stopping((old, new), running) {
            stopped.entry(alias).or_default().push(task);
        }
        for (alias, tasks) in stopped {
            let mut changes = Changes::default();
            changes.add(Direction::Narrows, text(&tasks));
            self.add(changes.of(format!("person {alias}")));
        }
    }

    /// Puts changes beside those of the same subject.
    pub(super) fn add(&mut self, subject: Subject) {
        let known = self.subjects.iter_mut().find(|it| it.name == subject.name);
        match known {
            Some(known) => known.changes.extend(subject.changes),
            None => self.subjects.push(subject),
        }
    }
}

/// Whether anything can be done within a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goes {
    On,
    Nowhere,
}

impl Running {
    fn under(&self, estate: &Estate) -> Goes {
        let who = (self.subject.as_deref(), &self.template);
        let person = SubjectStanding::of(Standing::Live, estate, who);
        let agent = estate.agents.get(&self.agent);
        let runs = agent.is_some_and(|it| match self.lineage {
            Lineage::Root => it.templates.contains(&self.template),
            Lineage::Child { .. } => it.parts_of.contains(&self.template),
        });
        let there = estate.templates.contains_key(&self.template);
        if person == SubjectStanding::Live && runs && there {
            Goes::On
        } else {
            Goes::Nowhere
        }
    }
}

/// Returns the tasks in which nothing could be done any more under `new`, each with its person.
pub(crate) fn stopping<'a>(
    (old, new): (&Estate, &Estate),
    running: &'a [Running],
) -> impl Iterator<Item = (&'a str, &'a Running)> {
    running.iter().filter_map(move |task| {
        let stops = task.under(old) == Goes::On && task.under(new) == Goes::Nowhere;
        let alias = task.subject.as_deref().filter(|_| stops);
        alias.map(|it| (it, task))
    })
}

fn text(tasks: &[&Running]) -> String {
    format!(
        "nothing can be done any more in {} live: {}",
        match tasks.len() {
            1 => "1 task that is".to_owned(),
            count => format!("{count} tasks that are"),
        },
        named(tasks)
    )
}

/// Names the first of them, and says how many more there are.
pub(super) fn named(tasks: &[&Running]) -> String {
    let first = tasks.iter().take(STOPPED_NAMED_MAX);
    let first: Vec<_> = first
        .map(|it| format!("{} ({})", it.task, it.template))
        .collect();
    let more = match tasks.len().saturating_sub(STOPPED_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    first.join(", ") + &more
}
