//! Pauses between reports.

use std::time::Duration;

use tokio::time::Instant;
use vectorizer_hivehub::growing_pause;

/// The first pause after a failure. Each further one is twice as long.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of one stream of lines.
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// How long a stream of lines is not sent, because its receipts could not be understood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// How often in a row.
    pub(crate) times: u32,
    /// `None` if it may be sent at once.
    pub(crate) until: Option<Instant>,
}

impl Backoff {
    /// Sends nothing for a while, each time for longer.
    pub(crate) fn extend(&mut self) {
        let pause = growing_pause(PAUSE, BACKOFF_MAX, self.times);
        self.times = self.times.saturating_add(1);
        self.until = Some(Instant::now() + pause);
    }
}
