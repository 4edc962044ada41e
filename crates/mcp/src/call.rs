//! The arguments of a call, and the access to its operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use vectorizer_access::Operation;
use vectorizer_engine::admission::{Admin, Read, Write};
use vectorizer_engine::tenancy::Tenant;
use vectorizer_json::Unreadable;
use vectorizer_log::CollectionName;
use vectorizer_service::{
    Access, Conditions, Error, IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey, Input, Service,
};
use vectorizer_wire::values::VectorInput;

use super::answer;
use super::canonical;
use super::failure::Failure;
use super::session::Session;

/// The names that arguments have in other products or earlier versions, and their name in all tools here.
const ARGUMENT_ALIASES: [(&str, &str); 9] = [
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

/// The name of the query vector.
const VECTOR: &str = "vector";

/// The arguments of a call, as unparsed JSON. A tool takes each argument once. Arguments that are left are an error, or
/// are passed to the parser of the operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    unparsed: BTreeMap<String, Box<RawValue>>,
    /// The query vector, if it was parsed with the message. It is not among the others then.
    vector: Option<VectorInput>,
}

/// Without a query vector that is parsed.
impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.unparsed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ArgumentsByName { parses_vector: false })
    }
}

/// Arguments whose query vector is parsed: its numbers, which are most of a message, are read once.
#[derive(Default)]
pub(super) struct ArgumentsWithVector(pub(super) Arguments);

impl<'de> Deserialize<'de> for ArgumentsWithVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ArgumentsByName { parses_vector: true }).map(Self)
    }
}

struct ArgumentsByName {
    parses_vector: bool,
}

impl<'de> Visitor<'de> for ArgumentsByName {
    type Value = Arguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Arguments, A::Error> {
        let mut arguments = Arguments::default();
        while let Some(name) = fields.next_key::<String>()? {
            let Arguments { unparsed, vector } = &mut arguments;
            if unparsed.len() + usize::from(vector.is_some()) == ARGUMENTS_MAX {
                return Err(A::Error::custom(format_args!("there are more than {ARGUMENTS_MAX}")));
            }
            let parses = self.parses_vector && name == VECTOR;
            if unparsed.contains_key(&name) || (parses && vector.is_some()) {
                return Err(A::Error::custom(format_args!("{name:?} is given twice")));
            }
            if parses {
                *vector = Some(fields.next_value()?);
            } else {
                unparsed.insert(name, fields.next_value()?);
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    /// The bytes of their unparsed JSON, without the names.
    pub(super) fn bytes(&self) -> usize {
        self.unparsed.values().map(|value| value.get().len()).sum()
    }

    /// Takes an optional argument. `null` counts as missing.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(written) = self.take_raw(name) else { return Ok(None) };
        read(name, &written).map(Some)
    }

    /// Takes an optional argument as unparsed JSON. `null` counts as missing.
    pub(super) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.unparsed.remove(name).filter(|written| written.get() != "null")
    }

    /// Takes the query vector, if it was parsed with the message.
    pub(super) fn take_parsed_vector(&mut self) -> Option<VectorInput> {
        self.vector.take()
    }

    /// Whether the query vector was parsed with the message.
    pub(super) fn has_parsed_vector(&self) -> bool {
        self.vector.is_some()
    }

    /// Whether none is left unparsed.
    pub(super) fn is_parsed(&self) -> bool {
        self.unparsed.is_empty()
    }

    /// Takes a required argument as unparsed JSON.
    pub(super) fn require_raw(&mut self, name: &str) -> Result<Box<RawValue>, Failure> {
        self.take_raw(name).ok_or_else(|| Failure::arguments(format!("{name} is missing")))
    }

    /// Takes a required argument.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        self.take(name)?.ok_or_else(|| Failure::arguments(format!("{name} is missing")))
    }

    /// Sets an argument, or replaces it.
    pub(super) fn set<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), Failure> {
        self.unparsed.insert(name.to_owned(), answer::json(value)?);
        Ok(())
    }

    /// Takes `limit`, from 1 to `max`.
    pub(super) fn limit(&mut self, default: usize, max: usize) -> Result<usize, Failure> {
        match self.take::<usize>("limit")? {
            None => Ok(default),
            Some(limit) if (1..=max).contains(&limit) => Ok(limit),
            Some(limit) => Err(Failure::arguments(format!("limit is {limit}, it must be 1 to {max}"))),
        }
    }

    /// Takes the name of the collection.
    pub(super) fn collection(&mut self) -> Result<CollectionName, Failure> {
        let name: String = self.require("collection")?;
        if name.is_empty() {
            return Err(Failure::arguments("collection: it must not be empty"));
        }
        Ok(name.parse().map_err(Error::from)?)
    }

    /// Takes the idempotency key, if there is one.
    pub(super) fn idempotency(&mut self) -> Result<Option<IdempotencyKey>, Failure> {
        let Some(key) = self.take::<String>("idempotency_key")? else { return Ok(None) };
        let key = IdempotencyKey::new(key).ok_or_else(|| {
            Failure::arguments(format!(
                "idempotency_key: expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
            ))
        })?;
        Ok(Some(key))
    }

    /// The arguments that have not been taken, for the parser of the operation.
    pub(super) fn remaining(mut self) -> Self {
        self.unparsed.retain(|_, value| value.get() != "null");
        self
    }

    /// The canonical JSON of the unparsed ones: equal for equal arguments. Takes time in proportion to their length.
    pub(super) fn canonical(&self) -> Result<Vec<u8>, Failure> {
        canonical::canonical_object(self.unparsed.iter().map(|(name, value)| (name.as_str(), &**value)))
    }

    /// Rejects an alias of a `known` argument. The error says the argument's name here.
    pub(super) fn reject_aliases(&self, known: &BTreeSet<String>) -> Result<(), Failure> {
        for name in self.unparsed.keys().filter(|name| !known.contains(*name)) {
            let meant = ARGUMENT_ALIASES.iter().find(|(others, meant)| {
                known.contains(*meant) && others.split(' ').any(|other| other == name)
            });
            if let Some((_, meant)) = meant {
                return Err(Failure::arguments(format!(
                    "there is no argument {name:?}, its name here is {meant:?}"
                )));
            }
        }
        Ok(())
    }

    /// Rejects arguments that have not been taken.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.unparsed.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(Failure::arguments(format!("there is no argument {name:?}")))
            }
        }
    }
}

