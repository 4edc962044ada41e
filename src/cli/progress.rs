//! The display of progress.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use vectorizer_log::Seq;
use vectorizer_replay::Progress;

use super::streams::Streams;

/// How often a line is written if the output is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A progress bar on a terminal, or lines elsewhere.
#[derive(Debug)]
pub(super) struct ProgressDisplay {
    doing: &'static str,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl ProgressDisplay {
    /// Starts the display. `through` is the last record, if it is known.
    pub(super) fn new(doing: &'static str, through: Option<Seq>, streams: &Streams) -> Self {
        let bar = streams.is_watched().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(through.map(Seq::get), target).with_message(doing);
            // Also clear the bar when a failure drops it, before the error is written.
            bar.with_style(style(through.is_some())).with_finish(ProgressFinish::AndClear)
        });
        Self { doing, bar, last_line: Instant::now() }
    }

    /// Shows the progress in records.
    pub(super) fn report(&mut self, progress: Progress, streams: &Streams) {
        let Progress { applied, through, vectors } = progress;
        if let Some(bar) = &self.bar {
            bar.set_position(applied.get());
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let of = if through == Seq::NONE { String::new() } else { format!(" of {through}") };
            streams.remark(format_args!("{}: record {applied}{of}, {vectors} vectors", self.doing));
        }
    }

    /// Starts a display of bytes.
    pub(super) fn of_bytes(doing: &'static str, streams: &Streams) -> Self {
        let display = Self::new(doing, None, streams);
        let template = "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: display.bar.map(|bar| bar.with_style(style)), ..display }
    }

    /// Shows the progress in bytes.
    pub(super) fn report_bytes(&mut self, done: u64, all: u64, streams: &Streams) {
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            streams.remark(format_args!("{}: {done} of {all} bytes", self.doing));
        }
    }

    /// Removes the bar, before other output.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(has_end: bool) -> ProgressStyle {
    let template = if has_end {
        "{msg} {wide_bar} {pos}/{len} records, {per_sec}, {eta} left"
    } else {
        "{spinner} {msg} {pos} records, {per_sec}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
