//! Live tasks that end as a version of the estate comes into force: what their instances came by is registered no more.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{AgentName, TaskId};

use super::{Changes, Direction, Plan, Running, stopped::named};

impl Plan {
    /// Names the tasks that would end, beside what else changes for their agents.
    pub(crate) fn end(&mut self, ended: &BTreeSet<TaskId>, running: &[Running]) {
        let mut of: BTreeMap<&AgentName, Vec<&Running>> = BTreeMap::new();
        for task in running.iter().filter(|it| ended.contains(&it.task)) {
            of.entry(&task.agent).or_default().push(task);
        }
        for (agent, tasks) in of {
            let mut changes = Changes::default();
            changes.add(Direction::Narrows, text(&tasks));
            self.add(changes.of(format!("agent {agent}")));
        }
        self.ends.clone_from(ended);
    }
}

fn text(tasks: &[&Running]) -> String {
    let count = match tasks.len() {
        1 => "1 live task ends".to_owned(),
        count => format!("{count} live tasks end"),
    };
    format!(
        "{count}, since what its run came by, or one above it, is registered no more: {}",
        named(tasks)
    )
}
