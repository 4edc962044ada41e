//! `search`

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use vectorizer_log::Seq;

use super::{Description, Effect, nullable};
use crate::api::{Session, Show};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call, collection_path, collection_schema, filter_schema};
use crate::mcp::failure::Failure;
use crate::mcp::page::{Cursors, Room, is_oversized};
use crate::mcp::ranking::{Ranking, RankingMark};

const USUAL: usize = 10;
const MOST: usize = 100;
/// How many results the ranking has that pages are cut from: as many as one search over REST finds at most.
const DEPTH: usize = 1_000;
/// How many bytes of a text are shown of a record that is larger than an answer.
const SHOWN_BYTES_MAX: usize = 4_096;

pub(super) fn describe() -> Description {
    Description {
        title: "Search",
        text: "Finds the records of one collection that match best: by text (words, ranked by BM25; and by meaning where the server makes embeddings), by a vector you have computed, or by both together; among those only that fulfil a filter, if there is one. Best first, up to 1,000 results, in pages.",
        effect: Effect::Reads,
        arguments: json!({
            "collection": collection_schema(),
            "text": {"type": "string", "description": "Words to look for, if the collection has texts: any of them, the more and the rarer the better. No operators. Of a long text the rarest words count."},
            "vector": {"type": "array", "items": {"type": "number"}, "description": "What to be near to: as many numbers as the collection's dimension."},
            "rank_by": {"type": "string", "enum": ["text", "vector", "both"], "description": "What the ranking is made of; usually what is given."},
            "filter": filter_schema(),
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL, "description": "How many results at most."},
            "score_threshold": {"type": "number", "description": "The least score of a result; for vectors under euclidean, the largest distance."},
            "exact": {"type": "boolean", "default": false, "description": "Compare with every vector: slower, and sure to miss none."},
            "with_payload": {"type": "boolean", "default": true, "description": "Show payloads."},
            "with_text": {"type": "boolean", "default": true, "description": "Show texts."},
            "with_vector": {"type": "boolean", "default": false, "description": "Show the numbers too, which are many."},
            "cursor": {"type": "string", "description": "next_cursor of the answer before, with the same arguments, for the results behind it. No result comes twice, and none is left out."}
        }),
        needed: &["collection"],
        answer: json!({
            "results": {
                "type": "array", "description": "Best first. One that is larger than an answer has cut, which says what is left out and how to get it.",
                "items": {"type": "object", "properties": {"id": {"type": "string"}, "score": {"type": "number"}}}
            },
            "next_cursor": nullable("string", "Where the next call goes on; null at the end of the ranking."),
            "note": nullable("string", "What to know about this page: whether the collection has changed since the first one, and whether the ranking ends here only because it is 1,000 results long.")
        }),
    }
}

/// What the operation tells.
#[derive(Deserialize)]
struct Found {
    results: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Ranked {
    id: String,
    score: f32,
}

#[derive(Serialize)]
struct Answer {
    results: Vec<Json>,
    next_cursor: Option<String>,
    note: Option<String>,
}

/// Where a page begins.
struct Place {
    /// How many results come before it.
    skipped: usize,
    /// The last change of the collection when the ranking was made.
    last_change: Seq,
    /// Of which ranking.
    mark: RankingMark,
}

impl Place {
    fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        // No ranking has more than `DEPTH` results.
        bytes[..4].copy_from_slice(&u32::try_from(self.skipped).unwrap_or(u32::MAX).to_le_bytes());
        bytes[4..12].copy_from_slice(&self.last_change.get().to_le_bytes());
        bytes[12..].copy_from_slice(&self.mark.0);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (skipped, rest) = bytes.split_first_chunk()?;
        let (last_change, mark) = rest.split_first_chunk()?;
        Some(Self {
            skipped: usize::try_from(u32::from_le_bytes(*skipped)).ok()?,
            last_change: Seq::new(u64::from_le_bytes(*last_change)),
            mark: RankingMark(mark.try_into().ok()?),
        })
    }
}

