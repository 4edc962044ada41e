//! `search`

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use vectorizer_engine::tenancy::KeptKey;
use vectorizer_index::Hit;
use vectorizer_log::{CollectionName, PointId, Seq, vector_le_bytes};
use vectorizer_service::{
    Error, INLINE_BYTES_MAX, RESULTS_MAX, SearchArguments, SearchResults, SearchResume, Show, shown_bytes,
};
use vectorizer_wire::read::read_body;
use vectorizer_wire::search::{ScoredPoint, SearchInput, scored};

use super::{Description, Effect, nullable};
use crate::answer::{self, Json};
use crate::call::{Arguments, Call, collection_schema, filter_schema};
use crate::failure::Failure;
use crate::page::{ANSWER_BYTES_MAX, AnswerBudget, Cursors, is_oversized};
use crate::ranking::{Ranking, RankingMark};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
/// The most results of a ranking, as many as one search over REST can return.
const DEPTH: usize = RESULTS_MAX;
/// The bytes of the names of a few arguments.
const NAMES_BYTES: usize = 64;
/// The bytes of an answer beside its results, with a cursor.
const FRAME_BYTES: usize = 128;
/// The most bytes of the text in a shortened record.
const SHOWN_BYTES_MAX: usize = 4_096;

pub(super) fn describe() -> Description {
    Description {
        title: "Search",
        text: "Searches a collection for the best matches: by text (by words, ranked by BM25, and by meaning if the server makes embeddings), by a vector that you have computed, or by both. A filter restricts the results. Returns up to 1,000 results, best first, in pages.",
        effect: Effect::Reads,
        arguments: json!({
            "collection": collection_schema(),
            "text": {"type": "string", "description": "The words to search for, if the collection has texts. A result has at least one of them; more and rarer words rank it higher. There are no operators. Of a long text, the search uses the rarest words."},
            "vector": {"type": "array", "items": {"type": "number"}, "description": "The query vector, with as many numbers as the collection's dimension."},
            "rank_by": {"type": "string", "enum": ["text", "vector", "both"], "description": "The basis of the ranking; by default all that is given."},
            "filter": filter_schema(),
            "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT, "description": "The most results to return."},
            "score_threshold": {"type": "number", "description": "The lowest score of a result; for a vector search by euclidean distance, the largest distance."},
            "exact": {"type": "boolean", "default": false, "description": "Compare with every vector: slower, but certain to miss none."},
            "with_payload": {"type": "boolean", "default": true, "description": "Include payloads."},
            "with_text": {"type": "boolean", "default": true, "description": "Include texts."},
            "with_vector": {"type": "boolean", "default": false, "description": "Include vectors, which have many numbers."},
            "cursor": {"type": "string", "description": "next_cursor of the previous answer, with the same arguments, for the results after it. No result is repeated or missing."}
        }),
        required: &["collection"],
        answer: json!({
            "results": {
                "type": "array", "description": "The results, best first. A result that is larger than an answer is shortened and has the field cut, which says how to get all of it.",
                "items": {"type": "object", "properties": {"id": {"type": "string"}, "score": {"type": "number"}}}
            },
            "next_cursor": nullable("string", "The cursor for the next call; null at the end of the ranking."),
            "note": nullable("string", "Remarks on this page: that the collection has changed since the first page, that some results rank before those of the first page, or that the ranking ends here because it has 1,000 results.")
        }),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    results: Records<'a>,
    next_cursor: Option<String>,
    note: Option<String>,
}

/// The results of a page.
#[derive(Serialize)]
#[serde(untagged)]
enum Records<'a> {
    /// All of them, which are certain to fit.
    Whole(Vec<ScoredPoint<'a>>),
    /// Those that fit, each serialized.
    Fitting(Vec<Json>),
}

impl<'a> Records<'a> {
    /// The first of these results: as many as fit, and their approximate bytes.
    fn of(hits: &'a [Hit], show: Show) -> Result<(Self, usize), Failure> {
        /// A byte of an id or a text has up to six in JSON.
        const GROWTH_MAX: usize = 8;
        let estimate: usize = hits.iter().map(|hit| shown_bytes(&hit.point, show)).sum();
        if estimate <= ANSWER_BYTES_MAX / GROWTH_MAX {
            let whole = hits.iter().map(|hit| ScoredPoint::of(&hit.point, hit.score, show));
            return Ok((Self::Whole(whole.collect()), estimate));
        }
        let (mut records, mut budget) = (Vec::new(), AnswerBudget::new());
        for hit in hits {
            let record = shortened(scored(&hit.point, hit.score, show)?)?;
            if !budget.take(&record) {
                break;
            }
            records.push(record);
        }
        let bytes = records.iter().map(|record| record.get().len() + 1).sum();
        Ok((Self::Fitting(records), bytes))
    }

    fn len(&self) -> usize {
        match self {
            Self::Whole(records) => records.len(),
            Self::Fitting(records) => records.len(),
        }
    }
}

/// The ranking of a first page, and the way to its other results.
struct Begun {
    ranking: Ranking,
    resume: SearchResume,
}

/// The start of a page.
struct Position {
    /// The number of results before the page.
    skipped: usize,
    /// The number of results that the ranking began with.
    begun: usize,
    /// The last change of the collection when the ranking was computed.
    last_change: Seq,
    /// The mark of the ranking.
    mark: RankingMark,
}

impl Position {
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

/// The request of a page.
struct PageRequest<'a> {
    call: &'a Call,
    name: CollectionName,
    cursors: Cursors,
    show: Show,
    limit: usize,
}

pub(super) async fn call(call: &Call, mut arguments: Arguments) -> Result<Vec<u8>, Failure> {
    let name = arguments.collection()?;
    let limit = arguments.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let cursor: Option<String> = arguments.take("cursor")?;
    let show = Show::with_defaults(
        arguments.take("with_payload")?,
        arguments.take("with_text")?,
        arguments.take("with_vector")?,
    );
    let query = arguments.remaining();
    if cursor.is_some() || query.bytes() > INLINE_BYTES_MAX {
        // A missing collection is reported before large arguments are parsed, and before the cursor is checked.
        call.service().describe_collection(call.reader()?, &name).await?;
    }
    let (search, identity) = parse(call, query).await?;
    let log = call.reader()?.log_id();
    let identity = [name.as_str().as_bytes(), &identity.vector, &identity.others];
    let cursors = Cursors::of(log, "search", &identity);
    let page = PageRequest { call, name, cursors, show, limit };
    match cursor {
        None => page.first_page(search).await,
        Some(cursor) => {
            let position = Position::read(&page.cursors.read(&cursor)?).ok_or_else(Failure::cursor)?;
            page.page_at(&position, search).await
        }
    }
}

/// A search's results, and the way to more of them.
struct Searched {
    found: SearchResults,
    resume: SearchResume,
}

/// Two searches of a collection with equal identities are the same search. Their pages may show different parts.
struct Identity {
    /// The query vector.
    vector: Vec<u8>,
    /// The canonical JSON of the other arguments.
    others: Vec<u8>,
}

/// Parses the arguments of a search.
async fn parse(call: &Call, mut query: Arguments) -> Result<(SearchArguments, Identity), Failure> {
    let (bytes, depth_max) = (query.bytes(), call.service().limits().json_depth_max);
    let parse = move || {
        let vector = query.take_parsed_vector();
        let mut search = if query.is_parsed() {
            SearchInput::default()
        } else {
            read_body(&answer::json_bytes(&query, query.bytes() + NAMES_BYTES)?)?
        };
        if let Some(vector) = vector {
            search = search.with_vector(vector);
        }
        let search = search.into_arguments(depth_max)?;
        // Numbers that are equal as f32 are the same, however they are written.
        let vector =
            search.vector.as_ref().map(|vector| vector_le_bytes(vector.as_dense())).unwrap_or_default();
        query.take_raw("vector");
        Ok((search, Identity { vector, others: query.canonical()? }))
    };
    call.session().work(bytes, parse).await
}

impl PageRequest<'_> {
    /// The first page: a search for only its own results.
    async fn first_page(self, search: SearchArguments) -> Result<Vec<u8>, Failure> {
        // One more than requested says whether there is a next page.
        let Searched { found, resume } = self.search(search, self.limit + 1).await?;
        let hits = found.hits();
        let (results, bytes) = Records::of(&hits[..hits.len().min(self.limit)], self.show)?;
        let next_cursor = if results.len() < hits.len() {
            let ranking = self.begun(&found);
            let position = Position {
                skipped: results.len(),
                begun: hits.len(),
                last_change: ranking.last_change(),
                mark: ranking.mark(),
            };
            let reader = self.call.reader()?;
            if ranking.is_complete() {
                self.call.session().rankings().keep(reader.log_id(), &Arc::new(ranking));
            } else {
                reader.keep(self.kept_key(ranking.mark()), Arc::new(Begun { ranking, resume }));
            }
            Some(self.cursors.write(&position.bytes()))
        } else {
            None
        };
        answer::json_bytes(&Answer { results, next_cursor, note: None }, bytes + FRAME_BYTES)
    }

    /// A later page, which continues the ranking of the first page.
    async fn page_at(self, position: &Position, search: SearchArguments) -> Result<Vec<u8>, Failure> {
        let ranking = self.ranking(position, search).await?;
        let reader = self.call.reader()?;
        let page = ranking.page(position.skipped, self.limit);
        let ids = page.iter().map(|(id, _)| PointId::text(*id)).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(Error::from)?;
        let (now, points) = self.call.service().get_vectors(reader, &self.name, &ids).await?;
        let (mut results, mut budget, mut taken, mut missing) = (Vec::new(), AnswerBudget::new(), 0, 0);
        for ((_, score), point) in page.iter().zip(points) {
            match point {
                None => missing += 1,
                Some(point) => {
                    let record = shortened(scored(&point, *score, self.show)?)?;
                    if !budget.take(&record) {
                        break;
                    }
                    results.push(record);
                }
            }
            taken += 1;
        }
        let skipped = position.skipped + taken;
        let next_cursor =
            (skipped < ranking.len()).then(|| self.cursors.write(&Position { skipped, ..*position }.bytes()));
        let late = ranking.late_in(position.skipped, skipped);
        let note = note(&ranking, now, missing, late, next_cursor.is_none());
        let bytes: usize = results.iter().map(|record| record.get().len() + 1).sum();
        let answer = Answer { results: Records::Fitting(results), next_cursor, note };
        answer::json_bytes(&answer, bytes + FRAME_BYTES)
    }

    /// The complete ranking of a cursor.
    async fn ranking(&self, position: &Position, search: SearchArguments) -> Result<Arc<Ranking>, Failure> {
        let reader = self.call.reader()?;
        let (log, rankings) = (reader.log_id(), self.call.session().rankings());
        if let Some(complete) = rankings.find(log, self.cursors.query(), position.mark) {
            // Caching it again makes it the newest one.
            rankings.keep(log, &complete);
            return Ok(complete);
        }
        let kept = reader.kept(&self.kept_key(position.mark)).and_then(|kept| kept.downcast::<Begun>().ok());
        let begun = if let Some(begun) = kept {
            begun
        } else {
            let Searched { found, resume } = self.search(search, position.begun).await?;
            if found.last_change() != position.last_change {
                return Err(Failure::ranking_gone("the collection has changed"));
            }
            Arc::new(Begun { ranking: self.begun(&found), resume })
        };
        if begun.ranking.mark() != position.mark {
            return Err(Failure::ranking_gone("its index has been updated"));
        }
        let deeper = self.call.service().resume_search(reader, &begun.resume).await?;
        let ranking = Arc::new(begun.ranking.completed(ranked(&deeper)));
        rankings.keep(log, &ranking);
        Ok(ranking)
    }

    fn begun(&self, found: &SearchResults) -> Ranking {
        // The search asked for one more than `limit`. If it found no more, the ranking is complete.
        let is_complete = found.hits().len() <= self.limit;
        Ranking::begun(*self.cursors.query(), found.last_change(), ranked(found), is_complete)
    }

    async fn search(&self, search: SearchArguments, limit: usize) -> Result<Searched, Failure> {
        let show = Show::with_defaults(Some(false), Some(false), Some(false));
        let search = SearchArguments { limit: Some(limit as u64), show, ..search };
        let input = self.call.session().parsed(search);
        let (found, resume) =
            self.call.service().search_resumably(self.call.reader()?, &self.name, input).await?;
        Ok(Searched { found, resume })
    }

    /// The key of the stored state on which the ranking is completed.
    fn kept_key(&self, mark: RankingMark) -> KeptKey {
        // Both are hashes. The other bytes of the query's identify it.
        let mut key = *self.cursors.query();
        key[..mark.0.len()].copy_from_slice(&mark.0);
        key
    }
}

