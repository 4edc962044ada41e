//! A node's metrics.

use reqwest::Method;

use super::node::{Key, Node};

/// The metrics, as the operator reads them.
pub(crate) async fn metrics(node: &Node) -> String {
    let request = node.keyless().request_at(Method::GET, "/metrics").bearer_auth(node.key(Key::Operator));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// The value of the series that is written like this.
#[track_caller]
pub(crate) fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{metrics}")).parse().unwrap()
}
