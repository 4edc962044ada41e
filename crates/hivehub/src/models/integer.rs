//! Integers in JSON without loss.
//!
//! Many JSON parsers store numbers as doubles, which are exact up to 2^53. Larger integers are written as strings,
//! and a larger JSON number is refused, since it may have been rounded.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

const EXACT_MAX: u64 = 1 << 53;

/// Writes the number, above 2^53 as a string.
pub fn serialize<N, S>(number: &N, serializer: S) -> Result<S::Ok, S::Error>
where
    N: Copy + Into<u128>,
    S: Serializer,
{
    let number: u128 = (*number).into();
    match u64::try_from(number) {
        Ok(number) if number <= EXACT_MAX => serializer.serialize_u64(number),
        Ok(_) | Err(_) => serializer.collect_str(&number),
    }
}

pub(super) fn deserialize<'de, N, D>(deserializer: D) -> Result<N, D::Error>
where
    N: TryFrom<u128>,
    D: Deserializer<'de>,
{
    let number = deserializer.deserialize_any(Whole)?;
    N::try_from(number).map_err(|_| de::Error::custom("the number is too large"))
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, as a text if it is above 2^53")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u128, E> {
        if number <= EXACT_MAX {
            Ok(number.into())
        } else {
            Err(E::custom("a number above 2^53 has to be a text"))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u128, E> {
        let number: u128 = text.parse().map_err(E::custom)?;
        // Each number has one spelling: no sign, no leading zeros.
        if number.to_string() == text { Ok(number) } else { Err(E::custom("not a plain whole number")) }
    }
}

/// The same for signed numbers, as sign and magnitude.
pub(super) mod signed {
    use std::fmt;

    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{EXACT_MAX, Whole};

    pub(in super::super) fn serialize<S: Serializer>(
        (is_negative, number): &(bool, u128),
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match i64::try_from(*number) {
            Ok(small) if *is_negative && small.unsigned_abs() <= EXACT_MAX => {
                serializer.serialize_i64(-small)
            }
            Ok(_) | Err(_) if *is_negative => serializer.collect_str(&format_args!("-{number}")),
            Ok(_) | Err(_) => super::serialize(number, serializer),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<(bool, u128), D::Error> {
        deserializer.deserialize_any(Signed)
    }

    struct Signed;

    impl Visitor<'_> for Signed {
        type Value = (bool, u128);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Whole.expecting(f)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<(bool, u128), E> {
            Ok((false, Whole.visit_u64(number)?))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<(bool, u128), E> {
            Ok((number < 0, Whole.visit_u64(number.unsigned_abs())?))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<(bool, u128), E> {
            let amount = text.strip_prefix('-');
            let number = Whole.visit_str(amount.unwrap_or(text))?;
            if amount.is_some() && number == 0 {
                Err(E::custom("zero has no sign"))
            } else {
                Ok((amount.is_some(), number))
            }
        }
    }
}

/// The same for a position in a log.
pub(super) mod seq {
    use serde::{Deserializer, Serializer};
    use vectorizer_log::Seq;

    // The signature is serde's.
    #[expect(clippy::trivially_copy_pass_by_ref)]
    pub(in super::super) fn serialize<S: Serializer>(seq: &Seq, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(&seq.get(), serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seq, D::Error> {
        super::deserialize(deserializer).map(Seq::new)
    }
}
