//! How many connections each client has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use vectorizer_access::Origin;

/// The clients that have connections, by their addresses. Cheap to clone; the clones count together.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    counts: Arc<Mutex<HashMap<Origin, usize>>>,
    each_max: usize,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct OfPeer {
    peers: Peers,
    origin: Origin,
}

impl Peers {
    /// None yet; each client may have so many.
    pub(super) fn with_each(each_max: usize) -> Self {
        Self { counts: Arc::default(), each_max }
    }

    /// One more connection of `origin`, unless it has as many as it may.
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
