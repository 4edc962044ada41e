//! What the node measures of itself, in Prometheus' text format.
//!
//! - `process`: what the system says of this process.

mod process;

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::{IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};

use self::process::Process;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Everything the node measures. Cheap to clone; the clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self { registry: Arc::new(Registry::new()) };
        metrics.register(build_info());
        metrics.register(Process::default());
        metrics
    }
}

impl Metrics {
    /// All that was measured, as Prometheus reads it. Takes milliseconds with many tenants.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics could not be written");
            String::new()
        })
    }

    fn register(&self, collector: impl Collector + 'static) {
        let names: Vec<String> = collector.desc().into_iter().map(|it: &Desc| it.fq_name.clone()).collect();
        if let Err(error) = self.registry.register(Box::new(collector)) {
            tracing::error!(%error, ?names, "metrics that cannot be registered are not shown");
        }
    }
}

fn build_info() -> IntGauge {
    let options = Opts::new("vectorizer_build_info", "Always 1; its labels say which build this is.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let info = IntGauge::with_opts(options).expect("name and labels are well-formed");
    info.set(1);
    info
}