pub(super) async fn call(call: &Call, session: &Session, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    let path = format!("{}/search", collection_path(&name)?);
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    let show = Show::asked(
        arguments.take("with_payload")?,
        arguments.take("with_text")?,
        arguments.take("with_vector")?,
    );
    let question = arguments.rest();
    // Of a moment before the search, so that no change in between goes unnoticed.
    let last_change = call.last_change(&name).await?;
    let asked = call.canonical(&question).await?;
    let log = call.log_id()?;
    let cursors = Cursors::of(log, "search", &[name.as_bytes(), asked.get().as_bytes()]);
    let (ranking, skipped) = match cursor {
        None => (searched(call, &path, question, &cursors, last_change).await?, 0),
        Some(cursor) => {
            let place = Place::read(&cursors.read(&cursor)?).ok_or_else(Failure::cursor)?;
            let ranking = match session.rankings().find(log, cursors.question(), place.mark) {
                Some(kept) => kept,
                None if place.last_change == last_change => {
                    let again = searched(call, &path, question, &cursors, last_change).await?;
                    if again.mark() != place.mark {
                        return Err(Failure::ranking_gone("its index has been brought up to date"));
                    }
                    again
                }
                None => return Err(Failure::ranking_gone("the collection has changed")),
            };
            (ranking, place.skipped)
        }
    };
    let page = ranking.page(skipped, limit);
    let (mut results, mut room, mut taken, mut missing) = (Vec::new(), Room::new(), 0, 0);
    let mut failed = Ok(());
    let wanted = |record: Option<Json>| {
        let record = match record.map(shortened).transpose() {
            Ok(record) => record,
            Err(failure) => {
                failed = Err(failure);
                return false;
            }
        };
        match record {
            Some(record) if room.take(&record) => results.push(record),
            Some(_) => return false,
            None => missing += 1,
        }
        taken += 1;
        true
    };
    let now = call.scored(&name, &page, show, wanted).await?;
    failed?;
    let next = skipped + taken;
    let next_cursor = (next < ranking.len()).then(|| {
        session.rankings().keep(log, &ranking);
        let place = Place { skipped: next, last_change: ranking.last_change(), mark: ranking.mark() };
        cursors.write(&place.bytes())
    });
    let note = note(&ranking, now, missing, next_cursor.is_none());
    answer::json(&Answer { results, next_cursor, note })
}

/// The ranking of a question, which is always searched to the same depth.
async fn searched(
    call: &Call,
    path: &str,
    mut question: Arguments,
    cursors: &Cursors,
    last_change: Seq,
) -> Result<Arc<Ranking>, Failure> {
    question.put("limit", &DEPTH)?;
    for shown in ["with_payload", "with_text", "with_vector"] {
        question.put(shown, &false)?;
    }
    let told = call.send(path, &question).await?;
    let Found { results } = told.read()?;
    let results = results.iter().map(|Ranked { id, score }| (id.as_str(), *score));
    Ok(Arc::new(Ranking::new(*cursors.question(), last_change, results)))
}

/// What there is to know about a page.
fn note(ranking: &Ranking, now: Seq, missing: usize, is_last: bool) -> Option<String> {
    let mut notes = Vec::new();
    if now != ranking.last_change() {
        let since = ranking.last_change();
        notes.push(format!(
            "The collection has changed since this ranking was made, at seq {since}; its last change is {now}. \
             The order is that of then, the records are as they are now{}. Call without cursor for the ranking of now.",
            match missing {
                0 => String::new(),
                missing => format!(", and {missing} deleted since are left out"),
            }
        ));
    }
    if is_last && ranking.len() == DEPTH {
        notes.push(format!(
            "A ranking ends with its result {DEPTH}; there may be more. A filter or another text narrows it down."
        ));
    }
    (!notes.is_empty()).then(|| notes.join(" "))
}

/// A result as it is shown: one that is larger than an answer, in part.
fn shortened(record: Json) -> Result<Json, Failure> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        id: String,
        #[serde(borrow)]
        score: &'a RawValue,
        text: Option<String>,
    }
    #[derive(Serialize)]
    struct Short<'a> {
        id: String,
        score: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        cut: String,
    }
    if !is_oversized(&record) {
        return Ok(record);
    }
    let Whole { id, score, text } =
        serde_json::from_str(record.get()).map_err(|error| Failure::internal(&error))?;
    let shown = text.as_deref().map(|text| &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]);
    let cut = format!(
        "This record has {} bytes of JSON, more than an answer holds: shown are its id and {}. Call get with this id for all of it, in parts.",
        record.get().len(),
        match (&text, shown) {
            (Some(text), Some(shown)) =>
                format!("the first {} of {} bytes of its text", shown.len(), text.len()),
            _ => "its score".to_owned(),
        }
    );
    answer::json(&Short { id, score, text: shown, cut })
}
