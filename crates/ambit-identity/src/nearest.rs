//! What came nearest when nobody is registered. For those who operate Ambit: whoever asks hears only what was seen of it.

use ambit_core::AgentName;

/// The most characters of a text that somebody brought that a hint repeats.
pub const SEEN_CHARS_MAX: usize = 200;

/// The registration that came nearest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nearest {
    /// Whose it is.
    pub agent: AgentName,
    /// What did not fit.
    pub misses: Vec<Miss>,
    /// How much of it fitted; what that counts depends on the registration.
    pub fitted: usize,
}

/// What of a registration did not fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Miss {
    /// Which attribute or claim.
    pub name: String,
    /// What was registered.
    pub wanted: String,
    /// What was seen.
    pub seen: String,
}

/// The nearest of those that were held against what was seen. Of equally near ones it is the first.
#[derive(Debug, Default)]
pub(crate) struct Search(Option<Nearest>);

impl Search {
    pub(crate) fn missed(&mut self, agent: &AgentName, fitted: usize, misses: Vec<Miss>) {
        if self.0.as_ref().is_none_or(|it| it.fitted < fitted) {
            self.0 = Some(Nearest {
                agent: agent.clone(),
                misses,
                fitted,
            });
        }
    }

    pub(crate) fn found(self) -> Option<Box<Nearest>> {
        self.0.map(Box::new)
    }
}

/// Returns a text that somebody brought so that it can be shown: without controls, and not for ever.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SEEN_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SEEN_CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Says what came nearest, or that `table` is to be written.
pub(crate) fn hint(nearest: Option<&Nearest>, table: &str) -> String {
    let Some(nearest) = nearest else {
        return format!("write {table} into the agent's file and apply the estate");
    };
    let misses = nearest.misses.iter();
    let misses: Vec<String> = misses
        .map(|it| format!("{} should be {} and is {}", it.name, it.wanted, it.seen))
        .collect();
    format!(
        "nearest is agent `{}`: {}",
        nearest.agent,
        misses.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_nearest_is_told() {
        let mut search = Search::default();
        for (agent, fitted) in [("a", 1), ("b", 2), ("c", 2), ("d", 0)] {
            search.missed(&agent.parse().unwrap(), fitted, Vec::new());
        }
        assert_eq!(search.found().unwrap().agent.as_str(), "b");
        assert_eq!(Search::default().found(), None);
    }

    #[test]
    fn what_somebody_brought_is_shown_bounded() {
        let longest = "a".repeat(SEEN_CHARS_MAX);
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&format!("{longest}a")), format!("{longest}..."));
        assert_eq!(shown("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
    }
}
