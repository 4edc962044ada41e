//! Whether a filter is unconditional: a deletion by filter refuses one that matches every point.

use super::expression::{Condition, Filter};

/// Why a filter matches points without a condition on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unconditional {
    /// It has no condition at any depth.
    #[error("the filter has no condition")]
    NoCondition,
    /// Every point matches it, because of an empty filter or an empty list in it.
    #[error(
        "the filter matches every vector, by a filter without a condition or a list without a value in it"
    )]
    MatchesEvery,
}

/// The result of a filter or condition, as far as it is the same for every point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Truth {
    Always,
    Never,
    /// It depends on the point.
    Unknown,
}

impl Filter {
    /// Why the filter is unconditional, or `None` if it is not.
    pub fn unconditional(&self) -> Option<Unconditional> {
        if !self.has_condition() {
            Some(Unconditional::NoCondition)
        } else if self.truth() == Truth::Always {
            Some(Unconditional::MatchesEvery)
        } else {
            None
        }
    }

    fn has_condition(&self) -> bool {
        let Self { must, should, must_not } = self;
        [must, should, must_not].into_iter().flatten().any(|condition| match condition {
            Condition::Nested(filter) => filter.has_condition(),
            Condition::Any(..)
            | Condition::Except(..)
            | Condition::Range(..)
            | Condition::IsEmpty(_)
            | Condition::IsNull(_)
            | Condition::HasId(_) => true,
        })
    }

    fn truth(&self) -> Truth {
        let must = self.must.iter().map(Condition::truth);
        let must_not = self.must_not.iter().map(|condition| condition.truth().negated());
        let should = (!self.should.is_empty()).then(|| {
            let should = self.should.iter().map(|condition| condition.truth().negated());
            all(should).negated()
        });
        all(must.chain(must_not).chain(should))
    }
}

impl Condition {
    fn truth(&self) -> Truth {
        match self {
            Self::Any(_, values) if values.is_empty() => Truth::Never,
            Self::HasId(ids) if ids.is_empty() => Truth::Never,
            Self::Nested(filter) => filter.truth(),
            Self::Any(..)
            | Self::HasId(_)
            | Self::Except(..)
            | Self::Range(..)
            | Self::IsEmpty(_)
            | Self::IsNull(_) => Truth::Unknown,
        }
    }
}

impl Truth {
    fn negated(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// The conjunction of all.
fn all(known: impl Iterator<Item = Truth>) -> Truth {
    known.fold(Truth::Always, |all, one| match (all, one) {
        (Truth::Never, _) | (_, Truth::Never) => Truth::Never,
        (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
        (Truth::Always, Truth::Always) => Truth::Always,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unconditional(json: &str) -> Option<Unconditional> {
        Filter::parse(json, 32).unwrap().unconditional()
    }

    #[test]
    fn filters_without_a_condition_are_recognized() {
        for json in ["{}", r#"{"must":[]}"#, r#"{"should":[],"must_not":[]}"#, r#"{"must":[{}]}"#]
            .into_iter()
            .chain([r#"{"must":{"should":[{"must":[]}]}}"#, r#"{"must_not":[{}]}"#, r#"{"should":{}}"#])
        {
            assert_eq!(unconditional(json), Some(Unconditional::NoCondition), "{json}");
        }
        let condition = r#"{"key":"a","match":{"value":1}}"#;
        for json in [
            format!(r#"{{"should":[{{}},{condition}]}}"#),
            format!(r#"{{"must":[{{}},{{"should":[{condition},{{"must":[]}}]}}]}}"#),
            r#"{"must_not":[{"has_id":[]}]}"#.to_owned(),
            r#"{"must_not":[{"key":"a","match":{"any":[]}}]}"#.to_owned(),
        ] {
            assert_eq!(unconditional(&json), Some(Unconditional::MatchesEvery), "{json}");
        }
        for json in [
            format!(r#"{{"must":[{condition}]}}"#),
            format!(r#"{{"must":[{{}},{condition}],"should":[]}}"#),
            format!(r#"{{"should":[{condition}]}}"#),
            format!(r#"{{"must_not":[{condition}]}}"#),
            r#"{"must":[{"has_id":[]}]}"#.to_owned(),
            r#"{"must":[{"key":"a","match":{"except":[]}}]}"#.to_owned(),
        ] {
            assert_eq!(unconditional(&json), None, "{json}");
        }
    }
}
