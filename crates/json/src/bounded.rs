//! Lists that are refused at their first element too many, which is the last one that is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::wrong::coded;

/// How many elements a list may have.
pub trait Limit {
    /// So many.
    const MAX: usize;
    /// The code of the error if there are more.
    const CODE: &'static str;
    /// What the error says then, behind the list's path.
    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A list within a limit.
#[derive(Debug)]
pub struct AtMost<T, L> {
    /// The elements.
    pub elements: Vec<T>,
    limit: PhantomData<L>,
}

impl<'de, T: Deserialize<'de>, L: Limit> Deserialize<'de> for AtMost<T, L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T, L>(PhantomData<(T, L)>);

struct Refusal<L>(PhantomData<L>);

impl<L: Limit> fmt::Display for Refusal<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        L::refuse(f)
    }
}

impl<'de, T: Deserialize<'de>, L: Limit> Visitor<'de> for Elements<T, L> {
    type Value = AtMost<T, L>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AtMost<T, L>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < L::MAX {
            match list.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(AtMost { elements, limit: PhantomData }),
            }
        }
        // Whatever the element is, it is not looked at.
        match list.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(AtMost { elements, limit: PhantomData }),
            Some(_) => Err(A::Error::custom(coded(L::CODE, format_args!("{}", Refusal::<L>(PhantomData))))),
        }
    }
}
