//! Keys: paths to values in a payload, and their syntax.
//!
//! The syntax is Qdrant's: names of members, separated by dots. A name with dots, brackets, quotes or backslashes,
//! and the empty name, is written in double quotes, with a backslash before each quote and backslash of the name:
//! `"service.name"`, `log."a\"b".c`. An array counts as its elements, with or without `[]` after its name; `[0]`
//! selects one element.

use std::fmt::{self, Write as _};
use std::str::Chars;

use vectorizer_log::PayloadPath;

/// A path to a value: the names of the members on it. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Box<[Step]>);

/// One member, and optionally one element of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: Box<str>,
    pub(super) element: Option<usize>,
}

/// Why a string is not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// It is longer than [`Key::BYTES_MAX`].
    #[error("the key has {bytes} bytes, at most {max} are allowed", max = Key::BYTES_MAX)]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It has more steps than [`Key::STEPS_MAX`].
    #[error("the key has more than {max} steps", max = Key::STEPS_MAX)]
    TooManySteps,
    /// A name is missing before a dot, a bracket or the end.
    #[error("the key {0:?} has an empty step")]
    EmptyStep(String),
    /// A character that may only occur in a quoted name.
    #[error(
        "the key {key:?} has {found:?} outside quotes; a name with dots, brackets, quotes or backslashes is written in double quotes"
    )]
    NotQuoted {
        /// The key.
        key: String,
        /// The character.
        found: char,
    },
    /// A quoted name has no closing quote.
    #[error("the key {0:?} has a quoted name without its closing quote")]
    Unclosed(String),
    /// A backslash precedes neither a quote nor a backslash.
    #[error("the key {0:?} has a backslash in quotes that precedes neither a quote nor a backslash")]
    UnknownEscape(String),
    /// A quoted name or a bracket is followed by neither a dot nor a bracket.
    #[error("the key {key:?} has {found:?} where a dot or the end is expected")]
    Unseparated {
        /// The key.
        key: String,
        /// The character.
        found: char,
    },
    /// The brackets contain neither nothing nor the number of an element.
    #[error(
        "the key {0:?} has brackets without the number of an element; [] stands for all elements, [0] for the first"
    )]
    InvalidElement(String),
    /// Brackets follow brackets.
    #[error("the key {0:?} leads into arrays within arrays, where filters find nothing")]
    ArrayInArray(String),
}

/// Why a string is not a path to index.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidIndexPath {
    /// It is not a key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// It selects one element of an array.
    #[error(
        "the path {path:?} leads to one element of an array, and an index holds all elements: {whole:?} answers filters on each"
    )]
    OneElement {
        /// The path as it was written.
        path: String,
        /// The path of all elements.
        whole: String,
    },
    /// It is too long once every name that needs quotes has them.
    #[error("the path has {bytes} bytes with its quotes, at most {max} are allowed", max = PayloadPath::BYTES_MAX)]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl Key {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 1024;
    /// The most steps of a key.
    pub const STEPS_MAX: usize = 32;

    /// Parses a key.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidKey::TooLong { bytes: text.len() });
        }
        let mut reader = Reader { text, rest: text.chars() };
        let mut steps = Vec::new();
        loop {
            let name = reader.name()?;
            let element = reader.element()?;
            steps.push(Step { name, element });
            match reader.rest.next() {
                None => return Ok(Self(steps.into())),
                Some('.') if steps.len() == Self::STEPS_MAX => return Err(InvalidKey::TooManySteps),
                Some('.') => {}
                Some('[') => return Err(InvalidKey::ArrayInArray(text.to_owned())),
                Some(found) => return Err(InvalidKey::Unseparated { key: text.to_owned(), found }),
            }
        }
    }

    /// Parses a path to index, which has the syntax of a key.
    pub fn index_path(text: &str) -> Result<PayloadPath, InvalidIndexPath> {
        let key = Self::parse(text)?;
        let path = key.path();
        if key.has_element() {
            return Err(InvalidIndexPath::OneElement { path: text.to_owned(), whole: path });
        }
        let path = PayloadPath::try_from(path.into_boxed_str());
        path.map_err(|invalid| InvalidIndexPath::TooLong { bytes: invalid.bytes })
    }

    /// The steps to the value.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether it selects one element of an array.
    pub fn has_element(&self) -> bool {
        self.0.iter().any(|step| step.element.is_some())
    }

    /// The path of all values that it may select, as [`each_member`](super::each_member) names it: all elements of an
    /// array.
    pub(in super::super) fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.0 {
            write_name(&mut path, &step.name);
        }
        path
    }
}

/// Writes the key with as few quotes as possible.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for step in &self.0 {
            write_name(&mut text, &step.name);
            if let Some(element) = step.element {
                write!(text, "[{element}]")?;
            }
        }
        f.write_str(&text)
    }
}

/// Appends a name to a path.
pub(super) fn write_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    if !name.is_empty() && !name.contains(is_quoted) {
        path.push_str(name);
        return;
    }
    path.push('"');
    for character in name.chars() {
        if matches!(character, '"' | '\\') {
            path.push('\\');
        }
        path.push(character);
    }
    path.push('"');
}

/// Whether a name with this character must be quoted.
fn is_quoted(character: char) -> bool {
    matches!(character, '.' | '[' | ']' | '"' | '\\')
}

struct Reader<'a> {
    text: &'a str,
    rest: Chars<'a>,
}

