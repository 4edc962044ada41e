//! `create_collection`

use serde_json::json;
use vectorizer_log::Language;
use vectorizer_wire::collections::{CollectionCreated, NewCollection};
use vectorizer_wire::read::read_body;

use super::{Description, Effect};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, idempotency_schema};
use crate::failure::Failure;

const LANGUAGES: [&str; Language::ALL.len()] = {
    let mut codes = [""; Language::ALL.len()];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = Language::ALL[at].code();
        at += 1;
    }
    codes
};

pub(super) fn describe() -> Description {
    Description {
        title: "Create a collection",
        text: "Creates an empty collection. For texts, give text: true and no dimension: searches find records by their words. For vectors that you compute yourself, give dimension and metric. With all three, records have both. These settings cannot be changed later.",
        effect: Effect::Adds,
        arguments: json!({
            "collection": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", "description": "A name that no other collection has."},
            "text": {"anyOf": [{"type": "boolean"}, {"type": "object", "additionalProperties": false, "properties": {"language": {"type": "string", "enum": LANGUAGES}}}], "default": false, "description": "Whether records may have texts for full-text search. With {\"language\": \"en\"}, a search finds all forms of a word in that language (invoice finds invoices) and ignores words like the and of. With true, it finds words only in the form of the text."},
            "dimension": {"type": "integer", "minimum": 1, "maximum": 16384, "description": "The number of elements of each vector. Requires metric."},
            "metric": {"type": "string", "enum": ["cosine", "dot", "euclidean"], "description": "The metric of vectors: cosine for most embeddings."},
            "idempotency_key": idempotency_schema()
        }),
        required: &["collection"],
        answer: json!({
            "name": {"type": "string"},
            "seq": {"type": "integer", "description": "The number of the write's record in the audit log."}
        }),
    }
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let renamed = |failure: Failure| failure.renamed("name", "collection");
    let key = arguments.idempotency()?;
    let name: String = arguments.require("collection")?;
    arguments.set("name", &name)?;
    let read = |sent: &[u8]| read_body::<NewCollection>(sent)?.checked();
    let request = ("POST", "/api/v1/collections".to_owned());
    let (input, conditions) = call.write(key, request, &arguments.remaining(), read).await?;
    let created = call.service().create_collection(call.administrator()?, input, conditions).await;
    let (name, committed) = created.map_err(|error| renamed(error.into()))?;
    answer::json(&CollectionCreated::of(&committed, &name))
}
