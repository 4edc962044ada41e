//! The rankings that searches continue, page by page.
//!
//! While a graph is being linked, the same search finds different results from one moment to the next, and writes
//! change them, too. So a later page does not search again: it continues the ranking of the first page. The first page
//! ranks only its own results. The second page ranks the rest, on the state that the first page saw. A ranking that is
//! not cached any more is computed again if the collection has not changed, and is used only if it begins with the
//! same results.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use vectorizer_log::{LogId, Seq};

/// The most rankings of one tenant. The oldest are dropped first.
const RANKINGS_PER_TENANT_MAX: usize = 8;
/// The approximate limit on the bytes of one tenant's rankings, and of all rankings.
const TENANT_BYTES_MAX: usize = 1 << 20;
const NODE_BYTES_MAX: u64 = 64 << 20;
/// The allocated bytes of ids that are shrunk.
const IDS_BYTES_SHRUNK: usize = 4 * 1024;
/// The bytes of most ids.
const ID_BYTES_USUAL: usize = 40;
/// How long a tenant's rankings are cached after its last search.
const TTL: Duration = Duration::from_mins(15);

/// The results of a search, best first.
pub(super) struct Ranking {
    /// The hash of the search.
    query: [u8; 32],
    /// The last change of the collection when the ranking was computed, or an earlier one.
    last_change: Seq,
    /// The concatenated ids, and the end of each.
    ids: String,
    ends: Box<[u32]>,
    scores: Box<[f32]>,
    mark: RankingMark,
    /// Whether there are no further results.
    is_complete: bool,
    late: Option<Late>,
}

/// Results that were found later but rank before the end of the first page's results.
#[derive(Clone, Copy, Debug)]
struct Late {
    first: usize,
    count: usize,
}

/// Identifies a ranking: a hash of the ids and scores that it begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RankingMark(pub(super) [u8; 8]);

