//! Parsing a client's JSON, with errors that name the field.

use serde::de::DeserializeOwned;

use crate::json::{self, Unreadable, Wrong};
use crate::service::Error;

/// Parses a body as JSON.
pub(crate) fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    json::read(bytes).map_err(|unreadable| match unreadable {
        Unreadable::Wrong(wrong) if wrong.is_whole() => Error::from(wrong).at("body"),
        unreadable @ (Unreadable::NotJson(_) | Unreadable::Wrong(_)) => unreadable.into(),
    })
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::NotJson(why) => Self::malformed("malformed-json", format!("not JSON: {why}")),
            Unreadable::Wrong(wrong) => Self::from(wrong),
        }
    }
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        let detail = wrong.to_string();
        match wrong.code() {
            Some("invalid-batch") => Self::invalid("invalid-batch", detail),
            Some("write-too-large") => Self::too_large("write-too-large", detail),
            Some(_) | None => Self::invalid("invalid-body", detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn an_error_in_a_body_names_the_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            #[expect(dead_code, reason = "only its type matters")]
            id: String,
        }
        let refused = read_body::<Vec<Named>>(br#"[{"id":"a"},{"id":5}]"#).unwrap_err();
        assert_eq!(refused.detail(), "[1].id: expected a string, found 5");
        let refused = read_body::<Vec<Named>>(br#"[{"id":"a","extra":1}]"#).unwrap_err();
        assert_eq!(refused.detail(), "[0]: unknown field \"extra\", expected id");
        let refused = read_body::<Vec<Named>>(br#"[{"id":NaN}]"#).unwrap_err();
        assert_eq!(refused.code(), "malformed-json");
    }
}