/// Parses an argument.
pub(super) fn read<'a, T: Deserialize<'a>>(name: &str, written: &'a RawValue) -> Result<T, Failure> {
    vectorizer_json::read(written.get().as_bytes()).map_err(|unreadable| {
        Failure::arguments(match unreadable {
            Unreadable::NotJson(why) => format!("{name}: not JSON: {why}"),
            Unreadable::Wrong(wrong) => wrong.of(name).to_string(),
        })
    })
}

/// A call of a tool: its message, and the access to its operation.
pub(super) struct Call {
    session: Session,
    access: Access,
}

impl Call {
    /// Admits the call to the tool's operation. It counts as one request.
    pub(super) async fn enter(session: &Session, operation: Operation) -> Result<Self, Failure> {
        Ok(Self { access: session.enter(operation).await?, session: session.clone() })
    }

    /// The message.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The service.
    pub(super) fn service(&self) -> &Service {
        self.session.service()
    }

    /// The access to read.
    pub(super) fn reader(&self) -> Result<&Arc<Tenant<Read>>, Failure> {
        if let Access::Read(tenant) = &self.access { Ok(tenant) } else { Err(Failure::wrong_access()) }
    }

    /// The access to write.
    pub(super) fn writer(&self) -> Result<&Tenant<Write>, Failure> {
        if let Access::Write(tenant) = &self.access { Ok(tenant) } else { Err(Failure::wrong_access()) }
    }

    /// The access to administrate.
    pub(super) fn administrator(&self) -> Result<&Tenant<Admin>, Failure> {
        if let Access::Admin(tenant) = &self.access { Ok(tenant) } else { Err(Failure::wrong_access()) }
    }

    /// The arguments and conditions of a write. With an idempotency key, the hash covers the canonical JSON, so that a
    /// repetition with other white space is the same write. `method` and `path` are those of the same write over REST,
    /// as stored hashes outlive a version of the server.
    pub(super) async fn write<T: Serialize, U: 'static>(
        &self,
        idempotency: Option<IdempotencyKey>,
        (method, path): (&'static str, String),
        body: &T,
        read: impl FnOnce(&[u8]) -> Result<U, Error> + Send + 'static,
    ) -> Result<(Input<U>, Conditions), Failure> {
        let body = answer::json(body)?;
        let bytes = body.get().len();
        let Some(key) = idempotency else {
            return Ok((self.session.input(answer::bytes(body), read), Conditions::default()));
        };
        let hash = move || {
            let body = canonical::canonicalize(&body)?;
            let pieces = [method.as_bytes(), path.as_bytes(), body.get().as_bytes()];
            let idempotency = key.of_request(pieces);
            Ok::<_, Failure>((body, idempotency))
        };
        let (body, idempotency) = self.session.work(bytes, hash).await?;
        let conditions = Conditions { idempotency: Some(idempotency), precondition: None };
        Ok((self.session.input(answer::bytes(body), read), conditions))
    }
}

/// The schema of the collection's name.
pub(super) fn collection_schema() -> Value {
    json!({"type": "string", "description": "The collection's name, from list_collections."})
}

/// The schema of the idempotency key.
pub(super) fn idempotency_schema() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": 255,
        "description": "Optional. A text of your choice, different for each new write. If a call may have been lost, repeat it with the same key and the same arguments: the write is done only once, and you get the same answer."
    })
}

/// The schema of a filter.
pub(super) fn filter_schema() -> Value {
    json!({
        "type": "object",
        "description": "Selects records by the fields of their payload: {\"must\": [...], \"should\": [...], \"must_not\": [...]}, each a list of conditions or of nested filters. A record matches if it meets all conditions of must, none of must_not, and at least one of should. Conditions: {\"key\": \"lang\", \"match\": {\"value\": \"en\"}}, {\"key\": \"lang\", \"match\": {\"any\": [\"en\", \"de\"]}} (or except), {\"key\": \"price\", \"range\": {\"gte\": 10, \"lt\": 20}}, {\"is_empty\": {\"key\": \"price\"}}, {\"is_null\": {\"key\": \"price\"}}, {\"has_id\": [\"a\", \"b\"]}. Keys of nested fields have dots: author.name. A field name that has a dot itself is quoted: \"service.name\". A list meets a condition if one of its elements does."
    })
}
