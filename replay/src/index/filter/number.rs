//! Numbers of JSON, compared by value and not by what rounding makes of them.

use std::cmp::Ordering;

/// A number. Integers of more than 38 digits are taken as fractions.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Number {
    Integer(i128),
    /// Anything written with a fraction or an exponent, and what no integer holds. Not NaN.
    Fraction(f64),
}

impl Number {
    /// The number that this JSON text is; `None` if it is none.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(integer) => Some(Self::Integer(integer)),
            Err(_) => text.parse().ok().map(Self::Fraction),
        }
    }

    pub(in super::super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Fraction(left), Self::Fraction(right)) => order(left, right),
            (Self::Integer(left), Self::Fraction(right)) => integer_to_fraction(left, right),
            (Self::Fraction(left), Self::Integer(right)) => integer_to_fraction(right, left).reverse(),
        }
    }
}

fn integer_to_fraction(integer: i128, fraction: f64) -> Ordering {
    #[expect(clippy::cast_precision_loss, reason = "a power of two, which f64 holds exactly")]
    const LEAST: f64 = i128::MIN as f64;
    if fraction >= -LEAST {
        Ordering::Less
    } else if fraction < LEAST {
        Ordering::Greater
    } else {
        let whole = fraction.trunc();
        #[expect(clippy::cast_possible_truncation, reason = "a whole number between -2^127 and 2^127")]
        integer.cmp(&(whole as i128)).then_with(|| order(whole, fraction))
    }
}

fn order(left: f64, right: f64) -> Ordering {
    // Neither is NaN; and unlike `total_cmp` this has one zero.
    left.partial_cmp(&right).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(left: &str, right: &str) -> Ordering {
        Number::from_json(left).unwrap().compare(Number::from_json(right).unwrap())
    }

    #[test]
    fn numbers_compare_by_value_where_f64_would_round() {
        assert_eq!(compare("9007199254740993", "9007199254740992.0"), Ordering::Greater);
        assert_eq!(compare("9007199254740993", "9007199254740993"), Ordering::Equal);
        assert_eq!(compare("18446744073709551615", "18446744073709551616.0"), Ordering::Less);
        assert_eq!(compare("-9007199254740993", "-9007199254740992.0"), Ordering::Less);
    }

    #[test]
    fn integers_and_fractions_compare_with_each_other() {
        assert_eq!(compare("1", "1.0"), Ordering::Equal);
        assert_eq!(compare("1", "1.5"), Ordering::Less);
        assert_eq!(compare("-1", "-1.5"), Ordering::Greater);
        assert_eq!(compare("0", "-0.0"), Ordering::Equal);
        assert_eq!(compare("1e3", "1000"), Ordering::Equal);
    }

    #[test]
    fn numbers_beyond_every_type_still_have_their_side() {
        assert_eq!(compare("1e999", "5"), Ordering::Greater);
        assert_eq!(compare("-1e999", "-5"), Ordering::Less);
        assert_eq!(compare("123456789012345678901234567890123456789012", "5"), Ordering::Greater);
        assert_eq!(compare("-123456789012345678901234567890123456789012", "5"), Ordering::Less);
    }

    #[test]
    fn only_numbers_are_numbers() {
        for text in ["", "true", "null", "\"1\"", "[]", "{}"] {
            assert!(Number::from_json(text).is_none(), "{text}");
        }
    }
}