impl RankingMark {
    fn of(Ranking { ids, ends, scores, .. }: &Ranking) -> Self {
        // The ends and the scores have the same length, so no two rankings are the same bytes.
        let mut bytes = Vec::with_capacity(4 * ends.len() + 4 * scores.len() + ids.len() + 8);
        for end in ends {
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        for score in scores {
            bytes.extend_from_slice(&score.to_le_bytes());
        }
        bytes.extend_from_slice(ids.as_bytes());
        bytes.extend_from_slice(&(ids.len() as u64).to_le_bytes());
        Self(blake3::hash(&bytes).as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

impl Ranking {
    /// The ranking that begins with these results. `is_complete` says that there are no others.
    pub(super) fn begun<'a>(
        query: [u8; 32],
        last_change: Seq,
        results: impl Iterator<Item = (&'a str, f32)>,
        is_complete: bool,
    ) -> Self {
        let mut ranking = Self::of(query, last_change, RankingMark::default(), results, is_complete);
        ranking.mark = RankingMark::of(&ranking);
        ranking
    }

    /// Completes the ranking with the results of the search `deeper` that it does not have yet. A deeper graph search
    /// may find results that rank before the end of the first ones. They come right after those.
    pub(super) fn completed<'a>(&'a self, deeper: impl Iterator<Item = (&'a str, f32)> + Clone) -> Self {
        let begun = self.page(0, self.len());
        let ids: HashSet<&str> = begun.iter().map(|(id, _)| *id).collect();
        let is_behind = |(id, _): &(&str, f32)| !ids.contains(id);
        let last_begun = deeper.clone().enumerate().filter(|(_, result)| !is_behind(result)).last();
        let before_last = last_begun.map_or(0, |(place, _)| place);
        let late = Late {
            first: begun.len(),
            count: deeper.clone().take(before_last).filter(|result| is_behind(result)).count(),
        };
        let all = begun.iter().copied().chain(deeper.filter(|result| is_behind(result)));
        let mut whole = Self::of(self.query, self.last_change, self.mark, all, true);
        whole.late = Some(late).filter(|late| late.count > 0);
        whole
    }

    fn of<'a>(
        query: [u8; 32],
        last_change: Seq,
        mark: RankingMark,
        results: impl Iterator<Item = (&'a str, f32)>,
        is_complete: bool,
    ) -> Self {
        let count = results.size_hint().0;
        let (mut ids, mut ends, mut scores) = (
            String::with_capacity(ID_BYTES_USUAL * count),
            Vec::with_capacity(count),
            Vec::with_capacity(count),
        );
        for (id, score) in results {
            ids.push_str(id);
            // There are at most a thousand ids of 256 bytes.
            ends.push(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            scores.push(score);
        }
        // A short one stays larger than its ids: most rankings are dropped soon, and copying it takes longer.
        if ids.capacity() > IDS_BYTES_SHRUNK {
            ids.shrink_to_fit();
        }
        let (ends, scores) = (ends.into(), scores.into());
        Self { query, last_change, ids, ends, scores, mark, is_complete, late: None }
    }

    /// The number of late results on the page from `first` to `end`.
    pub(super) fn late_in(&self, first: usize, end: usize) -> usize {
        let Some(Late { first: late, count }) = self.late else { return 0 };
        end.min(late + count).saturating_sub(first.max(late))
    }

    /// Whether there are no further results.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The number of results.
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(super) fn mark(&self) -> RankingMark {
        self.mark
    }

    /// The last change of the collection when the ranking was computed, or an earlier one.
    pub(super) fn last_change(&self) -> Seq {
        self.last_change
    }

    /// Up to `limit` results, starting at `first`.
    pub(super) fn page(&self, first: usize, limit: usize) -> Vec<(&str, f32)> {
        let end = |number: usize| self.ends[number] as usize;
        (first..self.len().min(first.saturating_add(limit)))
            .map(|number| {
                let start = number.checked_sub(1).map_or(0, end);
                (&self.ids[start..end(number)], self.scores[number])
            })
            .collect()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.ids.capacity() + 8 * self.len()
    }
}

/// The cached rankings of all tenants. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rankings(Arc<Cache<LogId, Arc<[Arc<Ranking>]>>>);

impl Default for Rankings {
    fn default() -> Self {
        let weigh = |_: &LogId, rankings: &Arc<[Arc<Ranking>]>| {
            u32::try_from(bytes_of(rankings) + 128).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(NODE_BYTES_MAX).weigher(weigh).time_to_idle(TTL);
        Self(Arc::new(cache.build()))
    }
}

impl fmt::Debug for Rankings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rankings").field(&self.0.weighted_size()).finish()
    }
}

fn bytes_of(rankings: &[Arc<Ranking>]) -> usize {
    rankings.iter().map(|ranking| ranking.bytes()).sum()
}

impl Rankings {
    /// Finds the ranking of a query with this mark, for the tenant with this log.
    pub(super) fn find(&self, log: LogId, query: &[u8; 32], mark: RankingMark) -> Option<Arc<Ranking>> {
        let kept = self.0.get(&log)?;
        kept.iter().find(|ranking| ranking.query == *query && ranking.mark == mark).cloned()
    }

    /// Caches a ranking of the tenant with this log, and drops the tenant's oldest rankings if there are too many.
    pub(super) fn keep(&self, log: LogId, ranking: &Arc<Ranking>) {
        self.0.entry(log).and_compute_with(|kept| {
            let mut rankings = vec![Arc::clone(ranking)];
            let mut bytes = ranking.bytes();
            for older in kept.iter().flat_map(|kept| kept.value().iter()) {
                let is_same = older.query == ranking.query && older.mark == ranking.mark;
                bytes += older.bytes();
                if rankings.len() == RANKINGS_PER_TENANT_MAX || bytes > TENANT_BYTES_MAX {
                    break;
                }
                if !is_same {
                    rankings.push(Arc::clone(older));
                }
            }
            Op::Put(rankings.into())
        });
    }

    /// Drops all rankings, as if memory were short.
    #[cfg(test)]
    fn drop_all(&self) {
        self.0.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ranking(query: u8, results: usize, id_bytes: usize) -> Arc<Ranking> {
        let ids: Vec<String> = (0..results).map(|number| format!("{number:0id_bytes$}")).collect();
        let results = ids.iter().map(|id| (id.as_str(), f32::from(query)));
        Arc::new(Ranking::begun([query; 32], Seq::new(1), results, true))
    }

    #[test]
    fn a_ranking_has_pages_and_a_mark_of_its_own() {
        let five = ranking(1, 5, 3);
        assert_eq!(five.page(0, 2), [("000", 1.0), ("001", 1.0)]);
        assert_eq!(five.page(3, 10), [("003", 1.0), ("004", 1.0)]);
        assert!(five.page(5, 10).is_empty() && five.page(usize::MAX, 10).is_empty());
        assert_eq!(five.mark(), ranking(1, 5, 3).mark());
        assert_ne!(five.mark(), ranking(1, 4, 3).mark());
        assert_ne!(five.mark(), ranking(2, 5, 3).mark());
        assert_eq!(ranking(1, 0, 3).page(0, 1), []);
    }

    #[test]
    fn a_completed_ranking_begins_as_before_and_has_each_result_once() {
        let begun = Ranking::begun([1; 32], Seq::new(1), [("b", 5.0), ("a", 4.0)].into_iter(), false);
        let deeper = [("c", 6.0), ("b", 5.0), ("a", 4.0), ("d", 3.0), ("e", 2.0)];
        let whole = begun.completed(deeper.into_iter());
        assert_eq!(whole.page(0, 9), [("b", 5.0), ("a", 4.0), ("c", 6.0), ("d", 3.0), ("e", 2.0)]);
        assert_eq!(
            [(0, 2), (0, 3), (2, 5), (3, 5)].map(|(first, end)| whole.late_in(first, end)),
            [0, 1, 1, 0]
        );
        assert!(whole.is_complete() && !begun.is_complete() && whole.mark() == begun.mark());
    }

    #[test]
    fn the_rankings_of_a_tenant_are_bounded_and_separate() {
        let rankings = Rankings::default();
        let (one, other) = (LogId::new(Uuid::from_u128(1)), LogId::new(Uuid::from_u128(2)));
        let all: Vec<_> = (0..10).map(|query| ranking(query, 10, 3)).collect();
        for ranking in &all {
            rankings.keep(one, ranking);
            rankings.keep(one, ranking);
        }
        let kept = |ranking: &Arc<Ranking>| rankings.find(one, &ranking.query, ranking.mark).is_some();
        assert_eq!(all.iter().map(kept).collect::<Vec<_>>(), [&[false; 2][..], &[true; 8]].concat());
        assert!(rankings.find(other, &all[9].query, all[9].mark).is_none());
        assert!(rankings.find(one, &[9; 32], all[8].mark).is_none());
        // Fewer large rankings are cached, but always one.
        for query in 0..10 {
            rankings.keep(one, &ranking(query, 1_000, 256));
        }
        let kept = rankings.0.get(&one).unwrap();
        assert!(kept.len() < 5 && bytes_of(&kept) <= TENANT_BYTES_MAX, "{}", bytes_of(&kept));
        rankings.drop_all();
        assert!(rankings.find(one, &[9; 32], kept[0].mark).is_none());
    }
}
