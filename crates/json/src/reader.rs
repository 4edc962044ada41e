//! The deserializer around `serde_json`'s: it takes objects only for structs, and keeps errors in words of its own.
//!
//! Errors of visitors are made here as [`Wrong`], kept in [`Reading`], and stand in for whatever comes out of
//! `serde_json` on the way back; the path is gathered on that way.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use vectorizer_scheduling::yield_point;

use super::wrong::{Step, Wrong};

/// What `serde_json` calls the newtype by which it hands over a value as it is written.
const RAW_VALUE: &str = "$serde_json::private::RawValue";
/// How much of a field's name is kept for the path.
const NAME_BYTES_MAX: usize = 256;
/// Other threads go first after so many values.
const VALUES_BETWEEN_PAUSES: u32 = 512;

/// One text that is read.
#[derive(Default)]
pub(super) struct Reading {
    /// What a visitor has refused.
    wrong: RefCell<Option<Wrong>>,
    values: Cell<u32>,
}

impl Reading {
    /// Keeps an error of ours on its way through `serde_json`.
    fn keep<E: de::Error>(&self, wrong: Wrong) -> E {
        self.wrong.replace(Some(wrong));
        E::custom("")
    }

    /// The error that comes out of `serde_json`: ours if there is one, else its own.
    fn told<E: fmt::Display>(&self, error: &E) -> Wrong {
        self.wrong.take().unwrap_or_else(|| Wrong::of_json(error))
    }

    fn value(&self) {
        let values = self.values.get().wrapping_add(1);
        self.values.set(values);
        if values.is_multiple_of(VALUES_BETWEEN_PAUSES) {
            yield_point();
        }
    }
}

pub(super) struct Reader<'r, D> {
    inner: D,
    reading: &'r Reading,
}

impl<'r, D> Reader<'r, D> {
    pub(super) fn new(inner: D, reading: &'r Reading) -> Self {
        Self { inner, reading }
    }
}

impl<'de, D: Deserializer<'de>> Reader<'_, D> {
    fn any<V: Visitor<'de>>(self, visitor: V, shape: Shape) -> Result<V::Value, Wrong> {
        let reading = self.reading;
        reading.value();
        let watched = Watched { visitor, reading, shape };
        self.inner.deserialize_any(watched).map_err(|error| reading.told(&error))
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reader<'_, D> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.any(visitor, Shape::Any)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let reading = self.reading;
        let watched = Watched { visitor, reading, shape: Shape::Any };
        self.inner.deserialize_option(watched).map_err(|error| reading.told(&error))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == RAW_VALUE {
            let reading = self.reading;
            reading.value();
            return self
                .inner
                .deserialize_newtype_struct(name, visitor)
                .map_err(|error| reading.told(&error));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.any(visitor, Shape::Object)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let reading = self.reading;
        let chosen = Chosen { visitor, reading, variants };
        self.inner.deserialize_any(chosen).map_err(|error| reading.told(&error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let reading = self.reading;
        reading.value();
        self.inner.deserialize_ignored_any(visitor).map_err(|error| reading.told(&error))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier
    }
}

/// What the visitor may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Any,
    /// No array: a struct would take its fields from one by their places.
    Object,
}

/// A visitor whose errors are kept as they are.
struct Watched<'r, V> {
    visitor: V,
    reading: &'r Reading,
    shape: Shape,
}

macro_rules! shown_to_the_visitor {
    ($($method:ident: $type:ty),*) => {
        $(
            fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
                self.visitor.$method::<Wrong>(value).map_err(|wrong| self.reading.keep(wrong))
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watched<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    shown_to_the_visitor! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64,
        visit_str: &str, visit_borrowed_str: &'de str, visit_string: String
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit::<Wrong>().map_err(|wrong| self.reading.keep(wrong))
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none::<Wrong>().map_err(|wrong| self.reading.keep(wrong))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Self { visitor, reading, shape: _ } = self;
        visitor.visit_some(Reader { inner, reading }).map_err(|wrong| reading.keep(wrong))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { visitor, reading, shape } = self;
        let read = if shape == Shape::Object {
            Err(de::Error::invalid_type(Unexpected::Seq, &"an object"))
        } else {
            visitor.visit_seq(Elements { inner, reading, number: 0 })
        };
        read.map_err(|wrong| reading.keep(wrong))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { visitor, reading, shape: _ } = self;
        visitor.visit_map(Fields { inner, reading, name: String::new() }).map_err(|wrong| reading.keep(wrong))
    }
}

/// What a field or an element is read into.
struct Part<'r, S> {
    seed: S,
    reading: &'r Reading,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Part<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let Self { seed, reading } = self;
        seed.deserialize(Reader { inner, reading }).map_err(|wrong| reading.keep(wrong))
    }
}

