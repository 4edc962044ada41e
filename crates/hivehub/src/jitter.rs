//! Random jitter, against synchronised retries of many servers.

use std::time::Duration;

/// Between half of `span` and the whole of it.
pub fn with_jitter(span: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default() % 1_024;
    span.saturating_sub(span / 2 * random / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_with_jitter_is_between_half_and_the_whole() {
        let span = Duration::from_secs(30);
        let spans: Vec<_> = (0..1_000).map(|_| with_jitter(span)).collect();
        assert!(spans.iter().all(|it| (span / 2..=span).contains(it)));
        assert!(spans.iter().any(|it| *it != spans[0]));
    }
}
