//! Instants and spans, in milliseconds. Time is always an argument: no Ambit library reads a clock.

use std::{fmt, str::FromStr};

/// Milliseconds since the Unix epoch, as the log counts them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

/// A span of milliseconds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Millis(u64);

/// The text is not a span such as `90s`, `15m`, `8h` or `7d`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a span; write a whole number with a unit, such as `90s`, `15m`, `8h` or `7d`"
)]
pub struct InvalidSpan(String);

impl Timestamp {
    /// Returns the instant that lies `millis` after the Unix epoch.
    ///
    /// Values beyond [`Timestamp::MILLIS_MAX`] are clamped to it, so that every instant can be written as a
    /// JSON integer.
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MILLIS_MAX {
            Self(Self::MILLIS_MAX)
        } else {
            Self(millis)
        }
    }

    /// The latest instant that Ambit can name (2^53 − 1 ms, far beyond any expiry).
    pub const MILLIS_MAX: u64 = (1 << 53) - 1;

    /// Returns the milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the instant `span` later, clamped to the latest one.
    pub const fn plus(self, span: Millis) -> Self {
        Self::from_millis(self.0.saturating_add(span.0))
    }

    /// Returns how long after `earlier` this instant lies; zero when it lies before.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Millis {
    /// Returns a span of `millis` milliseconds.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns a span of `seconds` seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns the number of milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

/// Writes RFC 3339 in UTC with milliseconds: `2026-11-22T10:15:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (
            second_of_day / 3600,
            second_of_day % 3600 / 60,
            second_of_day % 60,
        );
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// Writes the span in the largest unit that holds it whole: `15m`, `90s`, `1500ms`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in UNITS {
            if self.0 > 0 && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

impl FromStr for Millis {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(invalid)?;
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let size = match unit {
            "ms" => 1,
            unit => UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, size)| *size)
                .ok_or_else(invalid)?,
        };
        number
            .checked_mul(size)
            .filter(|it| *it <= Timestamp::MILLIS_MAX)
            .map(Self)
            .ok_or_else(invalid)
    }
}

const UNITS: [(&str, u64); 4] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
];

/// Turns days since 1970-01-01 into a Gregorian date (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`, restricted to days ≥ 0).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_prints_as_rfc_3339() {
        let check =
            |millis, text: &str| assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_795_305_600_123, "2026-11-22T00:00:00.123Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_span_reads_back_what_it_printed() {
        for text in ["15m", "90s", "7d", "8h", "1500ms", "0ms"] {
            assert_eq!(text.parse::<Millis>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "m",
            "1.5h",
            "-1s",
            "10",
            "99999999999999999999d",
            "5 m",
            "5M",
        ] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }
}
