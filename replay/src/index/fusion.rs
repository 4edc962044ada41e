//! One ranking of two: reciprocal rank fusion.

use std::collections::HashMap;

use super::search::Hit;

/// How much less the first places are worth than the sum of all others (the paper's k).
const K: f64 = 60.0;
/// How far down each ranking is looked at, at least.
const DEPTH_MIN: usize = 100;

/// How many hits of each ranking make `limit` hits of both.
pub fn fused_depth(limit: usize) -> usize {
    limit.max(DEPTH_MIN)
}

/// The best of both rankings, each best first: a hit's score is the sum of 1 / (60 + place) over the rankings
/// that it is in. Equal scores are in the order of ids.
pub fn fused(rankings: [Vec<Hit>; 2], limit: usize, score_threshold: Option<f32>) -> Vec<Hit> {
    let mut fused: Vec<(f64, Hit)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for ranking in rankings {
        let mut divisor = K;
        for hit in ranking {
            divisor += 1.0;
            if let Some(place) = places.get(hit.point.id()) {
                fused[*place].0 += divisor.recip();
            } else {
                places.insert(hit.point.id().to_owned(), fused.len());
                fused.push((divisor.recip(), hit));
            }
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    let scored = |(score, hit)| Hit { score: score as f32, ..hit };
    let mut hits: Vec<Hit> = fused.into_iter().map(scored).collect();
    hits.retain(|hit| score_threshold.is_none_or(|least| hit.score >= least));
    hits.sort_by(|one, other| {
        other.score.total_cmp(&one.score).then_with(|| one.point.id().cmp(other.point.id()))
    });
    hits.truncate(limit);
    hits
}
