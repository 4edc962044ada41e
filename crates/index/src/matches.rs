//! Searching by words.

use vectorizer_log::{Text, TextParameters};

use super::collection::Collection;
use super::search::{Best, Hit, Order};
use super::selection::Selection;
use super::slots::{Entry, Slot, Slots};
use super::sought::Sought;
use crate::text::{Found, TextIndex, TextQuery};

/// What to look for among the texts that have a word in common with a question.
#[derive(Clone, Copy, Debug)]
pub struct TextRequest<'a> {
    /// The most hits wanted.
    pub limit: usize,
    /// What a hit must fulfil.
    pub filter: Option<&'a Selection>,
    /// The least score of a hit, inclusive.
    pub score_threshold: Option<f32>,
}

/// What the texts of a collection have in common with a question, as of one moment, whatever is written later.
/// Needs no lock.
#[derive(Clone, Debug)]
pub struct TextMatches {
    found: Found,
    slots: Slots,
}

impl TextMatches {
    /// The best points by BM25 (k1 = 1.2, b = 0.75), best first, equal scores in the order of ids: of all that
    /// have a word of the question and fulfil the filter. Fewer than `limit` hits means that there are no more.
    pub fn search(&self, request: &TextRequest<'_>) -> Vec<Hit> {
        let TextRequest { limit, filter, score_threshold } = *request;
        let sought = Sought::of(filter, &self.slots);
        if limit == 0 || sought.points_max == 0 {
            return Vec::new();
        }
        let points = self.found.postings().min(sought.points_max);
        let mut best = Best::new(limit, score_threshold, sought.filter, Order::HigherFirst, points);
        self.found.each_best(sought.among, |document, score| {
            let (block, offset) = self.slots.at(document as usize);
            if let Some(entry) = block.entry(offset) {
                best.offer(score, entry);
            }
            0.0 - best.rank_max()
        });
        best.into_hits()
    }

    /// How many entries of the index a search goes through at most.
    pub fn compared(&self) -> usize {
        self.found.postings()
    }

    /// Whether a filter may have to read many payloads.
    pub fn reads_payloads(&self, filter: Option<&Selection>) -> bool {
        Sought::of(filter, &self.slots).filter.is_some()
    }
}

impl Collection {
    /// What its texts have in common with a question, as of now; `None` if its points have no texts.
    pub fn look_up(&self, query: &TextQuery) -> Option<TextMatches> {
        Some(TextMatches { found: self.texts()?.look_up(query), slots: self.slots().clone() })
    }
}

/// The words of all points in these slots.
pub(super) fn words_of<E>(
    slots: &Slots,
    parameters: TextParameters,
    stop: &impl Fn() -> Result<(), E>,
) -> Result<TextIndex, E> {
    let mut texts = TextIndex::new(parameters.language);
    for (number, entry) in (0..).zip(slots.blocks().iter().flat_map(|block| block.entries())) {
        stop()?;
        if let Some(text) = entry.and_then(Entry::text) {
            texts.add(number, text.as_str());
        }
    }
    Ok(texts)
}

/// Takes in the text of a point that now lies in `slot`, or forgets it.
pub(super) fn add(texts: &mut Option<TextIndex>, slot: Slot, text: Option<&Text>) {
    if let (Some(texts), Some(text)) = (texts, text) {
        texts.add(slot.number(), text.as_str());
    }
}

/// The reverse.
pub(super) fn remove(texts: &mut Option<TextIndex>, slot: Slot, text: Option<&Text>) {
    if let (Some(texts), Some(text)) = (texts, text) {
        texts.remove(slot.number(), text.as_str());
    }
}