/// The ids of results, with their scores.
fn ranked(found: &SearchResults) -> impl Iterator<Item = (&str, f32)> + Clone {
    found.hits().iter().map(|hit| (hit.point.id(), hit.score))
}

/// The remarks on a page.
fn note(ranking: &Ranking, now: Seq, missing: usize, late: usize, is_last: bool) -> Option<String> {
    let mut notes = Vec::new();
    if now != ranking.last_change() {
        let since = ranking.last_change();
        notes.push(format!(
            "The collection has changed since this ranking was computed, at seq {since}; its last change is {now}. \
             The order is from then, the records are current{}. Call without cursor for a new ranking.",
            match missing {
                0 => String::new(),
                missing => format!(", and {missing} deleted records are missing"),
            }
        ));
    }
    if late > 0 {
        notes.push(format!(
            "{late} results of this page rank before the end of the first page: the search for later pages is deeper."
        ));
    }
    if is_last && ranking.len() >= DEPTH {
        notes.push(format!(
            "A ranking has at most {DEPTH} results; there may be more. Use a filter or another text to narrow the search."
        ));
    }
    (!notes.is_empty()).then(|| notes.join(" "))
}

/// Shortens a result that is larger than an answer.
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
        "This record has {} bytes of JSON, more than an answer may have. Only its id and {} are included. Call get with this id for all of it, in parts.",
        record.get().len(),
        match (&text, shown) {
            (Some(text), Some(shown)) =>
                format!("the first {} of {} bytes of its text", shown.len(), text.len()),
            _ => "its score".to_owned(),
        }
    );
    answer::json(&Short { id, score, text: shown, cut })
}
