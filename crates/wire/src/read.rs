//! Parsing a client's JSON, with errors that name the field.

use serde::de::DeserializeOwned;
use vectorizer_json::{Unreadable, Wrong};
use vectorizer_service::Error;

/// Parses a body as JSON.
pub fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    vectorizer_json::read(bytes).map_err(|unreadable| match unreadable {
        Unreadable::Wrong(wrong) if wrong.is_whole() => invalid(&wrong).at("body"),
        unreadable @ (Unreadable::NotJson(_) | Unreadable::Wrong(_)) => refused(&unreadable),
    })
}

/// The error of a text that could not be parsed.
pub fn refused(unreadable: &Unreadable) -> Error {
    match unreadable {
        Unreadable::NotJson(why) => Error::malformed("malformed-json", format!("not JSON: {why}")),
        Unreadable::Wrong(wrong) => invalid(wrong),
    }
}

/// The error of a value that is not what a request needs.
pub fn invalid(wrong: &Wrong) -> Error {
    let detail = wrong.to_string();
    match wrong.code() {
        Some("invalid-batch") => Error::invalid("invalid-batch", detail),
        Some("write-too-large") => Error::too_large("write-too-large", detail),
        Some(_) | None => Error::invalid("invalid-body", detail),
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
