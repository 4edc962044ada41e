//! What is wrong with a value, in plain words.

use std::fmt::{self, Write as _};

use serde::de::{self, Expected, Unexpected};

use super::Unreadable;

/// At most so many characters of a value are shown.
const SHOWN_MAX: usize = 64;
/// At most so many names are listed where one of them is expected.
const NAMES_MAX: usize = 32;
/// Between the code and the words of an error that has a code of its own.
const CODE_END: char = '\u{1f}';

/// What is wrong with a value, and where it is.
#[derive(Debug)]
pub struct Wrong {
    /// From the value outwards.
    path: Vec<Step>,
    what: What,
}

#[derive(Debug)]
pub(super) enum Step {
    Field(String),
    Element(usize),
}

#[derive(Debug)]
enum What {
    /// Said in plain words, with the code of the error if it has one of its own.
    Value(String, Option<String>),
    /// What `serde_json` says of a text that is not JSON.
    NotJson(String),
}

impl Wrong {
    fn value(words: String) -> Self {
        Self { path: Vec::new(), what: What::Value(words, None) }
    }

    /// Adds the step that leads from the enclosing value to this one.
    pub(super) fn within(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// The same about a value that is this field's.
    #[must_use]
    pub fn of(self, field: &str) -> Self {
        self.within(Step::Field(field.to_owned()))
    }

    /// The same about parameters of a query.
    #[must_use]
    pub(super) fn about_parameters(mut self) -> Self {
        if self.path.is_empty()
            && let What::Value(words, _) = &mut self.what
        {
            *words = words.replacen("field", "parameter", 1);
        }
        self
    }

    /// What `serde_json` has found.
    pub(super) fn of_json(error: &impl fmt::Display) -> Self {
        let said = error.to_string();
        let (words, _) = place_of(&said);
        // These are JSON: its grammar knows no largest number and no pairs of surrogates, but readers differ in what
        // they make of them.
        match words {
            "number out of range" => {
                Self::value("number out of range: at most 1.8e308 is accepted".to_owned())
            }
            "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
                Self::value("a hex escape stands for half a surrogate pair, which is no character".to_owned())
            }
            "recursion limit exceeded" => Self::value("nesting is more than 128 deep".to_owned()),
            _ => Self { path: Vec::new(), what: What::NotJson(said) },
        }
    }

    /// Which of the two it is.
    pub(super) fn into_unreadable(self) -> Unreadable {
        match self.what {
            What::NotJson(said) => Unreadable::NotJson(plain_syntax(&said)),
            What::Value(..) => Unreadable::Wrong(self),
        }
    }

    /// The code of an error that has one of its own, as `coded` gave it.
    pub fn code(&self) -> Option<&str> {
        match &self.what {
            What::Value(_, code) => code.as_deref(),
            What::NotJson(_) => None,
        }
    }

    /// Whether it is about all that was read.
    pub fn is_whole(&self) -> bool {
        self.path.is_empty()
    }

    /// Where the value is, as in `vectors[1].id`; empty if it is the whole.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            let _ = match step {
                Step::Element(number) => write!(path, "[{number}]"),
                Step::Field(name) if path.is_empty() => write!(path, "{}", shortened(name)),
                Step::Field(name) => write!(path, ".{}", shortened(name)),
            };
        }
        path
    }

    /// What is wrong, without the path.
    pub fn words(&self) -> &str {
        match &self.what {
            What::Value(words, _) | What::NotJson(words) => words,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path().as_str() {
            "" => f.write_str(self.words()),
            path => write!(f, "{path}: {}", self.words()),
        }
    }
}

impl std::error::Error for Wrong {}

