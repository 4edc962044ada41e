//! Parsing of clauses and conditions.

use std::collections::HashSet;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess};
use vectorizer_log::PointId;

use super::json::{Elements, List, Members, Object, Scalar};
use super::parser::{Parser, Problem};
use crate::filter::expression::{Condition, Filter, Range, Values};
use crate::filter::key::Key;
use crate::filter::number::Number;

const CONDITIONS: &str = "key, is_empty, is_null, has_id, must, should or must_not";
const TESTS: &str = "match or range";
const MATCHES: &str = "value, any or except";
const VALUES: &str = "a string, a number or a boolean";

/// The clauses of one filter.
pub(super) struct Clauses {
    depth: usize,
    must: Option<Vec<Condition>>,
    should: Option<Vec<Condition>>,
    must_not: Option<Vec<Condition>>,
}

impl Clauses {
    /// The clauses of a filter at this depth, which counts from 1.
    pub(super) fn at(depth: usize) -> Self {
        Self { depth, must: None, should: None, must_not: None }
    }

    pub(super) fn into_filter(self) -> Filter {
        let Self { depth: _, must, should, must_not } = self;
        let [must, should, must_not] = [must, should, must_not].map(Option::unwrap_or_default);
        Filter { must, should, must_not }
    }

    fn is_empty(&self) -> bool {
        [&self.must, &self.should, &self.must_not].into_iter().all(Option::is_none)
    }

    /// Reads a clause; `None` if the member is not a clause.
    pub(super) fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<Option<()>, A::Error> {
        let (field, clause) = match name {
            "must" => ("must", &mut self.must),
            "should" => ("should", &mut self.should),
            "must_not" => ("must_not", &mut self.must_not),
            _ => return Ok(None),
        };
        let depth = self.depth;
        let expected = "a condition or an array of conditions";
        parser.once(field, clause, |parser| {
            parser.expect_depth(depth)?;
            let elements = Conditions { depth, read: Vec::new() };
            Ok(map.next_value_seed(List { parser, expected, elements })?.read)
        })?;
        Ok(Some(()))
    }
}

impl Parser {
    fn expect_depth<E: Error>(&mut self, depth: usize) -> Result<(), E> {
        let max = Filter::DEPTH_MAX;
        if depth > max { Err(self.fail(Problem::TooDeep { max })) } else { Ok(()) }
    }

    fn count_value<E: Error>(&mut self) -> Result<(), E> {
        let max = Filter::VALUES_MAX;
        if self.values == max {
            return Err(self.fail(Problem::TooManyValues { max }));
        }
        self.values += 1;
        Ok(())
    }

    fn key<E: Error>(&mut self, written: Scalar<'_>) -> Result<Key, E> {
        let Some(text) = written.text(self)? else { return Err(self.unexpected("a string", written.kind())) };
        Key::parse(&text).map_err(|invalid| self.fail(Problem::InvalidKey(invalid)))
    }

    fn number<E: Error>(&mut self, written: Scalar<'_>) -> Result<Number, E> {
        let number = Number::from_json(written.written());
        number.ok_or_else(|| self.unexpected("a number", written.kind()))
    }
}

/// The conditions of one clause.
struct Conditions {
    /// The depth of the filter that they are in.
    depth: usize,
    read: Vec<Condition>,
}

impl Elements for Conditions {
    fn element<'de, A: SeqAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        list: &mut A,
    ) -> Result<Option<()>, A::Error> {
        let condition = list.next_element_seed(ConditionSeed { parser, depth: self.depth })?;
        Ok(condition.map(|condition| self.read.push(condition)))
    }

    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        _: &'static str,
        map: A,
    ) -> Result<(), A::Error> {
        let condition = ConditionSeed { parser, depth: self.depth }.read(|object| object.read(map))?;
        self.read.push(condition);
        Ok(())
    }
}

/// One condition of a filter at this depth.
struct ConditionSeed<'p> {
    parser: &'p mut Parser,
    depth: usize,
}

