//! The variants of an enum, as its deserialization names them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The names of the variants of the enum `T`, in the order of their declaration. A list that must cover an enum is
/// compared with them, so that a new variant cannot be forgotten.
pub(crate) fn variants_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Variants) {
        Ok(_) => &[],
        Err(VariantsFound(names)) => names,
    }
}

/// Reads the names of an enum's variants, which serde gives to every deserializer, and no value.
struct Variants;

/// The names, as the error that ends the deserialization.
#[derive(Debug)]
struct VariantsFound(&'static [&'static str]);

impl fmt::Display for VariantsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "variants {:?}", self.0)
    }
}

impl std::error::Error for VariantsFound {}

impl Error for VariantsFound {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Variants {
    type Error = VariantsFound;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, VariantsFound> {
        Err(VariantsFound(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, VariantsFound> {
        Err(VariantsFound(names))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
