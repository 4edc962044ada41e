//! Memory for requests: what arrives is charged to its tenant and to the node before it is kept.
//!
//! A tenant has a share. Of the node's memory for requests it takes as much as has arrived, and never more than a third
//! of what is free then. So one tenant alone gets a quarter, and each further one that holds all it can get, by bodies
//! that it never ends, a quarter of what those before it left: of 256 MiB the thirtieth still gets 12 KiB.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::Error;
use crate::tenancy::Share;

/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much has to be left free for each part that a tenant holds.
const FREE_FOR_HELD: usize = 3;

/// The node's memory for requests, in KiB.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    node: Arc<Semaphore>,
    kibibytes: usize,
    /// Told when room is given back.
    freed: Notify,
}

impl RequestMemory {
    pub(crate) fn new(kibibytes: usize) -> Arc<Self> {
        let node = Arc::new(Semaphore::new(kibibytes));
        Arc::new(Self { node, kibibytes, freed: Notify::new() })
    }

    pub(crate) fn kibibytes(&self) -> usize {
        self.kibibytes
    }

    pub(crate) fn free_kibibytes(&self) -> usize {
        self.node.available_permits()
    }

    /// A place for a body of which `stated` KiB are announced: so much is taken of its tenant's share, and nothing
    /// of the node's room. That makes nobody wait but the tenant, whose bodies do not wait for each other half read.
    pub(crate) async fn begin(self: &Arc<Self>, share: &Share, stated: u32) -> Result<HeldMemory, Error> {
        let of_share = patiently(async { acquired(&share.bodies, stated).await }).await?;
        let of_node = acquired(&self.node, 0).await?;
        Ok(HeldMemory {
            room: Arc::clone(self),
            share: share.clone(),
            held: Some(Held { of_share, of_node }),
        })
    }
}

/// What one request holds, of its tenant's share and of the node's memory.
#[derive(Debug)]
pub(crate) struct HeldMemory {
    room: Arc<RequestMemory>,
    share: Share,
    /// Until it is given back.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    of_share: OwnedSemaphorePermit,
    of_node: OwnedSemaphorePermit,
}

impl HeldMemory {
    /// Gives back what it holds of its tenant's share, and takes `kibibytes` of it at once. What it holds of the node's
    /// room stays.
    pub(crate) async fn share_anew(&mut self, kibibytes: u32) -> Result<(), Error> {
        let Some(held) = &mut self.held else { return Ok(()) };
        drop(held.of_share.split(held.of_share.num_permits()));
        held.of_share.merge(patiently(async { acquired(&self.share.bodies, kibibytes).await }).await?);
        Ok(())
    }

    /// Takes what is missing to hold `kibibytes`.
    pub(crate) async fn hold(&mut self, kibibytes: u32) -> Result<(), Error> {
        let Self { room, share, held } = self;
        let Some(held) = held else { return Ok(()) };
        let missing = |of: &OwnedSemaphorePermit| {
            kibibytes.saturating_sub(u32::try_from(of.num_permits()).unwrap_or(u32::MAX))
        };
        let of_share = missing(&held.of_share);
        if of_share > 0 {
            held.of_share.merge(patiently(async { acquired(&share.bodies, of_share).await }).await?);
        }
        let of_node = missing(&held.of_node);
        if of_node > 0 {
            let taken = patiently(async {
                loop {
                    let mut freed = std::pin::pin!(room.freed.notified());
                    // Subscribe before looking, or a wake-up is lost.
                    freed.as_mut().enable();
                    if let Some(taken) = taken_at_once(room, share, of_node) {
                        return Ok(taken);
                    }
                    freed.await;
                }
            });
            held.of_node.merge(taken.await?);
        }
        Ok(())
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let of_node = held.of_node.num_permits();
            drop(held);
            self.share.bodies_held.fetch_sub(of_node, Ordering::AcqRel);
            if of_node > 0 {
                self.room.freed.notify_waiters();
            }
        }
    }
}

/// So much of the node's room, if the tenant may have that now.
fn taken_at_once(room: &RequestMemory, share: &Share, kibibytes: u32) -> Option<OwnedSemaphorePermit> {
    let more = kibibytes as usize;
    let held = share.bodies_held.load(Ordering::Acquire) + more;
    // Bodies that look at the same time may pass together, by a piece each.
    if FREE_FOR_HELD.saturating_mul(held).saturating_add(more) > room.node.available_permits() {
        return None;
    }
    let taken = Arc::clone(&room.node).try_acquire_many_owned(kibibytes).ok()?;
    share.bodies_held.fetch_add(more, Ordering::AcqRel);
    Some(taken)
}

async fn acquired(room: &Arc<Semaphore>, kibibytes: u32) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(room).acquire_many_owned(kibibytes).await.map_err(|_| Error::internal())
}

async fn patiently<T>(taking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(PATIENCE, taking)
        .await
        .unwrap_or_else(|_| Err(Error::unavailable("busy", "too many large requests are being worked on", 1)))
}

pub(crate) fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenancy::ShareSize;

    const SIZE: ShareSize = ShareSize {
        bodies: 256,
        answers: 0,
        searches: 0,
        waiting_searches: 0,
        parsing: 0,
        waiting_parses: 0,
        messages: 0,
    };

    fn share() -> Share {
        Share::new(SIZE)
    }

    /// A body of which more and more arrives, as long as there is room at once.
    async fn hold_all(room: &Arc<RequestMemory>, share: &Share) -> (HeldMemory, u32) {
        let mut taken = room.begin(share, 0).await.unwrap();
        let mut held = 0;
        loop {
            match timeout(Duration::ZERO, taken.hold(held + 1)).await {
                Ok(Ok(())) => held += 1,
                _ => return (taken, held),
            }
        }
    }

    #[tokio::test]
    async fn where_thirty_tenants_hold_all_they_get_each_of_them_gets_room() {
        let room = RequestMemory::new(256 * 1024);
        let size = ShareSize { bodies: 64 * 1024, ..SIZE };
        let shares: Vec<Share> = (0..30).map(|_| Share::new(size)).collect();
        let mut taken = Vec::new();
        for share in &shares {
            taken.push(hold_all(&room, share).await);
        }
        assert_eq!(taken[0].1, 64 * 1024, "one tenant alone comes to its whole share");
        let held: Vec<u32> = taken.iter().map(|(_, held)| *held).collect();
        assert!(held.iter().all(|held| *held >= 12), "{held:?}");
        taken.clear();
        assert_eq!(room.free_kibibytes(), 256 * 1024);
        assert!(shares.iter().all(|share| share.bodies_held.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_gets_it_when_it_is_given_back() {
        let room = RequestMemory::new(1_024);
        let (greedy, other) = (share(), share());
        let (held, _) = hold_all(&room, &greedy).await;
        let mut body = room.begin(&other, 0).await.unwrap();
        body.hold(192).await.unwrap();
        let ((), got) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_secs(4)).await;
                drop(held);
            },
            body.hold(256),
        );
        got.unwrap();
        // And not for ever.
        let mut second = room.begin(&greedy, 0).await.unwrap();
        second.hold(192).await.unwrap();
        assert!(second.hold(256).await.is_err());
    }
}
