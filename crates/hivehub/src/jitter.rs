//! Pauses between attempts, with random jitter against synchronised retries of many servers.

use std::time::Duration;

/// Between half of `span` and the whole of it.
pub fn with_jitter(span: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default() % 1_024;
    span.saturating_sub(span / 2 * random / 1_024)
}

/// The pause after a failure that follows so many `earlier` ones in a row: `first`, twice as long for each of them, and
/// at most `longest`, with jitter.
pub fn growing_pause(first: Duration, longest: Duration, earlier: u32) -> Duration {
    with_jitter(first.saturating_mul(1 << earlier.min(16)).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_with_each_failure_up_to_the_longest() {
        let [first, longest] = [1, 30].map(Duration::from_secs);
        for (earlier, seconds) in [(0, 1), (1, 2), (4, 16), (5, 30), (u32::MAX, 30)] {
            let whole = Duration::from_secs(seconds);
            let pause = growing_pause(first, longest, earlier);
            assert!((whole / 2..=whole).contains(&pause), "{earlier} failures before: {pause:?}");
        }
    }

    #[test]
    fn a_span_with_jitter_is_between_half_and_the_whole() {
        let span = Duration::from_secs(30);
        let spans: Vec<_> = (0..1_000).map(|_| with_jitter(span)).collect();
        assert!(spans.iter().all(|it| (span / 2..=span).contains(it)));
        assert!(spans.iter().any(|it| *it != spans[0]));
    }
}
