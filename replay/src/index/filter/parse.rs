//! From JSON to a filter. Every refusal names the place and what was expected there.

use std::collections::HashSet;

use serde_json::{Map, Value};
use vectorizer_log::{InvalidPoint, PointId};

use super::Filter;
use super::condition::{Condition, Range, Values};
use super::fields::Key;
use super::number::Number;

/// A JSON value that is no filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{at}: {problem}")]
pub struct InvalidFilter {
    at: String,
    problem: Problem,
}

impl InvalidFilter {
    /// Where, as in `filter.must[0].match`.
    pub fn at(&self) -> &str {
        &self.at
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Problem {
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: &'static str, found: &'static str },
    #[error("unknown field {field:?}, expected {expected}")]
    UnknownField { field: String, expected: &'static str },
    #[error("expected exactly one of {expected}")]
    NotOneOf { expected: &'static str },
    #[error("missing field \"key\"")]
    NoKey,
    #[error("filters are nested more than {max} deep")]
    TooDeep { max: usize },
    #[error("the filter has more than {max} conditions")]
    TooManyConditions { max: usize },
    #[error("{found} values, at most {max} are allowed")]
    TooManyValues { found: usize, max: usize },
    #[error("the key {key:?} has an empty step")]
    EmptyStep { key: String },
    #[error("the key has {found} steps, at most {max} are allowed")]
    TooManySteps { found: usize, max: usize },
    #[error("no lower or upper bound")]
    NoBound,
    #[error("{0}")]
    InvalidId(InvalidPoint),
}

const CLAUSES: &str = "must, should or must_not";
const CONDITIONS: &str = "key, is_empty, is_null, has_id, must, should or must_not";

impl Filter {
    /// The filter that `json` describes, at most [`Filter::DEPTH_MAX`] deep.
    pub fn parse(json: &Value) -> Result<Self, InvalidFilter> {
        Self::parse_with_depth(json, Self::DEPTH_MAX)
    }

    /// The filter that `json` describes, at most `depth_max` deep; a filter without nested ones is
    /// one deep. Reading and asking a filter takes stack in proportion to its depth.
    pub fn parse_with_depth(json: &Value, depth_max: usize) -> Result<Self, InvalidFilter> {
        let mut parser = Parser { path: "filter".to_owned(), depth_max, conditions: 0 };
        let object = parser.object(json)?;
        parser.filter(object, 1)
    }
}

struct Parser {
    /// Where it is, as in `filter.must[0].match`.
    path: String,
    depth_max: usize,
    /// Read so far, all levels together.
    conditions: usize,
}

impl Parser {
    fn fail<T>(&self, problem: Problem) -> Result<T, InvalidFilter> {
        Err(InvalidFilter { at: self.path.clone(), problem })
    }

    fn unexpected<T>(&self, expected: &'static str, value: &Value) -> Result<T, InvalidFilter> {
        self.fail(Problem::Unexpected { expected, found: kind(value) })
    }

    fn unknown<T>(&self, field: &str, expected: &'static str) -> Result<T, InvalidFilter> {
        self.fail(Problem::UnknownField { field: field.to_owned(), expected })
    }

    /// Reads what lies one step further; `step` is what the place is called beyond the present one.
    fn within<T>(
        &mut self,
        step: &str,
        read: impl FnOnce(&mut Self) -> Result<T, InvalidFilter>,
    ) -> Result<T, InvalidFilter> {
        let here = self.path.len();
        self.path.push_str(step);
        let result = read(self);
        self.path.truncate(here);
        result
    }

    fn filter(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Filter, InvalidFilter> {
        if depth > self.depth_max {
            return self.fail(Problem::TooDeep { max: self.depth_max });
        }
        let mut filter = Filter::default();
        for (field, value) in object {
            let clause = match field.as_str() {
                "must" => &mut filter.must,
                "should" => &mut filter.should,
                "must_not" => &mut filter.must_not,
                _ => return self.unknown(field, CLAUSES),
            };
            *clause = self.within(&format!(".{field}"), |parser| parser.clause(value, depth))?;
        }
        Ok(filter)
    }

    fn clause(&mut self, value: &Value, depth: usize) -> Result<Vec<Condition>, InvalidFilter> {
        match value {
            Value::Array(values) => values
                .iter()
                .enumerate()
                .map(|(position, value)| {
                    self.within(&format!("[{position}]"), |parser| parser.condition(value, depth))
                })
                .collect(),
            Value::Object(_) => Ok(vec![self.condition(value, depth)?]),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.unexpected("a condition or an array of conditions", value)
            }
        }
    }

    fn condition(&mut self, value: &Value, depth: usize) -> Result<Condition, InvalidFilter> {
        let object = self.object(value)?;
        self.conditions += 1;
        if self.conditions > Filter::CONDITIONS_MAX {
            return self.fail(Problem::TooManyConditions { max: Filter::CONDITIONS_MAX });
        }
        if let Some(key) = object.get("key") {
            return self.on_key(key, object);
        }
        for (field, value) in object {
            let step = format!(".{field}");
            let condition = match field.as_str() {
                "is_empty" => self.within(&step, |parser| parser.lone_key(value)).map(Condition::IsEmpty),
                "is_null" => self.within(&step, |parser| parser.lone_key(value)).map(Condition::IsNull),
                "has_id" => self.within(&step, |parser| parser.ids(value)).map(Condition::HasId),
                "match" | "range" => return self.fail(Problem::NoKey),
                "must" | "should" | "must_not" => continue,
                _ => return self.unknown(field, CONDITIONS),
            };
            if object.len() > 1 {
                return self.fail(Problem::NotOneOf { expected: CONDITIONS });
            }
            return condition;
        }
        self.filter(object, depth + 1).map(Condition::Nested)
    }

    fn on_key(&mut self, key: &Value, object: &Map<String, Value>) -> Result<Condition, InvalidFilter> {
        const EXPECTED: &str = "match or range";
        let mut tests = object.iter().filter(|(field, _)| *field != "key");
        let key = self.within(".key", |parser| parser.key(key))?;
        let (Some((field, test)), None) = (tests.next(), tests.next()) else {
            for (field, _) in object {
                if !["key", "match", "range"].contains(&field.as_str()) {
                    return self.unknown(field, EXPECTED);
                }
            }
            return self.fail(Problem::NotOneOf { expected: EXPECTED });
        };
        match field.as_str() {
            "match" => self.within(".match", |parser| parser.match_test(key, test)),
            "range" => Ok(Condition::Range(key, self.within(".range", |parser| parser.range(test))?)),
            _ => self.unknown(field, EXPECTED),
        }
    }

    fn match_test(&mut self, key: Key, test: &Value) -> Result<Condition, InvalidFilter> {
        const EXPECTED: &str = "value, any or except";
        let test = self.object(test)?;
        let mut fields = test.iter();
        let (Some((field, value)), None) = (fields.next(), fields.next()) else {
            return self.fail(Problem::NotOneOf { expected: EXPECTED });
        };
        match field.as_str() {
            "value" => {
                let mut values = Values::default();
                self.within(".value", |parser| parser.value(value, &mut values))?;
                Ok(Condition::Any(key, values))
            }
            "any" => Ok(Condition::Any(key, self.within(".any", |parser| parser.values(value))?)),
            "except" => Ok(Condition::Except(key, self.within(".except", |parser| parser.values(value))?)),
            _ => self.unknown(field, EXPECTED),
        }
    }

    fn values(&mut self, list: &Value) -> Result<Values, InvalidFilter> {
        let mut values = Values::default();
        for (position, value) in self.list(list)?.iter().enumerate() {
            self.within(&format!("[{position}]"), |parser| parser.value(value, &mut values))?;
        }
        Ok(values)
    }

    fn value(&mut self, value: &Value, values: &mut Values) -> Result<(), InvalidFilter> {
        match value {
            Value::String(text) => values.texts.insert(text.as_str().into()),
            Value::Bool(boolean) => values.booleans.insert(*boolean),
            Value::Number(number) => match number.as_i128() {
                Some(integer) => values.integers.insert(integer),
                None => {
                    return self.fail(Problem::Unexpected {
                        expected: "a string, an integer or a boolean",
                        found: "a number that is not an integer of 64 bits (use range)",
                    });
                }
            },
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return self.unexpected("a string, an integer or a boolean", value);
            }
        };
        Ok(())
    }

    fn range(&mut self, range: &Value) -> Result<Range, InvalidFilter> {
        let fields = self.object(range)?;
        if fields.is_empty() {
            return self.fail(Problem::NoBound);
        }
        let mut range = Range::default();
        for (field, value) in fields {
            let bound = match field.as_str() {
                "gt" => &mut range.gt,
                "gte" => &mut range.gte,
                "lt" => &mut range.lt,
                "lte" => &mut range.lte,
                _ => return self.unknown(field, "gt, gte, lt or lte"),
            };
            *bound = Some(self.within(&format!(".{field}"), |parser| parser.number(value))?);
        }
        Ok(range)
    }

    fn number(&self, value: &Value) -> Result<Number, InvalidFilter> {
        let number = value.as_number().and_then(|number| Number::from_json(&number.to_string()));
        number.map_or_else(|| self.unexpected("a number", value), Ok)
    }

    fn ids(&mut self, list: &Value) -> Result<HashSet<Box<str>>, InvalidFilter> {
        let list = self.list(list)?;
        let id = |(position, value): (usize, &Value)| {
            self.within(&format!("[{position}]"), |parser| match value.as_str() {
                Some(text) => match PointId::text(text) {
                    Ok(id) => Ok(id.as_str().into()),
                    Err(invalid) => parser.fail(Problem::InvalidId(invalid)),
                },
                None => parser.unexpected("a string", value),
            })
        };
        list.iter().enumerate().map(id).collect()
    }

    fn list<'a>(&self, value: &'a Value) -> Result<&'a [Value], InvalidFilter> {
        let Value::Array(list) = value else { return self.unexpected("an array", value) };
        if list.len() > Filter::VALUES_MAX {
            return self.fail(Problem::TooManyValues { found: list.len(), max: Filter::VALUES_MAX });
        }
        Ok(list)
    }

    /// An object with nothing in it but a key.
    fn lone_key(&mut self, value: &Value) -> Result<Key, InvalidFilter> {
        let object = self.object(value)?;
        if let Some(field) = object.keys().find(|field| *field != "key") {
            return self.unknown(field, "key");
        }
        match object.get("key") {
            Some(key) => self.within(".key", |parser| parser.key(key)),
            None => self.fail(Problem::NoKey),
        }
    }

    fn key(&self, value: &Value) -> Result<Key, InvalidFilter> {
        let Value::String(text) = value else { return self.unexpected("a string", value) };
        let steps: Box<[Box<str>]> = text.split('.').map(Into::into).collect();
        if steps.iter().any(|step| step.is_empty()) {
            return self.fail(Problem::EmptyStep { key: text.clone() });
        }
        if steps.len() > Filter::KEY_STEPS_MAX {
            return self.fail(Problem::TooManySteps { found: steps.len(), max: Filter::KEY_STEPS_MAX });
        }
        Ok(Key(steps))
    }

    fn object<'a>(&self, value: &'a Value) -> Result<&'a Map<String, Value>, InvalidFilter> {
        value.as_object().map_or_else(|| self.unexpected("an object", value), Ok)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
