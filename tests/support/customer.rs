//! Tenants that write, search and delete, and count what they did.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vectorizer_access::ApiKey;
use vectorizer_log::TenantId;
use vectorizer_testing::Random;

use super::hub_and_node::Cluster;
use super::node::Answer;

/// What a crash may cost of what was read: a second, and what a busy machine takes to write it down.
pub(crate) const LOST_BY_A_CRASH: Duration = Duration::from_millis(2_500);

/// A tenant, and what the test itself did for it.
pub(crate) struct Customer {
    pub(crate) name: &'static str,
    pub(crate) key: ApiKey,
    pub(crate) ids: HashSet<usize>,
    pub(crate) next: usize,
    pub(crate) upserted: u128,
    pub(crate) deleted: u128,
    /// When each request was answered, and how many searches were in it.
    pub(crate) asked: Vec<(Instant, u64)>,
}

impl Customer {
    pub(crate) fn new(cluster: &Cluster, name: &'static str) -> Self {
        cluster.tenant(name);
        let key = cluster.key(Some(name), None);
        let (ids, asked) = (HashSet::new(), Vec::new());
        Self { name, key, ids, next: 0, upserted: 0, deleted: 0, asked }
    }

    pub(crate) async fn ask(&mut self, cluster: &Cluster, method: &str, path: &str, body: &Value) -> Answer {
        let answer = cluster.send(&self.key, method, path, body).await;
        let searches = match path.rsplit('/').next() {
            Some("search") => 1,
            Some("batch") => body["searches"].as_array().unwrap().len() as u64,
            _ => 0,
        };
        let was_let_in = !["keys-unavailable", "limits-unavailable"]
            .iter()
            .any(|code| answer.body["type"] == format!("urn:vectorizer:problem:{code}"));
        if was_let_in {
            self.asked.push((Instant::now(), if answer.status.is_success() { searches } else { 0 }));
        }
        answer
    }

    pub(crate) async fn create(&mut self, cluster: &Cluster) {
        let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
        self.ask(cluster, "POST", "/collections", &words).await.expect(201);
    }

    /// Something of what customers do; `false` if the node could not let it in.
    pub(crate) async fn act(&mut self, cluster: &Cluster, random: &mut Random) -> bool {
        const WORDS: &str = "/collections/words";
        let search = json!({"vector": [1, 2]});
        let answer = match random.index(5) {
            0 | 1 => {
                let ids: Vec<usize> = (self.next..).take(1 + random.index(5)).collect();
                let points: Vec<Value> =
                    ids.iter().map(|id| json!({"id": format!("p{id}"), "vector": [id, 2]})).collect();
                let body = json!({"vectors": points});
                let answer = self.ask(cluster, "PUT", &format!("{WORDS}/vectors"), &body).await;
                if answer.status.is_success() {
                    self.next += ids.len();
                    self.upserted += ids.len() as u128;
                    self.ids.extend(ids);
                }
                answer
            }
            2 => {
                let ids: Vec<usize> = self.ids.iter().copied().take(random.index(4)).collect();
                let names: Vec<String> = ids.iter().map(|id| format!("p{id}")).collect();
                if names.is_empty() {
                    return true;
                }
                let body = json!({"ids": names});
                let answer = self.ask(cluster, "POST", &format!("{WORDS}/vectors/delete"), &body).await;
                if answer.status.is_success() {
                    self.deleted += ids.len() as u128;
                    self.ids.retain(|id| !ids.contains(id));
                }
                answer
            }
            3 => self.ask(cluster, "POST", &format!("{WORDS}/search"), &search).await,
            _ => {
                let body = json!({"searches": vec![search; 1 + random.index(4)]});
                self.ask(cluster, "POST", &format!("{WORDS}/search/batch"), &body).await
            }
        };
        assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
        answer.status.as_u16() == 200
    }

    pub(crate) fn id(&self) -> TenantId {
        self.name.parse().unwrap()
    }

    /// Requests and searches that were let in, all of them and those that no crash at `crashes` can have lost.
    pub(crate) fn asked(&self, crashes: &[Instant]) -> [(u128, u128); 2] {
        let safe = |at: &Instant| {
            !crashes.iter().any(|crash| at <= crash && crash.duration_since(*at) < LOST_BY_A_CRASH)
        };
        let count = |only_safe: bool| {
            let asked = self.asked.iter().filter(|(at, _)| !only_safe || safe(at));
            asked.fold((0, 0), |sum, (_, searches)| (sum.0 + 1, sum.1 + u128::from(*searches)))
        };
        [count(true), count(false)]
    }
}
