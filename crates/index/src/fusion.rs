//! One ranking of two: reciprocal rank fusion.

use std::collections::{HashMap, HashSet};

use super::search::Hit;

/// How much less the first places are worth than the sum of all others (the paper's k).
const K: f64 = 60.0;
/// How many places of each ranking are fused, however many results are asked for: so the first results do not depend on
/// how many follow them.
pub const FUSED_DEPTH: usize = 100;

/// The best of both rankings, each best first.
///
/// - A hit among the first [`FUSED_DEPTH`] of a ranking or of both: its score is the sum of 1 / (60 + place) over those.
/// - Other hits come behind all of these, by their better place: their score is 1 / (60 + place).
///
/// `rankings` are at least as deep as that if there are as many hits. `deeper` are as deep as can be asked for; they are
/// searched only if `limit` hits are not found without them. Equal scores are in the order of ids.
pub fn fused<E>(
    rankings: [Vec<Hit>; 2],
    deeper: impl FnOnce() -> Result<[Vec<Hit>; 2], E>,
    limit: usize,
    score_threshold: Option<f32>,
) -> Result<Vec<Hit>, E> {
    let may_have_more = rankings.iter().any(|ranking| ranking.len() >= FUSED_DEPTH);
    let mut scores = Scores::default();
    for ranking in rankings {
        for (place, hit) in (1..).zip(ranking).take(FUSED_DEPTH) {
            scores.add(place, hit, |score, more| *score += more);
        }
    }
    let mut hits = scores.best_first();
    if may_have_more && hits.len() < limit {
        let known: HashSet<String> = hits.iter().map(|hit| hit.point.id().to_owned()).collect();
        let mut scores = Scores::default();
        for ranking in deeper()? {
            for (place, hit) in (1..).zip(ranking).filter(|(_, hit)| !known.contains(hit.point.id())) {
                // A walk that looks further may find one that would have been among the first.
                scores.add(place.max(FUSED_DEPTH + 1), hit, |score, other| *score = score.max(other));
            }
        }
        hits.extend(scores.best_first());
    }
    hits.retain(|hit| score_threshold.is_none_or(|least| hit.score >= least));
    hits.truncate(limit);
    Ok(hits)
}

/// Hits and what they come to.
#[derive(Default)]
struct Scores {
    hits: Vec<(f64, Hit)>,
    places: HashMap<String, usize>,
}

impl Scores {
    /// Takes in a hit of one ranking; `join` says what one that is there already comes to.
    fn add(&mut self, place: usize, hit: Hit, join: impl FnOnce(&mut f64, f64)) {
        #[expect(clippy::cast_precision_loss, reason = "a ranking is not that long")]
        let score = (K + place as f64).recip();
        if let Some(known) = self.places.get(hit.point.id()) {
            join(&mut self.hits[*known].0, score);
        } else {
            self.places.insert(hit.point.id().to_owned(), self.hits.len());
            self.hits.push((score, hit));
        }
    }

    fn best_first(self) -> Vec<Hit> {
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        let scored = |(score, hit)| Hit { score: score as f32, ..hit };
        let mut hits: Vec<Hit> = self.hits.into_iter().map(scored).collect();
        hits.sort_by(|one, other| {
            other.score.total_cmp(&one.score).then_with(|| one.point.id().cmp(other.point.id()))
        });
        hits
    }
}
