//! `search`

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use vectorizer_log::{CollectionName, PointId, Seq};

use super::{Description, Effect, nullable};
use crate::mcp::answer::{self, Json};
use crate::mcp::call::{Arguments, Call, collection_schema, filter_schema, text};
use crate::mcp::failure::Failure;
use crate::mcp::page::{Cursors, Room, is_oversized};
use crate::mcp::ranking::{Ranking, RankingMark};
use crate::service::{Error, Found, RESULTS_MAX, SearchResume, Show};
use crate::tenancy::KeptKey;
use crate::wire::read::read_body;
use crate::wire::search::{SearchInput, scored};

const USUAL: usize = 10;
const MOST: usize = 100;
/// How many results a ranking has at least, if there are as many: what one search over REST finds at most.
const DEPTH: usize = RESULTS_MAX;
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
            "note": nullable("string", "What to know about this page: whether the collection has changed since the first one, whether some of its results rank before those of the first page, and whether the ranking ends here only because it is 1,000 results long.")
        }),
    }
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
    /// How many results the ranking was begun with.
    begun: usize,
    /// The last change of the collection when the ranking was made.
    last_change: Seq,
    /// Of which ranking.
    mark: RankingMark,
}

impl Place {
    fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        // No ranking has more than `DEPTH` results.
        bytes[..4].copy_from_slice(&u32::try_from(self.skipped).unwrap_or(u32::MAX).to_le_bytes());
        bytes[4..8].copy_from_slice(&u32::try_from(self.begun).unwrap_or(u32::MAX).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.last_change.get().to_le_bytes());
        bytes[16..].copy_from_slice(&self.mark.0);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (skipped, rest) = bytes.split_first_chunk()?;
        let (begun, rest) = rest.split_first_chunk()?;
        let (last_change, mark) = rest.split_first_chunk()?;
        Some(Self {
            skipped: usize::try_from(u32::from_le_bytes(*skipped)).ok()?,
            begun: usize::try_from(u32::from_le_bytes(*begun)).ok()?,
            last_change: Seq::new(u64::from_le_bytes(*last_change)),
            mark: RankingMark(mark.try_into().ok()?),
        })
    }
}

/// A page of a search, before it is shown.
struct Asked<'a> {
    call: &'a Call,
    name: CollectionName,
    question: Arguments,
    cursors: Cursors,
    show: Show,
    limit: usize,
    /// The last change of the collection at a moment before any search, so that no change in between goes unnoticed.
    last_change: Seq,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Json, Failure> {
    let name = arguments.collection()?;
    let limit = arguments.limit(USUAL, MOST)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    let show = Show::asked(
        arguments.take("with_payload")?,
        arguments.take("with_text")?,
        arguments.take("with_vector")?,
    );
    let question = arguments.rest();
    let asked = call.canonical(&question).await?;
    let log = call.reader()?.log_id();
    let cursors = Cursors::of(log, "search", &[name.as_str().as_bytes(), asked.get().as_bytes()]);
    let last_change = call.service().describe_collection(call.reader()?, &name).await?.last_change;
    let asked = Asked { call, name, question, cursors, show, limit, last_change };
    match cursor {
        None => asked.first_page().await,
        Some(cursor) => {
            let place = Place::read(&asked.cursors.read(&cursor)?).ok_or_else(Failure::cursor)?;
            asked.page_at(&place).await
        }
    }
}