impl ConditionSeed<'_> {
    fn read<E: Error>(
        self,
        read: impl FnOnce(Object<'_, ConditionMembers>) -> Result<ConditionMembers, E>,
    ) -> Result<Condition, E> {
        let Self { parser, depth } = self;
        let max = Filter::CONDITIONS_MAX;
        if parser.conditions == max {
            return Err(parser.fail(Problem::TooManyConditions { max }));
        }
        parser.conditions += 1;
        let parts = read(Object { parser: &mut *parser, members: ConditionMembers::of_filter_at(depth) })?;
        parts.into_condition(parser)
    }
}

impl<'de> DeserializeSeed<'de> for ConditionSeed<'_> {
    type Value = Condition;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Condition, D::Error> {
        self.read(|object| object.deserialize(deserializer))
    }
}

/// The members of one condition.
struct ConditionMembers {
    key: Option<Key>,
    matching: Option<Match>,
    range: Option<Range>,
    is_empty: Option<Key>,
    is_null: Option<Key>,
    has_id: Option<HashSet<Box<str>>>,
    nested: Clauses,
}

impl ConditionMembers {
    fn of_filter_at(depth: usize) -> Self {
        let nested = Clauses::at(depth + 1);
        Self { key: None, matching: None, range: None, is_empty: None, is_null: None, has_id: None, nested }
    }

    fn into_condition<E: Error>(self, parser: &mut Parser) -> Result<Condition, E> {
        let Self { key, matching, range, is_empty, is_null, has_id, nested } = self;
        let is_keyed = key.is_some() || matching.is_some() || range.is_some();
        let kinds = [is_keyed, is_empty.is_some(), is_null.is_some(), has_id.is_some(), !nested.is_empty()];
        if kinds.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(parser.fail(Problem::NotOneOf { expected: CONDITIONS }));
        }
        if is_keyed {
            let Some(key) = key else { return Err(parser.fail(Problem::NoKey)) };
            return match (matching, range) {
                (Some(Match::Any(values)), None) => Ok(Condition::Any(key, values)),
                (Some(Match::Except(values)), None) => Ok(Condition::Except(key, values)),
                (None, Some(range)) => Ok(Condition::Range(key, range)),
                (None, None) | (Some(_), Some(_)) => Err(parser.fail(Problem::NotOneOf { expected: TESTS })),
            };
        }
        let alone = is_empty.map(Condition::IsEmpty).or(is_null.map(Condition::IsNull));
        if let Some(condition) = alone.or(has_id.map(Condition::HasId)) {
            return Ok(condition);
        }
        parser.expect_depth(nested.depth)?;
        Ok(Condition::Nested(nested.into_filter()))
    }
}

impl Members for ConditionMembers {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "key" => parser.once("key", &mut self.key, |parser| {
                let written = map.next_value()?;
                parser.key(written)
            }),
            "match" => parser.once("match", &mut self.matching, |parser| {
                let Matching(read) =
                    map.next_value_seed(Object { parser: &mut *parser, members: Matching(None) })?;
                read.ok_or_else(|| parser.fail(Problem::NotOneOf { expected: MATCHES }))
            }),
            "range" => parser.once("range", &mut self.range, |parser| {
                let members = Range::default();
                let range = map.next_value_seed(Object { parser: &mut *parser, members })?;
                if range.is_unbounded() { Err(parser.fail(Problem::NoBound)) } else { Ok(range) }
            }),
            "is_empty" => parser.once("is_empty", &mut self.is_empty, |parser| only_key(parser, map)),
            "is_null" => parser.once("is_null", &mut self.is_null, |parser| only_key(parser, map)),
            "has_id" => parser.once("has_id", &mut self.has_id, |parser| {
                let elements = Ids(HashSet::new());
                Ok(map.next_value_seed(List { parser, expected: "an array", elements })?.0)
            }),
            _ => match self.nested.member(parser, name, map)? {
                Some(()) => Ok(()),
                None if self.key.is_some() => Err(parser.unknown(name, TESTS)),
                None => Err(parser.unknown(name, CONDITIONS)),
            },
        }
    }
}

