//! Parsing of objects, lists and scalars.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::parser::{Parser, Problem};

/// The members of an object.
pub(super) trait Members {
    /// Reads the member of this name from `map`.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error>;
}

/// Reads all members of an object.
pub(super) struct Object<'p, M> {
    pub(super) parser: &'p mut Parser,
    pub(super) members: M,
}

impl<M: Members> Object<'_, M> {
    pub(super) fn read<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<M, A::Error> {
        let Self { parser, mut members } = self;
        parser.inside(|parser| {
            while let Some(Name(name)) = map.next_key()? {
                members.member(parser, &name, &mut map)?;
            }
            Ok(members)
        })
    }
}

impl<'de, M: Members> DeserializeSeed<'de> for Object<'_, M> {
    type Value = M;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Members> Visitor<'de> for Object<'_, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<M, A::Error> {
        self.read(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<M, A::Error> {
        Err(self.parser.unexpected("an object", "an array"))
    }

    fn visit_unit<E: Error>(self) -> Result<M, E> {
        Err(self.parser.unexpected("an object", "null"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<M, E> {
        Err(self.parser.unexpected("an object", "a boolean"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<M, E> {
        Err(self.parser.unexpected("an object", "a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<M, E> {
        Err(self.parser.unexpected("an object", "a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<M, E> {
        Err(self.parser.unexpected("an object", "a number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<M, E> {
        Err(self.parser.unexpected("an object", "a string"))
    }
}

/// Reads an array, or an object in place of an array.
pub(super) struct List<'p, E> {
    pub(super) parser: &'p mut Parser,
    pub(super) expected: &'static str,
    pub(super) elements: E,
}

/// The elements of a list.
pub(super) trait Elements: Sized {
    /// Reads the next element, if there is one.
    fn element<'de, A: SeqAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        list: &mut A,
    ) -> Result<Option<()>, A::Error>;

    /// Reads an object in place of the list.
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        expected: &'static str,
        _: A,
    ) -> Result<(), A::Error> {
        Err(parser.unexpected(expected, "an object"))
    }
}

impl<'de, E: Elements> DeserializeSeed<'de> for List<'_, E> {
    type Value = E;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<E, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Elements> Visitor<'de> for List<'_, L> {
    type Value = L;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<L, A::Error> {
        let Self { parser, expected: _, mut elements } = self;
        parser.inside(|parser| {
            let mut position = 0_usize;
            while parser
                .within(format_args!("[{position}]"), |parser| elements.element(parser, &mut list))?
                .is_some()
            {
                position += 1;
            }
            Ok(elements)
        })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<L, A::Error> {
        self.elements.object(self.parser, self.expected, map)?;
        Ok(self.elements)
    }

    fn visit_unit<E: Error>(self) -> Result<L, E> {
        Err(self.parser.unexpected(self.expected, "null"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<L, E> {
        Err(self.parser.unexpected(self.expected, "a boolean"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<L, E> {
        Err(self.parser.unexpected(self.expected, "a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<L, E> {
        Err(self.parser.unexpected(self.expected, "a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<L, E> {
        Err(self.parser.unexpected(self.expected, "a number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<L, E> {
        Err(self.parser.unexpected(self.expected, "a string"))
    }
}

/// The name of a member, copied only if it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }
    deserializer.deserialize_str(Text)
}

/// A raw value, expected to be neither an object nor an array.
#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Scalar<'a> {
    #[serde(borrow)]
    raw: &'a RawValue,
}

impl<'a> Scalar<'a> {
    /// The type of the value, for error messages.
    pub(super) fn kind(self) -> &'static str {
        match self.raw.get().as_bytes().first() {
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') => "a string",
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            Some(_) | None => "a number",
        }
    }

    /// The raw JSON text.
    pub(super) fn written(self) -> &'a str {
        self.raw.get()
    }

    /// The string, if the value is one.
    pub(super) fn text<E: Error>(self, parser: &mut Parser) -> Result<Option<Cow<'a, str>>, E> {
        if self.kind() != "a string" {
            return Ok(None);
        }
        match serde_json::from_str(self.raw.get()) {
            Ok(Name(text)) => Ok(Some(text)),
            Err(error) => Err(parser.fail(Problem::NotJson { reason: error.to_string() })),
        }
    }
}