impl Asked<'_> {
    /// The first page is a search that is as deep as the page is long.
    async fn first_page(self) -> Result<Json, Failure> {
        let (reader, last_change) = (self.call.reader()?, self.last_change);
        // One more than is shown, to know whether there is a next page.
        let (found, resume) = self.search(self.limit + 1).await?;
        let (mut results, mut room) = (Vec::new(), Room::new());
        for hit in found.hits().iter().take(self.limit) {
            let record = shortened(scored(&hit.point, hit.score, self.show)?)?;
            if !room.take(&record) {
                break;
            }
            results.push(record);
        }
        let begun = found.hits().len();
        let next_cursor = if results.len() < begun {
            let ranking = Arc::new(self.begun(&found, last_change));
            let (log, rankings) = (reader.log_id(), self.call.session().rankings());
            rankings.keep(log, &ranking);
            reader.keep(self.kept_key(ranking.mark()), Arc::new(resume));
            let place = Place { skipped: results.len(), begun, last_change, mark: ranking.mark() };
            Some(self.cursors.write(&place.bytes()))
        } else {
            None
        };
        answer::json(&Answer { results, next_cursor, note: None })
    }

    /// A later page continues the ranking that the first one began.
    async fn page_at(self, place: &Place) -> Result<Json, Failure> {
        let ranking = self.ranking(place).await?;
        let reader = self.call.reader()?;
        let page = ranking.page(place.skipped, self.limit);
        let ids = page.iter().map(|(id, _)| PointId::text(*id)).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(Error::from)?;
        let (now, points) = self.call.service().get_vectors(reader, &self.name, &ids).await?;
        let (mut results, mut room, mut taken, mut missing) = (Vec::new(), Room::new(), 0, 0);
        for ((_, score), point) in page.iter().zip(points) {
            match point {
                None => missing += 1,
                Some(point) => {
                    let record = shortened(scored(&point, *score, self.show)?)?;
                    if !room.take(&record) {
                        break;
                    }
                    results.push(record);
                }
            }
            taken += 1;
        }
        let skipped = place.skipped + taken;
        let next_cursor =
            (skipped < ranking.len()).then(|| self.cursors.write(&Place { skipped, ..*place }.bytes()));
        let late = ranking.late_in(place.skipped, skipped);
        let note = note(&ranking, now, missing, late, next_cursor.is_none());
        answer::json(&Answer { results, next_cursor, note })
    }

    /// The whole ranking that a cursor leads into.
    async fn ranking(&self, place: &Place) -> Result<Arc<Ranking>, Failure> {
        let reader = self.call.reader()?;
        let (log, rankings) = (reader.log_id(), self.call.session().rankings());
        let kept = rankings.find(log, self.cursors.question(), place.mark);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_whole()) {
            // It stays among the last ones.
            rankings.keep(log, kept);
            return Ok(Arc::clone(kept));
        }
        let resume = reader.kept(&self.kept_key(place.mark)).and_then(|kept| kept.downcast().ok());
        let (begun, resume) = match (kept, resume) {
            (Some(begun), Some(resume)) => (begun, resume),
            _ if place.last_change == self.last_change => {
                let (found, resume) = self.search(place.begun).await?;
                (Arc::new(self.begun(&found, place.last_change)), Arc::new(resume))
            }
            _ => return Err(Failure::ranking_gone("the collection has changed")),
        };
        if begun.mark() != place.mark {
            return Err(Failure::ranking_gone("its index has been brought up to date"));
        }
        let deeper = self.call.service().resume_search(reader, &resume).await?;
        let ranking = Arc::new(begun.completed(ranked(&deeper)));
        rankings.keep(log, &ranking);
        Ok(ranking)
    }

    fn begun(&self, found: &Found, last_change: Seq) -> Ranking {
        // What is found by a search that asks for more is all there is.
        Ranking::begun(*self.cursors.question(), last_change, ranked(found), found.hits().len() <= self.limit)
    }

    async fn search(&self, limit: usize) -> Result<(Found, SearchResume), Failure> {
        let mut question = self.question.clone();
        question.put("limit", &limit)?;
        for shown in ["with_payload", "with_text", "with_vector"] {
            question.put(shown, &false)?;
        }
        let service = self.call.service();
        let depth_max = service.limits().json_depth_max;
        let read = move |sent: &[u8]| read_body::<SearchInput>(sent)?.into_arguments(depth_max);
        let input = self.call.session().input(text(answer::json(&question)?), read);
        Ok(service.search_resumably(self.call.reader()?, &self.name, input).await?)
    }

    /// Where the state is kept that a ranking is completed on.
    fn kept_key(&self, mark: RankingMark) -> KeptKey {
        *blake3::keyed_hash(self.cursors.question(), &mark.0).as_bytes()
    }
}

/// The ids of results, with their scores.
fn ranked(found: &Found) -> impl Iterator<Item = (&str, f32)> + Clone {
    found.hits().iter().map(|hit| (hit.point.id(), hit.score))
}

/// What there is to know about a page.
fn note(ranking: &Ranking, now: Seq, missing: usize, late: usize, is_last: bool) -> Option<String> {
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
    if late > 0 {
        notes.push(format!(
            "{late} results of this page rank before the end of the first page: the search behind the first page looks deeper."
        ));
    }
    if is_last && ranking.len() >= DEPTH {
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
