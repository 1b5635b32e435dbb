//! TOML values as JSON values with one reading.

use std::collections::BTreeMap;

use ambit_core::json::{INTEGER_MAX, Value};
use toml::de::DeValue;

/// Returns the same value as JSON, or says why JSON has none.
pub(super) fn to_json(value: &DeValue<'_>) -> Result<Value, &'static str> {
    match value {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Integer(_) => integer(value)
            .filter(|it| (-INTEGER_MAX..=INTEGER_MAX).contains(it))
            .map(Value::Integer)
            .ok_or("a whole number lies within ±(2^53 − 1)"),
        DeValue::Float(_) => number(value)
            .ok_or("write a finite number")
            .map(|it| whole(it).map_or(Value::Number(it), Value::Integer)),
        DeValue::Boolean(truth) => Ok(Value::from(*truth)),
        DeValue::Datetime(_) => Err("write dates as texts in quotes"),
        DeValue::Array(items) => items
            .iter()
            .map(|it| to_json(it.get_ref()))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        DeValue::Table(members) => members
            .iter()
            .map(|(name, it)| Ok((name.get_ref().to_string(), to_json(it.get_ref())?)))
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map(Value::Object),
    }
}

/// Returns the whole number, when the value is one of 64 bits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Returns the number, when the value is a finite one.
pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    let DeValue::Float(number) = value else {
        return integer(value).and_then(exact);
    };
    let number = number.as_str().parse().ok()?;
    f64::is_finite(number).then_some(number)
}

/// Returns the whole number that `number` is: JSON does not tell `1.0` from `1`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the bounds are checked, and both lie within the exact range of f64"
)]
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64;
    exact.then_some(number as i64)
}

fn exact(number: i64) -> Option<f64> {
    (-INTEGER_MAX..=INTEGER_MAX)
        .contains(&number)
        .then_some(number as f64)
}
