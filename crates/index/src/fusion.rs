//! Reciprocal rank fusion: combining two rankings into one.

use std::collections::{HashMap, HashSet};

use super::search::Hit;

/// The constant k of the paper. The larger it is, the less the scores of the first ranks differ from those of later
/// ones.
const K: f64 = 60.0;
/// How many ranks of each ranking are fused. The number does not depend on the limit, so that the first results do not
/// depend on how many results are requested.
pub const FUSED_DEPTH: usize = 100;

/// Fuses two rankings, each best first, and returns the best `limit` hits.
///
/// - A hit within the first [`FUSED_DEPTH`] ranks of a ranking scores the sum of 1 / (60 + rank) over these ranks.
/// - All other hits follow, by their better rank, and score 1 / (60 + rank).
///
/// Each of `rankings` must have at least [`FUSED_DEPTH`] hits, or all hits if there are fewer. `deeper` returns longer
/// rankings. It is called only if the first rankings yield fewer than `limit` hits. Hits with equal scores are in the
/// order of ids.
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
                // A deeper walk may find a hit that belongs among the first ranks.
                scores.add(place.max(FUSED_DEPTH + 1), hit, |score, other| *score = score.max(other));
            }
        }
        hits.extend(scores.best_first());
    }
    hits.retain(|hit| score_threshold.is_none_or(|least| hit.score >= least));
    hits.truncate(limit);
    Ok(hits)
}

/// Hits and their scores.
#[derive(Default)]
struct Scores {
    hits: Vec<(f64, Hit)>,
    places: HashMap<String, usize>,
}

impl Scores {
    /// Adds a hit of one ranking; `join` merges the scores if the hit is known.
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
