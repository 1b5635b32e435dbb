//! Several values of one figure.

use std::fmt;

/// The least, the middle and the greatest of several values.
#[derive(Clone, Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// Returns the spread of `values`.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Returns the median.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Returns the value below which `share` of all are.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }

    /// Returns the least.
    pub(crate) fn min(&self) -> f64 {
        self.at(0.0)
    }

    /// Returns the greatest.
    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }

    /// Returns the values divided pairwise: of the same round each.
    pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Self {
        Self::new(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
    }
}

/// Prints `median (min–max)` with as many digits as mean something.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!(
            "{} ({}–{})",
            short(self.median()),
            short(self.min()),
            short(self.max())
        );
        f.pad(&text)
    }
}

/// Returns a number with three digits or more.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        it if it >= 100.0 => grouped(value.round()),
        it if it >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Says how a figure stands to its bar.
pub(crate) fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
