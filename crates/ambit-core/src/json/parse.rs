//! The one parser of JSON. The tokens are serde_json's; the strictness is ours.

use std::{collections::BTreeMap, fmt};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{INTEGER_MAX, Value};
use crate::limits::{JSON_BYTES_MAX, JSON_DEPTH_MAX};

/// The bytes are not JSON with exactly one reading.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is longer than the bound of its place.
    #[error("the JSON text has {bytes} bytes; at most {bytes_max} are accepted")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The text cannot be read, or could be read in two ways.
    #[error("the JSON text is refused: {0}")]
    Refused(#[source] serde_json::Error),
}

/// Reads `bytes` as one JSON value of at most [`JSON_BYTES_MAX`] bytes.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_bounded(bytes, JSON_BYTES_MAX)
}

/// Reads `bytes` as one JSON value of at most `bytes_max` bytes and [`JSON_DEPTH_MAX`] levels.
pub fn parse_bounded(bytes: &[u8], bytes_max: usize) -> Result<Value, JsonError> {
    read(bytes, bytes_max, Numbers::Any)
}

/// Reads `bytes` as [`parse_bounded`] does and refuses every number that is not written as an
/// integer: `1.0` and `1e3` too. Tokens are read so, because their readers differ over such dates.
pub fn parse_integers(bytes: &[u8], bytes_max: usize) -> Result<Value, JsonError> {
    read(bytes, bytes_max, Numbers::Integers)
}

/// Reads `bytes` as [`parse_bounded`] does and keeps how numbers are written: [`Value::Integer`] is an integer within
/// ±(2^53 − 1) that is written as one, and every other number is a [`Value::Number`]. For what others say beside what
/// is asked of them: whoever asks for an integer never takes `1.0` or `1e3` for it, and what nobody asks for may be there.
pub fn parse_as_written(bytes: &[u8], bytes_max: usize) -> Result<Value, JsonError> {
    read(bytes, bytes_max, Numbers::AsWritten)
}

fn read(bytes: &[u8], bytes_max: usize, numbers: Numbers) -> Result<Value, JsonError> {
    if bytes.len() > bytes_max {
        return Err(JsonError::TooLong {
            bytes: bytes.len(),
            bytes_max,
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { depth: 0, numbers }
        .deserialize(&mut reader)
        .map_err(JsonError::Refused)?;
    reader.end().map_err(JsonError::Refused)?;
    Ok(value)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let numbers = Numbers::Any;
        Seed { depth: 0, numbers }.deserialize(reader)
    }
}

/// How numbers may be written.
#[derive(Clone, Copy)]
enum Numbers {
    Any,
    Integers,
    AsWritten,
}

#[derive(Clone, Copy)]
struct Seed {
    depth: usize,
    numbers: Numbers,
}

impl Seed {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format_args!(
                "it nests deeper than {JSON_DEPTH_MAX} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            numbers: self.numbers,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        if !(-INTEGER_MAX..=INTEGER_MAX).contains(&number) {
            if matches!(self.numbers, Numbers::AsWritten) {
                return Ok(Value::Number(number as f64));
            }
            return Err(E::custom(format_args!(
                "the integer {number} lies beyond ±(2^53 − 1)"
            )));
        }
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        if number > INTEGER_MAX.unsigned_abs() && matches!(self.numbers, Numbers::AsWritten) {
            return Ok(Value::Number(number as f64));
        }
        let number = i64::try_from(number)
            .map_err(|_| E::custom(format_args!("the integer {number} lies beyond ±(2^53 − 1)")))?;
        self.visit_i64(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        if matches!(self.numbers, Numbers::Integers) {
            return Err(E::custom(format_args!(
                "the number {number:e} is not written as an integer within ±(2^53 − 1)"
            )));
        }
        if !number.is_finite() {
            return Err(E::custom("a number is not finite"));
        }
        if matches!(self.numbers, Numbers::AsWritten) {
            return Ok(Value::Number(number));
        }
        if number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64 {
            return Ok(Value::Integer(number as i64));
        }
        // serde_json reads an integer beyond 64 bits as a float; a float this large has no unit left, so
        // two readers may differ: refuse it as the integer it may have been.
        if number.abs() > INTEGER_MAX as f64 {
            return Err(E::custom(format_args!(
                "the number {number:e} lies beyond ±(2^53 − 1)"
            )));
        }
        Ok(Value::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name.clone(), value).is_some() {
                return Err(de::Error::custom(format_args!(
                    "the key {name:?} stands twice"
                )));
            }
        }
        Ok(Value::Object(object))
    }
}
