//! A tool's arguments, and how it asks for its operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use axum::body::{Body, Bytes};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use vectorizer_log::{LogId, Seq};

use super::answer::{self, Json};
use super::canonical;
use super::failure::Failure;
use crate::api::{Entered, Session, Show};
use crate::auth::Operation;
use crate::json::{self, Unreadable};

/// The longest idempotency key, in bytes, as REST has it.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// What stands for itself in a path (RFC 3986, section 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Arguments by the names they have elsewhere, and the one name that each has in all tools.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("name collection_name index namespace", "collection"),
    ("id record_ids", "ids"),
    ("vectors points documents items", "records"),
    ("query q query_text question", "text"),
    ("query_vector embedding values", "vector"),
    ("top_k k n n_results max_results size", "limit"),
    ("offset page next_cursor page_token", "cursor"),
    ("where filters conditions", "filter"),
    ("min_score threshold", "score_threshold"),
];

/// The most arguments that a call has.
const ARGUMENTS_MAX: usize = 64;

/// The arguments of one call, each as it was written. Each is taken once; an argument that is not taken is an error, or
/// looked at by the operation itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Arguments(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ArgumentsByName)
    }
}

struct ArgumentsByName;

impl<'de> Visitor<'de> for ArgumentsByName {
    type Value = Arguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Arguments, A::Error> {
        let mut arguments = BTreeMap::new();
        while let Some(name) = fields.next_key::<String>()? {
            if arguments.len() == ARGUMENTS_MAX {
                return Err(A::Error::custom(format_args!("there are more than {ARGUMENTS_MAX}")));
            }
            if arguments.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name:?} is given twice")));
            }
            arguments.insert(name, fields.next_value()?);
        }
        Ok(Arguments(arguments))
    }
}

impl Arguments {
    /// An argument, if it is given; `null` is not.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(written) = self.take_raw(name) else { return Ok(None) };
        read(name, &written).map(Some)
    }

    /// An argument as it was written, if it is given; `null` is not.
    pub(super) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.0.remove(name).filter(|written| written.get() != "null")
    }

    /// An argument as it was written, without which the call makes no sense.
    pub(super) fn need_raw(&mut self, name: &str) -> Result<Box<RawValue>, Failure> {
        self.take_raw(name).ok_or_else(|| Failure::arguments(format!("{name} is missing")))
    }

    /// An argument without which the call makes no sense.
    pub(super) fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        self.take(name)?.ok_or_else(|| Failure::arguments(format!("{name} is missing")))
    }

    /// Puts an argument in the place of what is there, if anything is.
    pub(super) fn put<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), Failure> {
        self.0.insert(name.to_owned(), answer::json(value)?);
        Ok(())
    }

    /// A number of results from 1 to `most`.
    pub(super) fn limit(&mut self, usual: usize, most: usize) -> Result<usize, Failure> {
        match self.take::<usize>("limit")? {
            None => Ok(usual),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => Err(Failure::arguments(format!("limit is {limit}, it must be 1 to {most}"))),
        }
    }

    /// The name of a collection.
    pub(super) fn collection(&mut self) -> Result<String, Failure> {
        self.need("collection")
    }

    /// The path of the collection that is named.
    pub(super) fn path(&mut self) -> Result<String, Failure> {
        collection_path(&self.collection()?)
    }

    /// The key under which a write is done once, if there is to be one.
    pub(super) fn idempotency(&mut self) -> Result<Option<String>, Failure> {
        let Some(key) = self.take::<String>("idempotency_key")? else { return Ok(None) };
        let is_printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !is_printable || !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
            return Err(Failure::arguments(format!(
                "idempotency_key: expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
            )));
        }
        Ok(Some(key))
    }

    /// Everything that has not been taken, which the operation itself looks at.
    pub(super) fn rest(mut self) -> Self {
        self.0.retain(|_, value| value.get() != "null");
        self
    }

    /// Refuses the names that other products, other tools or earlier versions have for one of these arguments, with the
    /// name it has here.
    pub(super) fn expect_names(&self, known: &BTreeSet<String>) -> Result<(), Failure> {
        for name in self.0.keys().filter(|name| !known.contains(*name)) {
            let meant = OTHER_NAMES.iter().find(|(others, meant)| {
                known.contains(*meant) && others.split(' ').any(|other| other == name)
            });
            if let Some((_, meant)) = meant {
                return Err(Failure::arguments(format!(
                    "there is no argument {name:?}, it is called {meant:?} here"
                )));
            }
        }
        Ok(())
    }

    /// There are no others.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(Failure::arguments(format!("there is no argument {name:?}")))
            }
        }
    }
}

