//! Labels: what kind of data something is, such as `customer` or `payroll`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{limits::LABELS_MAX, name::is_slug};

/// One data classification.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label(String);

/// The text is not a label.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no label: write 1 to 63 lowercase letters, digits and inner hyphens")]
pub struct InvalidLabel(String);

/// A set of labels. It only grows: a task that has read something has read it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Labels(BTreeSet<Label>);

/// The union would hold more than [`LABELS_MAX`] labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("more than {LABELS_MAX} labels came together")]
pub struct TooManyLabels;

impl Label {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        if is_slug(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLabel(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Labels {
    /// Returns the set without labels.
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Returns the set of `labels`, or refuses more than [`LABELS_MAX`].
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Result<Self, TooManyLabels> {
        let labels = Self(labels.into_iter().collect());
        if labels.0.len() > LABELS_MAX {
            Err(TooManyLabels)
        } else {
            Ok(labels)
        }
    }

    /// Returns the labels of both sets, or refuses more than [`LABELS_MAX`].
    pub fn union(&self, other: &Self) -> Result<Self, TooManyLabels> {
        Self::new(self.0.union(&other.0).cloned())
    }

    /// Returns the labels that this set has and `other` has not, in order.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Label> {
        self.0.difference(&other.0)
    }

    /// Returns how many labels there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Iterates over the labels in order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }
}

/// Writes the labels in order, with commas between them.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, label) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{label}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize, prefix: &str) -> Vec<Label> {
        (0..count)
            .map(|it| format!("{prefix}{it}").parse().unwrap())
            .collect()
    }

    #[test]
    fn a_set_ends_at_its_maximum() {
        assert!(Labels::new(labels(LABELS_MAX, "l")).is_ok());
        assert_eq!(Labels::new(labels(LABELS_MAX + 1, "l")), Err(TooManyLabels));
        let full = Labels::new(labels(LABELS_MAX, "l")).unwrap();
        let more = Labels::new(labels(1, "m")).unwrap();
        assert_eq!(full.union(&more), Err(TooManyLabels));
        assert_eq!(full.union(&full).unwrap(), full);
    }
}
