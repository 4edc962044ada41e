//! JSON as clients send it: read once, objects only where there are fields, and refused in plain words.
//!
//! serde's derived code takes a struct's fields by position from an array, and its messages name Rust's types. Bodies,
//! tool arguments and query parameters are read by way of this crate instead: an array where an object belongs is
//! refused, and an error has the path of the value, the value (shortened) and what is accepted there. The path comes
//! from the calls that are open when reading fails, so nothing is read a second time to find it.
//!
//! - `reader`: the deserializer around `serde_json`'s.
//! - `wrong`: what an error says.
//! - `parameters`: the same for a query's parameters.
//! - `plain`: JSON that every reader takes for the same.
//! - `bounded`: lists that are refused at their first element too many.
//!
//! The crate knows JSON and nothing of what the values are for: no HTTP, no tenants.

mod bounded;
mod parameters;
mod plain;
mod reader;
mod wrong;

use serde::Deserialize;

pub use self::bounded::{AtMost, Limit};
pub use self::parameters::parameters;
pub use self::plain::Plain;
use self::reader::{Reader, Reading};
pub use self::wrong::Wrong;

/// Why a text cannot be read as what it should be.
#[derive(Debug)]
pub enum Unreadable {
    /// It is not JSON; why and where.
    NotJson(String),
    /// It is JSON, but not what is accepted.
    Wrong(Wrong),
}

/// Reads JSON. A struct is an object with its fields, never an array of them.
pub fn read<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Unreadable> {
    let reading = Reading::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = T::deserialize(Reader::new(&mut json, &reading)).map_err(Wrong::into_unreadable)?;
    json.end().map_err(|error| Wrong::of_json(&error).into_unreadable())?;
    Ok(value)
}

#[cfg(test)]
mod tests;