/// The words of an error with a code of its own, for [`de::Error::custom`].
pub(super) fn coded(code: &str, words: fmt::Arguments<'_>) -> String {
    format!("{code}{CODE_END}{words}")
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(said: T) -> Self {
        let said = said.to_string();
        let what = match said.split_once(CODE_END) {
            Some((code, words)) => What::Value(words.to_owned(), Some(code.to_owned())),
            None => What::Value(said, None),
        };
        Self { path: Vec::new(), what }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(format!("expected {}, found {}", accepted(expected), shown(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::value(format!("expected {}, found {length} elements", accepted(expected)))
    }

    fn unknown_variant(found: &str, accepted: &'static [&'static str]) -> Self {
        Self::value(format!("expected {}, found {}", one_of(accepted), quoted(found)))
    }

    fn unknown_field(field: &str, accepted: &'static [&'static str]) -> Self {
        let field = quoted(field);
        Self::value(match accepted {
            [] => format!("unknown field {field}, there are no fields"),
            _ => format!("unknown field {field}, expected {}", one_of(accepted)),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::value(format!("missing field {field:?}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::value(format!("field {field:?} is given twice"))
    }
}

/// What is accepted, without the names of Rust's types.
fn accepted(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    let whole = |least: i128, most: u128| format!("a whole number from {least} to {most}");
    match expected.as_str() {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" => whole(i8::MIN.into(), 127),
        "i16" => whole(i16::MIN.into(), 32_767),
        "i32" => whole(i32::MIN.into(), 2_147_483_647),
        "i64" | "isize" => whole(i64::MIN.into(), 9_223_372_036_854_775_807),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a borrowed string" | "string or map" => "a string".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        "unit" | "option" => "null".to_owned(),
        of_rust if ["struct ", "internally ", "adjacently "].iter().any(|rust| of_rust.starts_with(rust)) => {
            "an object".to_owned()
        }
        of_rust if ["tuple ", "a tuple "].iter().any(|rust| of_rust.starts_with(rust)) => {
            "an array".to_owned()
        }
        of_rust if of_rust.starts_with("enum ") || of_rust.starts_with("variant ") => {
            "one of the names that are known here".to_owned()
        }
        plain => plain.to_owned(),
    }
}

/// What was sent.
fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => serde_json::Number::from_f64(value)
            .map_or_else(|| "a number beyond all limits".to_owned(), |number| number.to_string()),
        Unexpected::Char(value) => quoted(value.encode_utf8(&mut [0; 4])),
        Unexpected::Str(value) => quoted(value),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq | Unexpected::TupleVariant => "an array".to_owned(),
        Unexpected::Map | Unexpected::StructVariant | Unexpected::NewtypeStruct => "an object".to_owned(),
        Unexpected::Other(words) => words.to_owned(),
        Unexpected::Bytes(_) | Unexpected::Enum | Unexpected::UnitVariant | Unexpected::NewtypeVariant => {
            "another value".to_owned()
        }
    }
}

/// A text in quotes, shortened.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// These names as a choice.
pub(super) fn one_of(names: &[&str]) -> String {
    let names = &names[..names.len().min(NAMES_MAX)];
    match names {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

/// What `serde_json` says, and the place that it names behind it.
fn place_of(said: &str) -> (&str, Option<(&str, &str)>) {
    let Some((words, place)) = said.rsplit_once(" at line ") else { return (said, None) };
    (words, place.split_once(" column "))
}

/// What `serde_json` says of a text that is not JSON, in words of JSON.
fn plain_syntax(said: &str) -> String {
    let (words, place) = place_of(said);
    let words = match words {
        "EOF while parsing a list" => "the text ends (EOF) within an array".to_owned(),
        "EOF while parsing an object" => "the text ends (EOF) within an object".to_owned(),
        "EOF while parsing a string" => "the text ends (EOF) within a string".to_owned(),
        "EOF while parsing a value" => "the text ends (EOF) where a value is expected".to_owned(),
        "expected value" => "expected a value".to_owned(),
        "expected ident" => "expected true, false or null".to_owned(),
        "trailing characters" => "trailing characters behind the value".to_owned(),
        "trailing comma" => "trailing comma".to_owned(),
        "key must be a string" => "expected a field's name in quotes".to_owned(),
        "invalid unicode code point" => "the text is not UTF-8".to_owned(),
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a control character (\\u0000-\\u001F) in a string is not escaped".to_owned()
        }
        other => other.replace('`', "\""),
    };
    match place {
        Some((line, column)) => format!("{words}, at line {line}, column {column}"),
        None => words,
    }
}
