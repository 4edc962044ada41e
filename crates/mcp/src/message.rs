//! Splitting a message into the arguments of a call, which stay unparsed, and the envelope, which is small.
//!
//! rmcp parses a whole message into values, on the thread of the connection. It gets only the envelope. So its work is
//! bounded, and the numbers in arguments stay exact.

use std::sync::Arc;

use axum::body::Bytes;
use serde_json::value::RawValue;
use vectorizer_json::Unreadable;
use vectorizer_service::Error;

use super::call::Arguments;
use super::canonical::Fields;
use super::failure::Failure;

/// The largest envelope, in bytes.
pub(super) const ENVELOPE_BYTES_MAX: usize = 32 * 1024;

/// A message, split into its envelope and its arguments.
#[derive(Debug)]
pub(super) struct Message {
    /// The message with empty arguments.
    pub(super) envelope: Bytes,
    /// The arguments of a call; an error if they are invalid.
    pub(super) arguments: Option<Result<Arguments, String>>,
}

impl Message {
    /// Splits a message. A message that is not a call, or not JSON, is all envelope.
    pub(super) fn split(message: Bytes) -> Result<Self, Error> {
        let split = split(&message).unwrap_or(Self { envelope: message, arguments: None });
        if split.envelope.len() > ENVELOPE_BYTES_MAX {
            let detail = format!(
                "the message has {} bytes beside the arguments of a call, at most {ENVELOPE_BYTES_MAX} are allowed",
                split.envelope.len()
            );
            return Err(Error::too_large("body-too-large", detail));
        }
        Ok(split)
    }
}

fn split(message: &[u8]) -> Option<Message> {
    let Fields(fields) = serde_json::from_slice(message).ok()?;
    let is_call = fields.iter().any(|(name, value)| name == "method" && value.get() == "\"tools/call\"");
    let (_, params) = fields.iter().find(|(name, _)| is_call && name == "params")?;
    let Fields(params) = serde_json::from_str(params.get()).ok()?;
    let (_, arguments) = params.iter().find(|(name, _)| name == "arguments")?;
    if arguments.get() == "null" {
        return None;
    }
    let read =
        vectorizer_json::read::<Arguments>(arguments.get().as_bytes()).map_err(
            |unreadable| match unreadable {
                Unreadable::NotJson(why) => why,
                Unreadable::Wrong(wrong) => wrong.of("arguments").to_string(),
            },
        );
    let params = object(&params, "arguments", "{}");
    let envelope = object(&fields, "params", &params);
    Some(Message { envelope: envelope.into(), arguments: Some(read) })
}

/// Serializes an object with these fields, and another value for one of them.
fn object(fields: &[(String, &RawValue)], replaced: &str, with: &str) -> String {
    let written = fields.iter().map(|(name, value)| {
        let value = if name == replaced { with } else { value.get() };
        // The name, as a JSON string.
        format!("{}:{value}", serde_json::Value::from(name.as_str()))
    });
    format!("{{{}}}", written.collect::<Vec<_>>().join(","))
}

/// The arguments of a call, for the tool.
#[derive(Clone, Debug)]
pub(super) struct CallArguments(Option<Arc<Result<Arguments, String>>>);

impl CallArguments {
    pub(super) fn new(arguments: Option<Result<Arguments, String>>) -> Self {
        Self(arguments.map(Arc::new))
    }

    /// The arguments; empty if the call has none.
    pub(super) fn arguments(&self) -> Result<Arguments, Failure> {
        match self.0.as_deref() {
            None => Ok(Arguments::default()),
            Some(Ok(arguments)) => Ok(arguments.clone()),
            Some(Err(why)) => Err(Failure::arguments(why.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_split_and_other_messages_stay_whole() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","arguments":{"n":1.10}}}"#;
        let Message { envelope, arguments } = Message::split(Bytes::from_static(call.as_bytes())).unwrap();
        let expected =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","arguments":{}}}"#;
        assert_eq!(envelope, expected);
        assert_eq!(arguments.unwrap().unwrap().take_raw("n").unwrap().get(), "1.10");
        for unchanged in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"arguments":{"n":1}}}"#,
            "[]",
            "nonsense",
        ] {
            let Message { envelope, arguments } =
                Message::split(Bytes::from_static(unchanged.as_bytes())).unwrap();
            assert_eq!(envelope, unchanged);
            assert!(arguments.is_none());
        }
    }

    #[test]
    fn invalid_arguments_and_a_large_envelope_are_errors() {
        let call = |arguments: &str| {
            let call =
                format!(r#"{{"method":"tools/call","params":{{"name":"count","arguments":{arguments}}}}}"#);
            Message::split(call.into())
        };
        let many: Vec<String> = (0..65).map(|number| format!("\"a{number}\":1")).collect();
        for (arguments, why) in [
            ("5", "arguments: expected an object, found 5"),
            (r#"{"a":1,"a":2}"#, "arguments: \"a\" is given twice"),
            (&format!("{{{}}}", many.join(",")), "arguments: there are more than 64"),
        ] {
            assert_eq!(call(arguments).unwrap().arguments.unwrap().unwrap_err(), why);
        }
        let large = format!("\"{}\"", "x".repeat(1 << 20));
        assert!(call(&format!("{{\"text\":{large}}}")).is_ok());
        assert!(Message::split(format!(r#"{{"method":{large}}}"#).into()).is_err());
    }
}
