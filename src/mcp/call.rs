//! A tool's arguments, and how it asks for its operation.

use axum::body::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failure::Failure;
use crate::api::{Entered, Session};
use crate::auth::Operation;

/// What stands for itself in a path (RFC 3986, section 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The arguments of one call. Each is taken once; what nobody has taken is an error.
pub(super) struct Arguments(JsonObject);

impl Arguments {
    pub(super) fn new(arguments: Option<JsonObject>) -> Self {
        Self(arguments.unwrap_or_default())
    }

    /// An argument, if it is given; `null` is not.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let value = self.0.remove(name).filter(|value| !value.is_null());
        value
            .map(|value| serde_json::from_value(value))
            .transpose()
            .map_err(|error| Failure::arguments(format!("{name}: {error}")))
    }

    /// An argument without which the call makes no sense.
    pub(super) fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        self.take(name)?.ok_or_else(|| Failure::arguments(format!("{name} is missing")))
    }

    /// A number of results from 1 to `most`.
    pub(super) fn limit(&mut self, usual: usize, most: usize) -> Result<usize, Failure> {
        match self.take::<usize>("limit")? {
            None => Ok(usual),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => Err(Failure::arguments(format!("limit is {limit}, it must be 1 to {most}"))),
        }
    }

    /// The path of the collection that is named.
    pub(super) fn collection(&mut self) -> Result<String, Failure> {
        let name: String = self.need("collection")?;
        Ok(format!("/api/v1/collections/{}", encoded(&name)?))
    }

    /// The header under which a write is done once, if there is to be one.
    pub(super) fn idempotency(&mut self) -> Result<Vec<(&'static str, String)>, Failure> {
        let key = self.take::<String>("idempotency_key")?;
        Ok(key.map(|key| ("idempotency-key", key)).into_iter().collect())
    }

    /// Everything that has not been taken, which the operation itself looks at.
    pub(super) fn rest(self) -> Value {
        Value::Object(self.0.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }

    /// There are no others.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Failure::arguments(format!("there is no argument {name:?}"))),
        }
    }
}

/// One segment of a path.
pub(super) fn encoded(segment: &str) -> Result<String, Failure> {
    // What a path would not lead to, however it is written.
    if matches!(segment, "" | "." | "..") {
        return Err(Failure::arguments(format!("{segment:?} is no name")));
    }
    Ok(utf8_percent_encode(segment, &UNRESERVED).to_string())
}

/// A tool's way to the operation it stands for.
pub(super) struct Call(Entered);

impl Call {
    /// Counts as one request, however often it asks.
    pub(super) async fn enter(session: &Session, operation: Operation) -> Result<Self, Failure> {
        Ok(Self(session.enter(operation).await?))
    }

    /// Asks without a body.
    pub(super) async fn ask(&self, path: &str) -> Result<Value, Failure> {
        self.parsed(path, &[], Body::empty()).await
    }

    /// Asks with a body.
    pub(super) async fn send(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: &Value,
    ) -> Result<Value, Failure> {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json".to_owned()));
        self.parsed(path, &headers, Body::from(body.to_string())).await
    }

    /// The last place in the log, for an operation that reads it.
    pub(super) fn log_end(&self) -> Result<usize, Failure> {
        Ok(usize::try_from(self.0.log_end()?.get()).unwrap_or(usize::MAX))
    }

    /// The lines of an answer that is one JSON value a line.
    pub(super) async fn lines(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let bytes = self.0.ask(path, &[], Body::empty()).await?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|error| Failure::internal(&error))).collect()
    }

    async fn parsed(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Value, Failure> {
        let bytes = self.0.ask(path, headers, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::internal(&error))
    }
}

/// Takes a list out of an answer.
pub(super) fn list(answer: &mut Value, name: &str) -> Vec<Value> {
    match answer.get_mut(name).map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(_) | None => Vec::new(),
    }
}

/// What a schema says of the collection's name.
pub(super) fn collection_schema() -> Value {
    json!({"type": "string", "description": "The collection's name, as list_collections shows it."})
}

/// What a schema says of a key that makes a repeated write harmless.
pub(super) fn idempotency_schema() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": 255,
        "description": "Optional. Any text of your own, new for each new write. If a call may have been lost, repeat it with the same key and the same arguments: it is done once and answered again."
    })
}

/// What a schema says of a filter.
pub(super) fn filter_schema() -> Value {
    json!({
        "type": "object",
        "description": "Which records, by the fields of their payload: {\"must\": [...], \"should\": [...], \"must_not\": [...]}, each a list of conditions (or such objects again); of should, one is enough. Conditions: {\"key\": \"lang\", \"match\": {\"value\": \"en\"}}, {\"key\": \"lang\", \"match\": {\"any\": [\"en\", \"de\"]}} (or except), {\"key\": \"price\", \"range\": {\"gte\": 10, \"lt\": 20}}, {\"is_empty\": {\"key\": \"price\"}}, {\"is_null\": {\"key\": \"price\"}}, {\"has_id\": [\"a\", \"b\"]}. Keys of nested fields have dots: author.name. A list fulfils a condition if one of its elements does."
    })
}