impl Reader<'_> {
    fn next_is(&mut self, expected: char) -> bool {
        let is = self.rest.as_str().starts_with(expected);
        if is {
            self.rest.next();
        }
        is
    }

    fn name(&mut self) -> Result<Box<str>, InvalidKey> {
        if self.next_is('"') {
            return self.quoted();
        }
        let rest = self.rest.as_str();
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err(InvalidKey::EmptyStep(self.text.to_owned()));
        }
        // A quote within an unquoted name has always been part of it.
        if let Some(found) = name.chars().find(|found| matches!(found, ']' | '\\')) {
            return Err(InvalidKey::NotQuoted { key: self.text.to_owned(), found });
        }
        self.rest = after.chars();
        Ok(name.into())
    }

    fn quoted(&mut self) -> Result<Box<str>, InvalidKey> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(name.into()),
                Some('\\') => match self.rest.next() {
                    Some(escaped @ ('"' | '\\')) => name.push(escaped),
                    _ => return Err(InvalidKey::UnknownEscape(self.text.to_owned())),
                },
                Some(other) => name.push(other),
                None => return Err(InvalidKey::Unclosed(self.text.to_owned())),
            }
        }
    }

    /// The element in brackets, if there are any: `None` for all elements.
    fn element(&mut self) -> Result<Option<usize>, InvalidKey> {
        if !self.next_is('[') {
            return Ok(None);
        }
        let invalid = || InvalidKey::InvalidElement(self.text.to_owned());
        let (between, after) = self.rest.as_str().split_once(']').ok_or_else(invalid)?;
        let element = match between {
            "" => None,
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(number.parse().map_err(|_| invalid())?)
            }
            _ => return Err(invalid()),
        };
        self.rest = after.chars();
        Ok(element)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        Key::parse(text).unwrap().0.iter().map(|step| step.name.to_string()).collect()
    }

    #[test]
    fn names_with_dots_brackets_and_quotes_are_written_in_quotes() {
        assert_eq!(names("a.b"), ["a", "b"]);
        assert_eq!(names("a[].b[]"), ["a", "b"]);
        assert_eq!(names(r#""service.name""#), ["service.name"]);
        assert_eq!(names(r#"a."b.c"[].d"#), ["a", "b.c", "d"]);
        assert_eq!(names(r#""a\"b\\""#), [r#"a"b\"#]);
        assert_eq!(names(r#""""#), [""]);
        assert_eq!(names(r#""a[0]"[3]"#), ["a[0]"]);
        // Keys in the syntax without quotes.
        assert_eq!(names("ä\""), ["ä\""]);
        assert_eq!(names("a b-c_d/e:f%2E"), ["a b-c_d/e:f%2E"]);
    }

    #[test]
    fn an_invalid_key_is_refused_with_the_reason() {
        let refusal = |text: &str| Key::parse(text).unwrap_err().to_string();
        for (text, reason) in [
            ("", r#"the key "" has an empty step"#),
            ("a.", r#"the key "a." has an empty step"#),
            ("['service.name']", r#"the key "['service.name']" has an empty step"#),
            ("a]", "has ']' outside quotes"),
            (r"service\.name", r#"the key "service\\.name" has '\\' outside quotes"#),
            (r#""a"#, "without its closing quote"),
            (r#""a\n""#, "precedes neither a quote nor a backslash"),
            (r#""a"b"#, "has 'b' where a dot or the end is expected"),
            ("a[]b", "has 'b' where a dot or the end is expected"),
            ("a[", "brackets without the number of an element"),
            ("a[-1]", "brackets without the number of an element"),
            ("a[b]", "brackets without the number of an element"),
            ("a[99999999999999999999999]", "brackets without the number of an element"),
            ("a[][]", "leads into arrays within arrays"),
            ("a[0][1]", "leads into arrays within arrays"),
        ] {
            assert!(refusal(text).contains(reason), "{text}: {}", refusal(text));
        }
        assert_eq!(refusal(&vec!["a"; 33].join(".")), "the key has more than 32 steps");
        assert_eq!(refusal(&"a".repeat(1025)), "the key has 1025 bytes, at most 1024 are allowed");
    }

    #[test]
    fn a_path_to_index_has_one_form_and_holds_all_elements() {
        let path = |text: &str| Key::index_path(text).map(|path| path.to_string());
        let refusal = |text: &str| Key::index_path(text).unwrap_err().to_string();
        for (text, form) in [
            ("a.b", "a.b"),
            ("a[].b[]", "a.b"),
            (r#""a"."b""#, "a.b"),
            (r#""a.b"[]"#, r#""a.b""#),
            (r#""""#, r#""""#),
        ] {
            assert_eq!(path(text).unwrap(), form);
            assert_eq!(path(form).unwrap(), form);
        }
        assert_eq!(path(r#"a"b"#).unwrap(), r#""a\"b""#);
        assert!(refusal("a[0].b").ends_with(r#"holds all elements: "a.b" answers filters on each"#));
        assert_eq!(refusal("a."), r#"the key "a." has an empty step"#);
        let quoted = "a".repeat(1023) + "\"";
        assert_eq!(refusal(&quoted), "the path has 1027 bytes with its quotes, at most 1024 are allowed");
        assert_eq!(path(&"a".repeat(1024)).unwrap().len(), 1024);
    }

    proptest! {
        #[test]
        fn every_name_can_be_addressed(names in proptest::collection::vec("[ab.\"\\\\\\[\\] ]{0,4}", 1..4)) {
            let mut path = String::new();
            for name in &names {
                write_name(&mut path, name);
            }
            let key = Key::parse(&path).unwrap();
            prop_assert_eq!(key.path(), path.clone());
            prop_assert_eq!(key.to_string(), path);
            let found: Vec<String> = key.0.iter().map(|step| step.name.to_string()).collect();
            prop_assert_eq!(found, names);
        }
    }
}
