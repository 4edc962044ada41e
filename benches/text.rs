//! Searching 100,000 short texts by their words, in process, on one thread.
//!
//! Texts have 8 to 40 words of a vocabulary of 50,000, whose frequencies fall as in any language (Zipf): the most
//! common word is in nearly every text. Queries have one to four words, drawn in the same way. "All" keeps every text
//! that has one of the words, so nothing can be passed over: what the same walk takes without bounds.
//!
//! ```text
//! cargo bench --bench text
//! ```

#[path = "support/fold.rs"]
mod fold;
#[expect(dead_code, unused_imports, reason = "shared with side-by-side measurements")]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use fold::apply;
use support::{Outcome, number, print_table};
use vectorizer_index::{Collection, Filter, TextQuery, TextRequest};
use vectorizer_log::{Document, Event, LogId, PointId, Text};
use vectorizer_replay::Projection;
use vectorizer_testing::Random;
use vectorizer_testing::events::FIRST_COLLECTION;

const TEXTS: usize = 100_000;
const TEXTS_PER_RECORD: usize = 500;
const VOCABULARY: usize = 50_000;
const QUERIES: usize = 2_000;
const LIMIT: usize = 10;

fn main() -> Outcome<()> {
    let mut words = Words::new();
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    apply(&mut projection, Event::TextCollectionCreated { name: "texts".parse()?, vectors: None })?;
    let (mut bytes, started) = (0, Instant::now());
    let mut folding = Duration::ZERO;
    for first in (0..TEXTS).step_by(TEXTS_PER_RECORD) {
        let documents = (first..first + TEXTS_PER_RECORD).map(|number| document(number, &mut words));
        let documents = documents.collect::<Outcome<Vec<_>>>()?;
        bytes += documents
            .iter()
            .filter_map(|document| Some(document.text.as_ref()?.as_str().len()))
            .sum::<usize>();
        let begun = Instant::now();
        apply(&mut projection, Event::DocumentsUpserted { collection: FIRST_COLLECTION, documents })?;
        folding += begun.elapsed();
    }
    let collection = projection.index().by_id(FIRST_COLLECTION).ok_or("the collection is missing")?;
    let size = collection.text_index_size();
    let per_text = |count: usize| format!("{:.1}", number(count) / number(TEXTS));
    print_table(
        [
            "texts",
            "folded, texts/s",
            "bytes of text",
            "terms",
            "postings",
            "index, bytes",
            "bytes per posting",
        ],
        &[[
            TEXTS.to_string(),
            format!("{:.0}", number(TEXTS) / folding.as_secs_f64()),
            per_text(bytes),
            size.terms.to_string(),
            per_text(size.postings),
            per_text(size.bytes),
            format!("{:.2}", number(size.bytes) / number(size.postings)),
        ]],
    );
    let mut rows = Vec::new();
    for terms in 1..=4 {
        let queries = (0..QUERIES).map(|_| Ok(TextQuery::new(&words.some(terms))?));
        let queries = queries.collect::<Outcome<Vec<_>>>()?;
        for (what, limit, filter) in [
            ("best 10", LIMIT, None),
            ("best 10 of 1 %", LIMIT, Some(r#"{"must": {"key": "n", "match": {"value": 7}}}"#)),
            ("all", TEXTS, None),
        ] {
            let filter = filter.map(|json| Ok::<_, Box<dyn std::error::Error>>(Filter::parse(json, 32)?));
            rows.push(measure(collection, &queries, (terms, what), limit, filter.transpose()?.as_ref()));
        }
    }
    print_table(["words", "found", "queries/s", "p50, us", "p99, us"], &rows);
    eprintln!("{:?} in all", started.elapsed());
    Ok(())
}

fn measure(
    collection: &Collection,
    queries: &[TextQuery],
    (terms, what): (usize, &str),
    limit: usize,
    filter: Option<&Filter>,
) -> [String; 5] {
    let selection = filter.map(|filter| collection.select(filter.clone()));
    let request = TextRequest { limit, filter: selection.as_ref(), score_threshold: None };
    // Looking a query's terms up belongs to a search.
    let search = |query: &TextQuery| {
        black_box(collection.look_up(black_box(query)).map(|matches| matches.search(&request)));
    };
    let queries = if limit == TEXTS { &queries[..queries.len() / 20] } else { queries };
    queries.iter().take(queries.len() / 10).for_each(search);
    let mut took: Vec<Duration> = queries
        .iter()
        .map(|query| {
            let started = Instant::now();
            search(query);
            started.elapsed()
        })
        .collect();
    let all: Duration = took.iter().sum();
    took.sort_unstable();
    let at = |percent: usize| format!("{:.0}", took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6);
    let per_second = number(queries.len()) / all.as_secs_f64();
    [terms.to_string(), what.to_owned(), format!("{per_second:.0}"), at(50), at(99)]
}

fn document(number: usize, words: &mut Words) -> Outcome<Document> {
    let count = 8 + usize::try_from(words.random.below(33))?;
    let payload = vectorizer_log::Payload::new(format!("{{\"n\": {}}}", number % 100))?;
    let text = Text::new(words.some(count))?;
    let id = PointId::text(format!("text-{number}"))?;
    Ok(Document { id, vector: None, payload: Some(payload), text: Some(text) })
}

/// Words as they occur, the same in every run.
struct Words {
    random: Random,
    /// How much the words up to each one weigh.
    weights: Vec<f64>,
}

impl Words {
    fn new() -> Self {
        let mut sum = 0.0;
        let weight = |rank: usize| {
            sum += number(rank + 1).recip();
            sum
        };
        Self { random: Random::new(1), weights: (0..VOCABULARY).map(weight).collect() }
    }

    /// So many of them, with spaces between.
    fn some(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            let place = self.random.fraction() * self.weights[VOCABULARY - 1];
            let rank = self.weights.partition_point(|weight| *weight < place);
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&spelled(rank));
        }
        text
    }
}

/// A word of syllables: two for the common ones, up to four for the rare.
fn spelled(rank: usize) -> String {
    const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let mut word = String::new();
    let mut rest = rank + 70;
    while rest > 0 {
        let syllable = rest % 70;
        word.push(char::from(CONSONANTS[syllable / 5]));
        word.push(char::from(VOWELS[syllable % 5]));
        rest /= 70;
    }
    word
}
