//! JSON numbers that compare as exact decimals.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// Decimals of at most this many digits differ if and only if their nearest `f64` do,
const EXACT_DIGITS: usize = 15;
/// provided that their exponent is at most this.
const EXACT_EXPONENT: i64 = 290;
/// A larger exponent counts as this one. A number of 64 KiB reaches it only by its exponent.
const EXPONENT_MAX: i64 = 1 << 60;

/// A decimal of any size and precision: `42`, `42.0` and `4.2e1` are equal, `9007199254740993` and `9007199254740992`
/// are not. It takes 16 bytes, and more only if it is not the shortest form of an `f64`.
#[derive(Clone, Debug)]
pub(in super::super) struct Number {
    /// The nearest `f64`, which preserves the order. Neither NaN nor -0.0.
    nearest: f64,
    /// The exact number, unless it is the shortest decimal whose nearest `f64` is `nearest`.
    exact: Option<Box<Decimal>>,
}

/// 0.d₁d₂… · 10ⁿ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Decimal {
    sign: Sign,
    exponent: i64,
    /// ASCII digits; neither the first nor the last is zero. Empty for zero.
    digits: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sign {
    Negative,
    Zero,
    Positive,
}

impl Number {
    /// Parses a JSON number; `None` if `text` is not one.
    pub(in super::super) fn from_json(text: &str) -> Option<Self> {
        let written = Written::read(text)?;
        // Adding 0.0 turns -0.0 into 0.0.
        let nearest = text.parse::<f64>().ok()? + 0.0;
        let sign = written.sign();
        let is_told = written.significant <= EXACT_DIGITS && written.exponent.abs() <= EXACT_EXPONENT;
        if sign == Sign::Zero || is_told {
            return Some(Self { nearest, exact: None });
        }
        let decimal = written.decimal();
        let is_shortest = nearest.is_finite() && nearest != 0.0 && Decimal::shortest(nearest) == decimal;
        Some(Self { nearest, exact: (!is_shortest).then(|| Box::new(decimal)) })
    }

    /// The heap bytes.
    pub(in super::super) fn heap_bytes(&self) -> usize {
        self.exact.as_ref().map_or(0, |exact| size_of::<Decimal>() + exact.digits.len())
    }

    fn decimal(&self) -> Cow<'_, Decimal> {
        match &self.exact {
            Some(exact) => Cow::Borrowed(exact),
            None => Cow::Owned(Decimal::shortest(self.nearest)),
        }
    }
}

impl Decimal {
    /// The shortest decimal whose nearest `f64` is `nearest`, which must be finite.
    fn shortest(nearest: f64) -> Self {
        let text = format!("{nearest:e}");
        Written::read(&text)
            .map_or(Self { sign: Sign::Zero, exponent: 0, digits: Box::default() }, |written| {
                written.decimal()
            })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        self.sign.cmp(&other.sign).then_with(|| match self.sign {
            Sign::Negative => size().reverse(),
            Sign::Zero => Ordering::Equal,
            Sign::Positive => size(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // Neither is NaN.
        let nearest = self.nearest.partial_cmp(&other.nearest).unwrap_or(Ordering::Equal);
        nearest.then_with(|| match (&self.exact, &other.exact) {
            (None, None) => Ordering::Equal,
            (Some(_), _) | (_, Some(_)) => self.decimal().cmp(&other.decimal()),
        })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal numbers have equal parts.
        self.nearest.to_bits().hash(state);
        self.exact.hash(state);
    }
}

/// The parts of a written number.
struct Written<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// How many zeros are before the first non-zero digit.
    leading: usize,
    /// How many digits there are from the first to the last non-zero one.
    significant: usize,
    /// The exponent n of 0.d₁d₂… · 10ⁿ.
    exponent: i64,
}

impl<'a> Written<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (is_negative, rest) = match bytes.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, bytes),
        };
        let (whole, rest) = digits(rest)?;
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', rest)) => digits(rest)?,
            _ => (&[][..], rest),
        };
        let written = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', rest)) => exponent(rest)?,
            Some(_) => return None,
        };
        let zeros =
            |digits: &mut dyn Iterator<Item = &u8>| digits.take_while(|digit| **digit == b'0').count();
        let length = whole.len() + fraction.len();
        let leading = zeros(&mut whole.iter().chain(fraction));
        let trailing = zeros(&mut fraction.iter().rev().chain(whole.iter().rev()));
        let significant = length.saturating_sub(leading + trailing);
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        Some(Self { is_negative, whole, fraction, leading, significant, exponent: point + written })
    }

    fn sign(&self) -> Sign {
        match (self.significant, self.is_negative) {
            (0, _) => Sign::Zero,
            (_, true) => Sign::Negative,
            (_, false) => Sign::Positive,
        }
    }

    fn decimal(&self) -> Decimal {
        let digits = self.whole.iter().chain(self.fraction).skip(self.leading).take(self.significant);
        let sign = self.sign();
        let exponent = if sign == Sign::Zero { 0 } else { self.exponent };
        Decimal { sign, exponent, digits: digits.copied().collect() }
    }
}

/// The leading digits, at least one, and the rest.
fn digits(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then(|| bytes.split_at(count))
}

