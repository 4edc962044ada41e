//! The index, compared with a scorer that reads the texts.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::words::{Purpose, Words};
use super::*;

/// BM25 as in textbooks, for every document.
fn naive(texts: &BTreeMap<u32, String>, query: &TextQuery) -> BTreeMap<u32, f32> {
    let counted = |text: &str| -> (BTreeMap<String, u32>, f64) {
        let mut words = Words::of(text, Analysis::default(), Purpose::Document);
        let length = f64::from(words.len());
        (words.counted().map(|(term, count)| (term.to_owned(), count)).collect(), length)
    };
    let words: BTreeMap<u32, (BTreeMap<String, u32>, f64)> =
        texts.iter().map(|(document, text)| (*document, counted(text))).collect();
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let documents = texts.len() as f64;
    let mean = words.values().map(|(_, length)| length).sum::<f64>() / documents.max(1.0);
    let having = |term: &str| words.values().filter(|(words, _)| words.contains_key(term)).count();
    // Of many terms, the rarest are used.
    let mut sought: Vec<&str> = query.terms().filter(|term| having(term) > 0).collect();
    sought.sort_by_key(|term| having(term));
    sought.truncate(TextQuery::TERMS_SEARCHED_MAX);
    sought.sort_unstable();
    let mut scores = BTreeMap::new();
    for (document, (words, length)) in &words {
        let mut score = None;
        for term in &sought {
            let Some(count) = words_with(words, term) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let having = having(term) as f64;
            let idf = (1.0 + (documents - having + 0.5) / (having + 0.5)).ln();
            let count = f64::from(count);
            let norm = 1.2 * (1.0 - 0.75 + 0.75 * (length / mean));
            *score.get_or_insert(0.0) += idf * count * (1.2 + 1.0) / (count + norm);
        }
        #[expect(clippy::cast_possible_truncation, reason = "as scores are")]
        scores.extend(score.map(|score| (*document, score as f32)));
    }
    scores
}

fn words_with(words: &BTreeMap<String, u32>, term: &str) -> Option<u32> {
    words.get(term).copied()
}

/// The best `limit` documents by the index, best first, and how many documents it has offered.
fn found(
    index: &TextIndex,
    query: &TextQuery,
    among: Option<&RoaringBitmap>,
    limit: usize,
) -> (Vec<(u32, f32)>, usize) {
    let mut best: Vec<(u32, f32)> = Vec::new();
    let mut offered = 0;
    index.look_up(query).each_best(among, |document, score| {
        offered += 1;
        best.push((document, score));
        best.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        best.truncate(limit);
        if best.len() == limit { best[limit - 1].1 } else { f32::NEG_INFINITY }
    });
    (best, offered)
}

fn expected(scores: &BTreeMap<u32, f32>, among: Option<&RoaringBitmap>, limit: usize) -> Vec<(u32, f32)> {
    let accepted = |document: &u32| among.is_none_or(|among| among.contains(*document));
    let mut all: Vec<(u32, f32)> = scores
        .iter()
        .map(|(document, score)| (*document, *score))
        .filter(|(document, _)| accepted(document))
        .collect();
    all.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    all.truncate(limit);
    all
}

/// A text of few distinct words, some of them common.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => Just("the"), 3 => Just("cat"), 2 => Just("Dög"), 1 => Just("東"), 1 => Just("zebra"), 1 => Just("!"),
        1 => Just("東京"), 1 => Just("cat.pdf"), 1 => Just("the-cat"), 1 => Just("l\u{2019}cat"),
    ];
    vec(word, 1..12).prop_map(|words| words.join(" "))
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<String>),
    /// Every n-th document, from one on.
    Remove(usize, usize),
    Renumber,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(text(), 0..50).prop_map(Step::Add),
        2 => (1..5_usize, 0..5_usize).prop_map(|(every, first)| Step::Remove(every, first)),
        1 => Just(Step::Renumber),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_best_documents_equal_a_plain_scorer_to_the_bit_after_any_history(
        steps in vec(step(), 1..16),
        questions in vec(text(), 1..4),
        limit in 1..20_usize,
        every in 1..7_u32,
    ) {
        let mut index = TextIndex::default();
        let mut texts: BTreeMap<u32, String> = BTreeMap::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Add(added) => for text in added {
                    index.add(next, &text);
                    texts.insert(next, text);
                    // Numbers may be skipped.
                    next += 1 + next % 3;
                },
                Step::Remove(every, first) => {
                    let removed: Vec<u32> = texts.keys().copied().skip(first).step_by(every).collect();
                    for document in removed {
                        index.remove(document, &texts.remove(&document).unwrap());
                    }
                }
                Step::Renumber => {
                    let numbers: BTreeMap<u32, u32> = texts.keys().copied().zip(0..).collect();
                    index = index.renumbered(|document| numbers.get(&document).copied());
                    texts = texts.into_iter().map(|(document, text)| (numbers[&document], text)).collect();
                    next = u32::try_from(texts.len()).unwrap();
                }
            }
            for query in &questions {
                let Ok(query) = TextQuery::new(query) else { continue };
                let scores = naive(&texts, &query);
                let among: RoaringBitmap = (0..next).filter(|number| number % every == 0).collect();
                for among in [None, Some(&among)] {
                    prop_assert_eq!(found(&index, &query, among, limit).0, expected(&scores, among, limit));
                }
            }
        }
        for (document, text) in std::mem::take(&mut texts) {
            index.remove(document, &text);
        }
        let size = index.size();
        prop_assert_eq!((size.terms, size.postings, index.documents, index.length), (0, 0, 0, 0));
    }
}

