//! Text search finds texts by their words, exactly, after any history.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vectorizer_index::{
    Collection, FUSED_DEPTH, Filter, Hit, SearchMode, SearchRequest, TextQuery, TextRequest, fused,
};
use vectorizer_log::{ChainHash, Document, Event, Head, Metric, Text};
use vectorizer_replay::{Projection, Projector as _, Restored};

use crate::history::{collection, fold, history, id, log_id, record, text};
use crate::model::{Model, ModelCollection};

/// The number of terms that a text shares with a query, which predicts whether it is found.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).filter(|word| word != "—").collect()
}

/// How many words a text has: each Chinese character is one, while queries use pairs of them.
fn length(words: &[String]) -> usize {
    words.iter().map(|word| if word == "東京" { 2 } else { 1 }).sum()
}

/// BM25 of every text that shares a word with the query, by the formula.
fn scores(target: &ModelCollection, question: &str) -> BTreeMap<String, f32> {
    let texts: BTreeMap<&String, Vec<String>> =
        target.points.iter().filter_map(|(id, point)| Some((id, words(point.text.as_ref()?)))).collect();
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let float = |count: usize| count as f64;
    let documents = float(texts.len());
    let mean = float(texts.values().map(|words| length(words)).sum()) / documents.max(1.0);
    let mut question = words(question);
    question.sort_unstable();
    question.dedup();
    let mut scores = BTreeMap::new();
    for (id, words) in &texts {
        let mut score = None;
        for term in &question {
            let count = float(words.iter().filter(|word| *word == term).count());
            if count > 0.0 {
                let having = float(texts.values().filter(|words| words.contains(term)).count());
                let idf = (1.0 + (documents - having + 0.5) / (having + 0.5)).ln();
                let norm = 1.2 * (1.0 - 0.75 + 0.75 * (float(length(words)) / mean));
                *score.get_or_insert(0.0) += idf * count * (1.2 + 1.0) / (count + norm);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "as scores are")]
        scores.extend(score.map(|score| ((*id).clone(), score as f32)));
    }
    scores
}

fn filter(json: &str) -> Filter {
    Filter::parse(json, 64).unwrap()
}

fn plain(hits: &[Hit]) -> Vec<(String, f32)> {
    hits.iter().map(|hit| (hit.point.id().to_owned(), hit.score)).collect()
}

fn assert_found(found: &Collection, expected: &ModelCollection, question: &str, limit: usize) {
    let Ok(query) = TextQuery::new(question) else { return };
    assert_eq!(found.look_up(&query).is_some(), expected.texts);
    let Some(matches) = found.look_up(&query) else { return };
    let all = scores(expected, question);
    for json in [
        "{}",
        r#"{"must": {"key": "flag", "match": {"value": true}}}"#,
        r#"{"must": {"has_id": ["p1", "p2"]}}"#,
    ] {
        let filter = filter(json);
        let fulfils = |id: &str| {
            let payload = found.get(&crate::history::id(id)).unwrap().payload().cloned();
            filter.matches(id, payload.as_ref())
        };
        let mut best: Vec<(String, f32)> = all.clone().into_iter().filter(|(id, _)| fulfils(id)).collect();
        best.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        best.truncate(limit);
        // By postings, and by reading every payload.
        for selection in [found.select(filter.clone()), filter.clone().into()] {
            let request = TextRequest { limit, filter: Some(&selection), score_threshold: None };
            assert_eq!(plain(&matches.search(&request)), best, "{question:?} {json}");
            let least = best.get(best.len() / 2).map(|(_, score)| *score);
            let request = TextRequest { score_threshold: least, ..request };
            let mut reaching = best.clone();
            reaching.retain(|(_, score)| least.is_none_or(|least| *score >= least));
            assert_eq!(plain(&matches.search(&request)), reaching, "{question:?} {json} {least:?}");
        }
    }
}

/// The projection, restored from a checkpoint.
fn restored(projection: &Projection) -> Projection {
    let head = Head { seq: projection.applied(), chain: ChainHash::from_bytes([0; 32]) };
    let mut bytes = Vec::new();
    projection.freeze(head, 0).write(&mut bytes).unwrap();
    Restored::read(&*bytes, bytes.len() as u64, log_id(), &|| false).unwrap().projection
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn text_search_equals_a_plain_scorer_after_any_history(
        records in history(), question in text(), limit in 1..30_usize, cut in any::<prop::sample::Index>(),
    ) {
        // Searched at two moments; matches that were looked up at the first one stay.
        let middle = cut.index(records.len() + 1);
        let mut projection = fold(&records[..middle]);
        let model = Model::of(&records[..middle]);
        let query = TextQuery::new(&question);
        let mut held = Vec::new();
        for (seq, expected) in &model.collections {
            let found = projection.index().by_id(collection(*seq)).unwrap();
            assert_found(found, expected, &question, limit);
            let matches = query.as_ref().ok().and_then(|query| found.look_up(query));
            held.extend(matches.map(|matches| {
                let request = TextRequest { limit, filter: None, score_threshold: None };
                let then = plain(&matches.search(&request));
                (matches, then)
            }));
        }
        // Once with the projection itself, and once restored from a checkpoint of that moment.
        let mut restored = restored(&projection);
        for record in &records[middle..] {
            projection.apply(record).unwrap();
            restored.apply(record).unwrap();
        }
        for (matches, then) in held {
            let request = TextRequest { limit, filter: None, score_threshold: None };
            prop_assert_eq!(plain(&matches.search(&request)), then);
        }
        for (seq, expected) in &Model::of(&records).collections {
            assert_found(projection.index().by_id(collection(*seq)).unwrap(), expected, &question, limit);
            assert_found(restored.index().by_id(collection(*seq)).unwrap(), expected, &question, limit);
        }
    }
}

