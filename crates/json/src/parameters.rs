//! A query's parameters, refused in the same words as fields of JSON.

use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer, StringDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::wrong::{Step, Wrong};

/// Reads parameters that have been percent-decoded.
pub fn parameters<'de, T: Deserialize<'de>>(pairs: Vec<(String, String)>) -> Result<T, Wrong> {
    let pairs = Pairs { left: pairs.into_iter(), next: None };
    T::deserialize(MapAccessDeserializer::new(pairs)).map_err(Wrong::about_parameters)
}

struct Pairs {
    left: std::vec::IntoIter<(String, String)>,
    /// Its name has been read, its value has not.
    next: Option<(String, String)>,
}

impl<'de> MapAccess<'de> for Pairs {
    type Error = Wrong;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        self.next = self.left.next();
        let Some((name, _)) = &self.next else { return Ok(None) };
        let name: StrDeserializer<'_, Wrong> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (name, value) = self.next.take().ok_or_else(|| Wrong::custom("a name comes before its value"))?;
        seed.deserialize(Parameter { value }).map_err(|wrong| wrong.within(Step::Field(name)))
    }
}

/// One parameter: a text, and whatever is asked for if the text says that.
struct Parameter {
    value: String,
}

macro_rules! parsed {
    ($($deserialize:ident => $visit:ident: $type:ty),*) => {
        $(
            fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
                match <$type>::from_str(&self.value) {
                    Ok(parsed) => visitor.$visit(parsed),
                    Err(_) => Err(Wrong::invalid_type(Unexpected::Str(&self.value), &visitor)),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Parameter {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_string(self.value)
    }

    parsed! {
        deserialize_bool => visit_bool: bool,
        deserialize_u8 => visit_u8: u8, deserialize_u16 => visit_u16: u16, deserialize_u32 => visit_u32: u32,
        deserialize_u64 => visit_u64: u64, deserialize_i64 => visit_i64: i64, deserialize_f64 => visit_f64: f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let value: StringDeserializer<Wrong> = self.value.into_deserializer();
        visitor.visit_enum(value)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