/// The path of a collection.
pub(super) fn collection_path(name: &str) -> Result<String, Failure> {
    Ok(format!("/api/v1/collections/{}", encoded("collection", name)?))
}

/// An argument that is read as it was written.
pub(super) fn read<'a, T: Deserialize<'a>>(name: &str, written: &'a RawValue) -> Result<T, Failure> {
    json::read(written.get().as_bytes()).map_err(|unreadable| {
        Failure::arguments(match unreadable {
            Unreadable::NotJson(why) => format!("{name}: not JSON: {why}"),
            Unreadable::Wrong(wrong) => wrong.of(name).to_string(),
        })
    })
}

/// An argument as one segment of a path.
pub(super) fn encoded(name: &str, segment: &str) -> Result<String, Failure> {
    if segment.is_empty() {
        return Err(Failure::arguments(format!("{name}: it must not be empty")));
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
    pub(super) async fn ask(&self, path: &str) -> Result<Told, Failure> {
        Ok(Told(self.0.ask(path, &[], Body::empty()).await?))
    }

    /// Asks with a body.
    pub(super) async fn send<T: Serialize>(&self, path: &str, body: &T) -> Result<Told, Failure> {
        self.with_body(path, None, body).await
    }

    /// Asks for a write, to be done once under this key. It is the same write however its arguments were written, which
    /// the key, for which every byte counts, would not know.
    pub(super) async fn write<T: Serialize>(
        &self,
        path: &str,
        idempotency: Option<&str>,
        body: &T,
    ) -> Result<Told, Failure> {
        let body = answer::json(body)?;
        let body = match idempotency {
            None => body,
            Some(_) => self.work(body.get().len(), move || canonical::written(&body)).await?,
        };
        self.with_body(path, idempotency, &body).await
    }

    async fn with_body<T: Serialize>(
        &self,
        path: &str,
        idempotency: Option<&str>,
        body: &T,
    ) -> Result<Told, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::internal(&error))?;
        let json = ("content-type", "application/json");
        let headers: Vec<_> =
            idempotency.map(|key| ("idempotency-key", key)).into_iter().chain([json]).collect();
        Ok(Told(self.0.ask(path, &headers, Body::from(body)).await?))
    }

    /// The id of the tenant's log.
    pub(super) fn log_id(&self) -> Result<LogId, Failure> {
        Ok(self.0.log_id()?)
    }

    /// The last change of a collection.
    pub(super) async fn last_change(&self, collection: &str) -> Result<Seq, Failure> {
        Ok(self.0.last_change(collection).await?)
    }

    /// Records of a ranking, as [`Entered::scored`] has them.
    pub(super) async fn scored(
        &self,
        collection: &str,
        ranked: &[(&str, f32)],
        show: Show,
        wanted: impl FnMut(Option<Json>) -> bool,
    ) -> Result<Seq, Failure> {
        Ok(self.0.scored(collection, ranked, show, wanted).await?)
    }

    /// The same text for the same arguments, however they were written.
    pub(super) async fn canonical(&self, arguments: &Arguments) -> Result<Json, Failure> {
        let written = answer::json(arguments)?;
        self.work(written.get().len(), move || canonical::written(&written)).await
    }

    /// Does work on so many bytes of what was sent: in turns and off the async threads if they are many.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.0.session().work(bytes, move || Ok(work())).await?
    }

    /// The last place in the log, for an operation that reads it.
    pub(super) fn log_end(&self) -> Result<u64, Failure> {
        Ok(self.0.log_end()?.get())
    }
}

/// What an operation has answered.
pub(super) struct Told(Bytes);

impl Told {
    /// All of it, as it is.
    pub(super) fn json(&self) -> Result<Json, Failure> {
        self.read()
    }

    /// What matters of it.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        told(&self.0)
    }

    /// The lines, if it is one JSON value a line.
    pub(super) fn lines(&self) -> Result<Vec<&RawValue>, Failure> {
        self.0.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(told).collect()
    }
}

fn told<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::internal(&error))
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
        "description": "Which records, by the fields of their payload: {\"must\": [...], \"should\": [...], \"must_not\": [...]}, each a list of conditions (or such objects again); of should, one is enough. Conditions: {\"key\": \"lang\", \"match\": {\"value\": \"en\"}}, {\"key\": \"lang\", \"match\": {\"any\": [\"en\", \"de\"]}} (or except), {\"key\": \"price\", \"range\": {\"gte\": 10, \"lt\": 20}}, {\"is_empty\": {\"key\": \"price\"}}, {\"is_null\": {\"key\": \"price\"}}, {\"has_id\": [\"a\", \"b\"]}. Keys of nested fields have dots: author.name; a field whose own name has a dot is quoted: \"service.name\". A list fulfils a condition if one of its elements does."
    })
}