/// 20,000 documents with one common word each, and some with rare words.
fn common_and_rare() -> TextIndex {
    let mut index = TextIndex::default();
    for number in 0..20_000_u32 {
        let common = "common ".repeat(1 + number as usize % 3);
        let rare = if number % 100 == 7 { "rare" } else { "other" };
        index.add(number, &format!("{common} {rare} word{number}"));
    }
    index
}

#[test]
fn most_documents_that_cannot_be_among_the_best_are_skipped() {
    let index = common_and_rare();
    let query = TextQuery::new("common rare").unwrap();
    let (best, offered) = found(&index, &query, None, 10);
    assert_eq!(best.len(), 10);
    assert!(best.iter().all(|(document, _)| document % 100 == 7), "{best:?}");
    assert!(offered < 2_000, "{offered} of 20,000 were looked at");
}

#[test]
fn looked_up_postings_do_not_change_with_the_index() {
    let mut index = common_and_rare();
    let query = TextQuery::new("common word19999").unwrap();
    let before = index.look_up(&query);
    let all = |found: &QueryPostings| {
        let mut all = Vec::new();
        found.each_best(None, |document, score| {
            all.push((document, score));
            f32::NEG_INFINITY
        });
        all
    };
    let then = all(&before);
    index.remove(19_999, "common common common other word19999");
    index.add(20_000, "common and more");
    assert_eq!(all(&before), then);
    let now = all(&index.look_up(&query));
    assert_eq!((now.len(), now.last().map(|(document, _)| *document)), (20_000, Some(20_000)));
}

#[test]
fn a_posting_takes_few_bytes_and_a_term_of_one_document_no_block() {
    let mut index = TextIndex::default();
    for number in 0..20_000 {
        index.add(number, "the same few words in every one of these");
    }
    let size = index.size();
    assert_eq!((size.terms, size.postings), (9, 180_000));
    // Three bytes, and a share of its block's 80 or so.
    assert!(size.bytes < 180_000 * 4, "{size:?}");
    let mut index = TextIndex::default();
    for number in 0..20_000 {
        index.add(number, &format!("word{number}"));
    }
    assert!(index.size().bytes < 20_000 * 120, "{:?}", index.size());
}

#[test]
fn the_memory_of_a_text_index_is_counted_as_it_changes() {
    let mut index = TextIndex::default();
    let text =
        |number: u32| format!("common {} word{number} {}", number % 7, "again ".repeat(number as usize % 3));
    for number in 0..3_000 {
        index.add(number, &text(number));
    }
    let counted = |index: &TextIndex| {
        index.terms.iter().map(|(term, postings)| allocated(term.len()) + postings.bytes()).sum::<usize>()
    };
    assert_eq!(index.bytes, counted(&index));
    let held = index.look_up(&TextQuery::new("common again word7").unwrap());
    for number in (0..3_000).filter(|number| number % 3 > 0) {
        index.remove(number, &text(number));
    }
    drop(held);
    assert_eq!(index.bytes, counted(&index));
    index = index.renumbered(|number| Some(number / 3));
    assert_eq!(index.bytes, counted(&index));
    for number in 0..1_000 {
        index.remove(number, &text(3 * number));
    }
    assert_eq!((index.bytes, index.terms.len()), (0, 0));
}

#[test]
fn a_query_has_words_however_long_it_is() {
    assert_eq!(TextQuery::new(" ?! "), Err(InvalidTextQuery));
    assert_eq!(TextQuery::new("Wörter worter").unwrap().terms, TextQuery::new("worter").unwrap().terms);
    let words = |count: usize| (0..count).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    assert_eq!(TextQuery::new(&words(2_000)).unwrap().terms.len(), 2_000);
    assert!(TextQuery::new(&words(100_000)).unwrap().terms.len() > 10_000);
    let long = TextQuery::new(&('\u{4e00}'..'\u{9fff}').collect::<String>()).unwrap();
    assert_eq!(long.terms.len(), TextQuery::TERMS_MAX);
    assert!(long.terms.is_sorted());
}

#[test]
fn a_long_query_searches_for_its_rarest_words() {
    let mut index = TextIndex::default();
    let mut texts = BTreeMap::new();
    // The words w0 to w399, each in one more text than the word before it, in groups of five.
    for number in 0..100_u32 {
        let text = (0..400)
            .filter(|word| word / 5 >= number)
            .map(|word| format!("w{word}"))
            .collect::<Vec<_>>()
            .join(" ");
        let text = format!("{text} x");
        index.add(number, &text);
        texts.insert(number, text);
    }
    let query = (0..400).rev().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
    let query = TextQuery::new(&query).unwrap();
    assert_eq!(query.terms.len(), 400);
    let sought = index.look_up(&query);
    assert_eq!(sought.postings(), (0..256).map(|word| word / 5 + 1).sum::<usize>());
    assert_eq!(found(&index, &query, None, 50).0, expected(&naive(&texts, &query), None, 50));
}

#[test]
fn a_query_for_another_language_is_analyzed_in_that_of_the_texts() {
    let mut index = TextIndex::new(Some(Language::English));
    index.add(0, "two invoices");
    for query in [
        TextQuery::new("the invoice").unwrap(),
        TextQuery::for_language("the invoice", Some(Language::English)),
        TextQuery::for_language("the invoice", Some(Language::German)),
    ] {
        assert_eq!(found(&index, &query, None, 10).0.len(), 1);
    }
}