/// A `match` condition.
enum Match {
    Any(Values),
    Except(Values),
}

struct Matching(Option<Match>);

impl Members for Matching {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        if self.0.is_some() && ["value", "any", "except"].contains(&name) {
            return Err(parser.fail(Problem::NotOneOf { expected: MATCHES }));
        }
        self.0 = Some(match name {
            "value" => parser.within(format_args!(".value"), |parser| {
                let mut values = Values::default();
                add_value(parser, map.next_value()?, &mut values)?;
                Ok(Match::Any(values))
            })?,
            "any" => Match::Any(parser.within(format_args!(".any"), |parser| values(parser, map))?),
            "except" => Match::Except(parser.within(format_args!(".except"), |parser| values(parser, map))?),
            _ => return Err(parser.unknown(name, MATCHES)),
        });
        Ok(())
    }
}

impl Members for Range {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let (field, bound) = match name {
            "gt" => ("gt", &mut self.gt),
            "gte" => ("gte", &mut self.gte),
            "lt" => ("lt", &mut self.lt),
            "lte" => ("lte", &mut self.lte),
            _ => return Err(parser.unknown(name, "gt, gte, lt or lte")),
        };
        parser.once(field, bound, |parser| {
            let written = map.next_value()?;
            parser.number(written)
        })
    }
}

fn values<'de, A: MapAccess<'de>>(parser: &mut Parser, map: &mut A) -> Result<Values, A::Error> {
    map.next_value_seed(List { parser, expected: "an array", elements: Values::default() })
}

impl Elements for Values {
    fn element<'de, A: SeqAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        list: &mut A,
    ) -> Result<Option<()>, A::Error> {
        let Some(written) = list.next_element()? else { return Ok(None) };
        parser.count_value()?;
        add_value(parser, written, self).map(Some)
    }
}

fn add_value<E: Error>(parser: &mut Parser, written: Scalar<'_>, values: &mut Values) -> Result<(), E> {
    if let Some(text) = written.text(parser)? {
        values.texts.insert(text.into());
        return Ok(());
    }
    match written.written() {
        "true" => values.booleans.insert(true),
        "false" => values.booleans.insert(false),
        number => match Number::from_json(number) {
            Some(number) => values.numbers.insert(number),
            None => return Err(parser.unexpected(VALUES, written.kind())),
        },
    };
    Ok(())
}

struct Ids(HashSet<Box<str>>);

impl Elements for Ids {
    fn element<'de, A: SeqAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        list: &mut A,
    ) -> Result<Option<()>, A::Error> {
        let Some(written) = list.next_element::<Scalar<'_>>()? else { return Ok(None) };
        parser.count_value()?;
        let Some(text) = written.text(parser)? else {
            return Err(parser.unexpected("a string", written.kind()));
        };
        match PointId::text(&*text) {
            Ok(id) => self.0.insert(id.as_str().into()),
            Err(invalid) => return Err(parser.fail(Problem::InvalidId(invalid))),
        };
        Ok(Some(()))
    }
}

/// Reads an object whose only member is a key.
fn only_key<'de, A: MapAccess<'de>>(parser: &mut Parser, map: &mut A) -> Result<Key, A::Error> {
    let OnlyKey(key) = map.next_value_seed(Object { parser: &mut *parser, members: OnlyKey(None) })?;
    key.ok_or_else(|| parser.fail(Problem::NoKey))
}

struct OnlyKey(Option<Key>);

impl Members for OnlyKey {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        parser: &mut Parser,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "key" => parser.once("key", &mut self.0, |parser| {
                let written = map.next_value()?;
                parser.key(written)
            }),
            _ => Err(parser.unknown(name, "key")),
        }
    }
}