fn document(name: &str, vector: Option<[f32; 2]>, text: Option<&str>) -> Document {
    Document {
        id: id(name),
        vector: vector.map(|numbers| vectorizer_log::Vector::dense(numbers).unwrap()),
        payload: None,
        text: text.map(|text| Text::new(text).unwrap()),
    }
}

fn texts(vectors: bool, documents: Vec<Document>) -> Projection {
    let vectors = vectors.then(|| vectorizer_log::VectorParameters {
        dimension: 2.try_into().unwrap(),
        metric: Metric::Euclidean,
        index: vectorizer_log::IndexParameters::default(),
    });
    let created = Event::TextCollectionCreated { name: "t".parse().unwrap(), vectors };
    let upserted = Event::DocumentsUpserted { collection: collection(1), documents };
    fold(&[record(1, 0, created), record(2, 0, upserted)])
}

#[test]
fn both_rankings_together_are_reciprocal_rank_fusion() {
    let projection = texts(
        true,
        vec![
            document("near", Some([0.0, 0.0]), None),
            document("both", Some([1.0, 0.0]), Some("apple pie")),
            document("word", Some([9.0, 9.0]), Some("apple apple")),
            document("far", Some([5.0, 5.0]), Some("pears")),
        ],
    );
    let found = projection.index().by_id(collection(1)).unwrap();
    let request = SearchRequest {
        vector: &[0.0, 0.0],
        limit: FUSED_DEPTH,
        filter: None,
        score_threshold: None,
        mode: SearchMode::Default,
    };
    let by_vector = found.snapshot().search(&request).unwrap();
    let matches = found.look_up(&TextQuery::new("Apple").unwrap()).unwrap();
    let by_text = matches.search(&TextRequest { limit: FUSED_DEPTH, filter: None, score_threshold: None });
    assert_eq!(by_text.iter().map(|hit| hit.point.id()).collect::<Vec<_>>(), ["word", "both"]);
    let score = |places: &[f64]| {
        #[expect(clippy::cast_possible_truncation, reason = "as scores are")]
        let score = places.iter().map(|place| (60.0 + place).recip()).sum::<f64>() as f32;
        score
    };
    let rankings = || [by_vector.clone(), by_text.clone()];
    let fused = |rankings, limit, least| {
        let none_deeper = || Err("there are no more to look for");
        fused(rankings, none_deeper, limit, least).unwrap()
    };
    assert_eq!(
        plain(&fused(rankings(), 10, None)),
        [
            ("both".to_owned(), score(&[2.0, 2.0])),
            ("word".to_owned(), score(&[4.0, 1.0])),
            ("near".to_owned(), score(&[1.0])),
            ("far".to_owned(), score(&[3.0])),
        ]
    );
    assert_eq!(fused(rankings(), 1, None).len(), 1);
    assert_eq!(fused(rankings(), 10, Some(score(&[1.0]))).len(), 3);
    // The same rank in either ranking: by id.
    let tied = fused([by_vector[..1].to_vec(), by_text[..1].to_vec()], 10, None);
    assert_eq!(tied.iter().map(|hit| hit.point.id()).collect::<Vec<_>>(), ["near", "word"]);
}

#[test]
fn a_collection_without_vectors_is_searched_by_words_only() {
    let projection =
        texts(false, vec![document("a", None, Some("one two")), document("b", None, Some("two"))]);
    let found = projection.index().by_id(collection(1)).unwrap();
    assert_eq!((found.dimension(), found.metric(), found.len()), (None, None, 2));
    let request = SearchRequest {
        vector: &[],
        limit: 1,
        filter: None,
        score_threshold: None,
        mode: SearchMode::Default,
    };
    assert!(found.snapshot().search(&request).is_err());
    assert_eq!(found.logical_bytes(), 2 * (1 + 32) + 7 + 3);
    assert_eq!(found.snapshot().count(None), 2);
}

#[test]
fn invalid_documents_are_refused_and_change_nothing() {
    let (both, one) = (Some([1.0, 2.0]), Some("word"));
    for (vectors, bad) in [
        (true, document("x", None, one)),
        (false, document("x", both, one)),
        (false, document("x", None, None)),
    ] {
        let mut projection = texts(vectors, vec![]);
        let before = projection.digest();
        let upserted = Event::DocumentsUpserted { collection: collection(1), documents: vec![bad] };
        assert!(projection.apply(&record(3, 0, upserted)).is_err());
        assert_eq!(projection.digest(), before);
        assert_eq!(projection.log_id(), log_id());
    }
    // A collection without texts refuses documents with texts.
    let created = crate::history::created("v", 2, Metric::Dot);
    let mut projection = fold(&[record(1, 0, created)]);
    let upserted = |text| Event::DocumentsUpserted {
        collection: collection(1),
        documents: vec![document("x", both, text)],
    };
    assert!(projection.apply(&record(2, 0, upserted(one))).is_err());
    assert!(projection.apply(&record(2, 0, upserted(None))).is_ok());
}
