//! Connections per client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use vectorizer_access::Origin;

/// Counts connections per client. Cheap to clone; the clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    counts: Arc<Mutex<HashMap<Origin, usize>>>,
    each_max: usize,
}

/// A counted connection. Dropping it ends the count.
#[derive(Debug)]
pub(super) struct OfPeer {
    peers: Peers,
    origin: Origin,
}

impl Peers {
    /// Allows `each_max` connections per client.
    pub(super) fn with_each(each_max: usize) -> Self {
        Self { counts: Arc::default(), each_max }
    }

    /// Counts one more connection of `origin`, unless it has as many as allowed.
    pub(super) fn admit(&self, origin: Origin) -> Option<OfPeer> {
        let mut peers = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(origin).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(OfPeer { peers: self.clone(), origin })
    }
}

impl Drop for OfPeer {
    fn drop(&mut self) {
        let mut peers = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    #[test]
    fn one_client_cannot_take_the_room_of_all_and_leaves_nothing_behind() {
        for (own, other) in [
            (["192.0.2.1", "::ffff:192.0.2.1"], "192.0.2.2"),
            (["2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6"], "2001:db8:1:3::1"),
        ] {
            let peers = Peers::with_each(8);
            let greedy: Vec<_> = own.iter().cycle().take(8).map(|it| peers.admit(origin(it))).collect();
            assert!(greedy.iter().all(Option::is_some));
            assert!(own.iter().all(|it| peers.admit(origin(it)).is_none()));
            assert!(peers.admit(origin(other)).is_some());
            drop(greedy);
            assert!(peers.counts.lock().unwrap().is_empty());
        }
    }
}
