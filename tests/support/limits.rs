//! Limits of tenants, and when a change of them has to have arrived.

use std::time::Duration;

use serde_json::Value;
use vectorizer_hub::Limits;
use vectorizer_testing::Stopwatch;

pub(crate) fn limits(numbers: Value) -> Limits {
    serde_json::from_value(numbers).unwrap()
}

pub(crate) async fn within_a_second(holds: impl AsyncFn() -> bool) {
    let start = Stopwatch::start();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(1), "it has not arrived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
