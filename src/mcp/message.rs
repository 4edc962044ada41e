//! A message taken apart: the arguments of a call, as they were written, and the rest, which is small.
//!
//! rmcp makes values of all that it reads, on the thread of the connection. It is shown the rest, so that this stays
//! little work whatever is sent, and that numbers stay the ones that were sent.

use std::sync::Arc;

use axum::body::Bytes;
use serde_json::value::RawValue;

use super::call::Arguments;
use super::canonical::Fields;
use super::failure::Failure;
use crate::json::{self, Unreadable};
use crate::service::Error;

/// What a message may have beside its arguments, in bytes.
const REST_BYTES_MAX: usize = 32 * 1024;

/// A message, taken apart.
#[derive(Debug)]
pub(super) struct Message {
    /// The message, with no arguments in the place of those of a call.
    pub(super) rest: Bytes,
    /// The arguments of a call; an error if they are none.
    pub(super) arguments: Option<Result<Arguments, String>>,
}

impl Message {
    /// Takes a message apart. One that is no call, or not even JSON, is all rest.
    pub(super) fn take_apart(message: Bytes) -> Result<Self, Error> {
        let apart = apart(&message).unwrap_or(Self { rest: message, arguments: None });
        if apart.rest.len() > REST_BYTES_MAX {
            let detail = format!(
                "the message has {} bytes beside the arguments of a call, at most {REST_BYTES_MAX} are allowed",
                apart.rest.len()
            );
            return Err(Error::too_large("body-too-large", detail));
        }
        Ok(apart)
    }
}

fn apart(message: &[u8]) -> Option<Message> {
    let Fields(fields) = serde_json::from_slice(message).ok()?;
    let is_call = fields.iter().any(|(name, value)| name == "method" && value.get() == "\"tools/call\"");
    let (_, params) = fields.iter().find(|(name, _)| is_call && name == "params")?;
    let Fields(params) = serde_json::from_str(params.get()).ok()?;
    let (_, arguments) = params.iter().find(|(name, _)| name == "arguments")?;
    if arguments.get() == "null" {
        return None;
    }
    let read = json::read::<Arguments>(arguments.get().as_bytes()).map_err(|unreadable| match unreadable {
        Unreadable::NotJson(why) => why,
        Unreadable::Wrong(wrong) => wrong.of("arguments").to_string(),
    });
    let params = object(&params, "arguments", "{}");
    let rest = object(&fields, "params", &params);
    Some(Message { rest: rest.into(), arguments: Some(read) })
}

/// The object with these fields, of which one has another value.
fn object(fields: &[(String, &RawValue)], replaced: &str, with: &str) -> String {
    let written = fields.iter().map(|(name, value)| {
        let value = if name == replaced { with } else { value.get() };
        // A text is JSON.
        format!("{}:{value}", serde_json::Value::from(name.as_str()))
    });
    format!("{{{}}}", written.collect::<Vec<_>>().join(","))
}

/// The arguments of a call on their way to the tool.
#[derive(Clone, Debug)]
pub(super) struct Sent(Option<Arc<Result<Arguments, String>>>);

impl Sent {
    pub(super) fn new(arguments: Option<Result<Arguments, String>>) -> Self {
        Self(arguments.map(Arc::new))
    }

    /// The arguments; none if none were sent.
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
    fn of_a_call_the_arguments_are_taken_out_and_of_all_else_nothing() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","arguments":{"n":1.10}}}"#;
        let Message { rest, arguments } = Message::take_apart(Bytes::from_static(call.as_bytes())).unwrap();
        let expected =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count","arguments":{}}}"#;
        assert_eq!(rest, expected);
        assert_eq!(arguments.unwrap().unwrap().take_raw("n").unwrap().get(), "1.10");
        for all_rest in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"count"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"arguments":{"n":1}}}"#,
            "[]",
            "nonsense",
        ] {
            let Message { rest, arguments } =
                Message::take_apart(Bytes::from_static(all_rest.as_bytes())).unwrap();
            assert_eq!(rest, all_rest);
            assert!(arguments.is_none());
        }
    }

    #[test]
    fn arguments_that_are_none_are_an_error_and_a_large_rest_is_refused() {
        let call = |arguments: &str| {
            let call =
                format!(r#"{{"method":"tools/call","params":{{"name":"count","arguments":{arguments}}}}}"#);
            Message::take_apart(call.into())
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
        assert!(Message::take_apart(format!(r#"{{"method":{large}}}"#).into()).is_err());
    }
}