fn exponent(bytes: &[u8]) -> Option<i64> {
    let (is_negative, bytes) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, bytes),
    };
    let (digits, []) = digits(bytes)? else { return None };
    let size = digits.iter().fold(0_i64, |size, digit| {
        size.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(EXPONENT_MAX)
    });
    Some(if is_negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;
    use std::iter::repeat_n;
    use std::str::FromStr as _;

    use bigdecimal::BigDecimal;
    use proptest::prelude::*;

    use super::*;

    fn compare(left: &str, right: &str) -> Ordering {
        Number::from_json(left).unwrap().cmp(&Number::from_json(right).unwrap())
    }

    #[test]
    fn numbers_compare_by_value_where_f64_would_round() {
        assert_eq!(compare("9007199254740993", "9007199254740992.0"), Ordering::Greater);
        assert_eq!(compare("9007199254740993", "9007199254740993"), Ordering::Equal);
        assert_eq!(compare("18446744073709551615", "18446744073709551616.0"), Ordering::Less);
        assert_eq!(compare("-9007199254740993", "-9007199254740992.0"), Ordering::Less);
        assert_eq!(compare("0.1", "0.1000000000000000055"), Ordering::Less);
        assert_eq!(compare("0.1", "0.1000000000000000055511151231257827"), Ordering::Less);
        assert_eq!(compare("1e400", "1.0000000000000000000001e400"), Ordering::Less);
        assert_eq!(compare("-1e-400", "0"), Ordering::Less);
        assert_eq!(compare("1e-400", "1e-401"), Ordering::Greater);
    }

    #[test]
    fn integers_and_fractions_compare_with_each_other() {
        assert_eq!(compare("1", "1.0"), Ordering::Equal);
        assert_eq!(compare("1", "1.5"), Ordering::Less);
        assert_eq!(compare("-1", "-1.5"), Ordering::Greater);
        assert_eq!(compare("0", "-0.0"), Ordering::Equal);
        assert_eq!(compare("0", "0e999999999999999999999"), Ordering::Equal);
        assert_eq!(compare("1e3", "1000"), Ordering::Equal);
        assert_eq!(compare("42", "4.2E+1"), Ordering::Equal);
        assert_eq!(
            compare("123456789012345678901234567890", "1.2345678901234567890123456789e29"),
            Ordering::Equal
        );
    }

    #[test]
    fn numbers_beyond_every_type_still_compare() {
        assert_eq!(compare("1e999", "5"), Ordering::Greater);
        assert_eq!(compare("-1e999", "-5"), Ordering::Less);
        assert_eq!(compare("1e999999999", "1e1000000000"), Ordering::Less);
        assert_eq!(compare("-1e-999999999", "-1e-1000000000"), Ordering::Less);
        assert_eq!(compare("1e-99999999999999999999999999", "0"), Ordering::Greater);
        assert_eq!(compare("123456789012345678901234567890123456789012", "5"), Ordering::Greater);
        assert_eq!(compare("-123456789012345678901234567890123456789012", "5"), Ordering::Less);
    }

    #[test]
    fn only_numbers_are_numbers() {
        for text in
            ["", "true", "null", "\"1\"", "[]", "{}", "-", "1.", ".5", "1e", "1e+", "+1", "1x", "inf", "NaN"]
        {
            assert!(Number::from_json(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ordinary_numbers_take_no_heap_memory() {
        for text in
            ["0", "-7", "0.1", "1750000000000", "3.141592653589793", "1e300", "9007199254740992", "2.5e-8"]
        {
            assert_eq!(Number::from_json(text).unwrap().heap_bytes(), 0, "{text}");
        }
        assert_eq!(size_of::<Number>(), 16);
        // A large exponent takes no more memory than a small one.
        let small = Number::from_json("1e999999999").unwrap();
        assert!(small.heap_bytes() < 100);
    }

    /// Numbers that are close to each other, in every form.
    fn number() -> impl Strategy<Value = String> {
        let near = prop_oneof![
            Just("9007199254740992".to_owned()),
            Just("1".to_owned()),
            Just("0".to_owned()),
            "[0-9]{1,3}",
            "[1-9][0-9]{14,20}",
        ];
        (
            "-?",
            near,
            prop_oneof![Just(String::new()), "\\.[0-9]{1,4}", "\\.[09]{15,20}[0-9]"],
            "(e[-+]?([0-9]|1[0-9]|3[0-9][0-9]))?",
        )
            .prop_map(|(sign, whole, fraction, exponent)| sign + &whole + &fraction + &exponent)
    }

    /// The same number in another form.
    fn rewritten(text: &str, zeros: usize) -> String {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mantissa = if mantissa.contains('.') { mantissa.to_owned() } else { format!("{mantissa}.0") };
        let moved: i64 = exponent.parse::<i64>().unwrap() - i64::try_from(zeros).unwrap();
        let (whole, fraction) = mantissa.split_once('.').unwrap();
        let mut fraction: String = fraction.chars().chain(repeat_n('0', zeros + 1)).collect();
        let rest = fraction.split_off(zeros);
        format!("{whole}{fraction}.{rest}e{moved}")
    }

    fn hash(number: &Number) -> u64 {
        let mut hasher = DefaultHasher::new();
        number.hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn numbers_compare_like_exact_decimals(texts in proptest::collection::vec(number(), 2..6), zeros in 0..30_usize) {
            for left in &texts {
                let same = Number::from_json(&rewritten(left, zeros)).unwrap();
                let number = Number::from_json(left).unwrap();
                prop_assert_eq!(&same, &number, "{} and {}", left, rewritten(left, zeros));
                prop_assert_eq!(hash(&same), hash(&number));
                for right in &texts {
                    let expected = BigDecimal::from_str(left).unwrap().cmp(&BigDecimal::from_str(right).unwrap());
                    prop_assert_eq!(compare(left, right), expected, "{} and {}", left, right);
                }
            }
        }
    }
}
