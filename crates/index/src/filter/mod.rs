//! Filters: conditions on ids and payloads.
//!
//! - `parse`: from JSON to conditions, with limits; `key`: the syntax of keys.
//! - `expression`: filters, their conditions, and their evaluation.
//! - `fields`: the values at a key in a payload's text, without parsing the rest.
//! - `members`: all keys of a payload.
//! - `number`: numbers that compare exactly.
//! - `unconditional`: unconditional filters.

mod expression;
mod fields;
mod key;
mod members;
mod number;
mod parse;
#[cfg(test)]
pub(super) mod tests;
mod unconditional;

pub use expression::Filter;
pub(super) use expression::{Condition, Range, Values};
pub(super) use fields::Value;
pub use key::{InvalidIndexPath, InvalidKey, Key};
pub(super) use members::{MemberValue, each_member};
pub(super) use number::Number;
pub use parse::InvalidFilter;
pub use unconditional::Unconditional;
