//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The addresses that have connections. Cheap to clone; the clones count together.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each_max: usize,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct OfPeer {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    /// None yet; each address may have so many.
    pub(super) fn with_each(each_max: usize) -> Self {
        Self { counts: Arc::default(), each_max }
    }

    /// One more connection of `address`, unless it has as many as it may.
    pub(super) fn admit(&self, address: IpAddr) -> Option<OfPeer> {
        let mut peers = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(OfPeer { peers: self.clone(), address })
    }
}

impl Drop for OfPeer {
    fn drop(&mut self) {
        let mut peers = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_room_of_all_and_leaves_nothing_behind() {
        let peers = Peers::with_each(8);
        let greedy: Vec<_> = (0..8).map(|_| peers.admit([192, 0, 2, 1].into())).collect();
        assert!(greedy.iter().all(Option::is_some));
        assert!(peers.admit([192, 0, 2, 1].into()).is_none());
        assert!(peers.admit([192, 0, 2, 2].into()).is_some());
        drop(greedy);
        assert!(peers.counts.lock().unwrap().is_empty());
    }
}