struct Elements<'r, A> {
    inner: A,
    reading: &'r Reading,
    number: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let reading = self.reading;
        let number = self.number;
        self.number += 1;
        let element = self.inner.next_element_seed(Part { seed, reading });
        element.map_err(|error| reading.told(&error).within(Step::Element(number)))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct Fields<'r, A> {
    inner: A,
    reading: &'r Reading,
    /// Of the field that was read last.
    name: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = Wrong;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let reading = self.reading;
        let name = &mut self.name;
        self.inner.next_key_seed(Name { seed, reading, noted: name }).map_err(|error| reading.told(&error))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let reading = self.reading;
        self.inner
            .next_value_seed(Part { seed, reading })
            .map_err(|error| reading.told(&error).within(Step::Field(std::mem::take(&mut self.name))))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// What a field's name is read into, while it is kept for the path.
struct Name<'r, S> {
    seed: S,
    reading: &'r Reading,
    noted: &'r mut String,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let Self { seed, reading, noted } = self;
        seed.deserialize(NameReader { inner, reading, name: noted }).map_err(|wrong| reading.keep(wrong))
    }
}

/// Names of fields are texts, whatever is asked for.
struct NameReader<'r, D> {
    inner: D,
    reading: &'r Reading,
    name: &'r mut String,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for NameReader<'_, D> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Self { inner, reading, name } = self;
        let noted = NotedName { visitor, reading, name };
        inner.deserialize_str(noted).map_err(|error| reading.told(&error))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct NotedName<'r, V> {
    visitor: V,
    reading: &'r Reading,
    name: &'r mut String,
}

impl<V> NotedName<'_, V> {
    fn note(&mut self, name: &str) {
        self.name.clear();
        self.name.push_str(&name[..name.floor_char_boundary(NAME_BYTES_MAX)]);
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for NotedName<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_str<E: de::Error>(mut self, name: &str) -> Result<V::Value, E> {
        self.note(name);
        self.visitor.visit_str::<Wrong>(name).map_err(|wrong| self.reading.keep(wrong))
    }

    fn visit_borrowed_str<E: de::Error>(mut self, name: &'de str) -> Result<V::Value, E> {
        self.note(name);
        self.visitor.visit_borrowed_str::<Wrong>(name).map_err(|wrong| self.reading.keep(wrong))
    }
}

/// One of some names.
struct Chosen<'r, V> {
    visitor: V,
    reading: &'r Reading,
    variants: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Chosen<'_, V> {
    fn refused<E: de::Error>(&self, found: Unexpected<'_>) -> E {
        self.reading.keep(de::Error::invalid_type(found, self))
    }
}

macro_rules! not_chosen {
    ($($method:ident: $type:ty => $found:expr),*) => {
        $(
            fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
                Err(self.refused($found(value)))
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Chosen<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::wrong::one_of(self.variants))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<V::Value, E> {
        let name: StrDeserializer<'_, Wrong> = name.into_deserializer();
        self.visitor.visit_enum(name).map_err(|wrong| self.reading.keep(wrong))
    }

    not_chosen! {
        visit_bool: bool => Unexpected::Bool, visit_i64: i64 => Unexpected::Signed,
        visit_u64: u64 => Unexpected::Unsigned, visit_f64: f64 => Unexpected::Float
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        Err(self.refused(Unexpected::Unit))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<V::Value, A::Error> {
        Err(self.refused(Unexpected::Seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<V::Value, A::Error> {
        Err(self.refused(Unexpected::Map))
    }
}
