//! Chance, so that many servers whose hub stumbled do not come back in step.

use std::time::Duration;

/// Between half of `span` and the whole of it.
pub(crate) fn shortened(span: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default() % 1_024;
    span.saturating_sub(span / 2 * random / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_span_is_between_half_and_the_whole() {
        let span = Duration::from_secs(30);
        let spans: Vec<_> = (0..1_000).map(|_| shortened(span)).collect();
        assert!(spans.iter().all(|shortened| (span / 2..=span).contains(shortened)));
        assert!(spans.iter().any(|shortened| *shortened != spans[0]));
    }
}
