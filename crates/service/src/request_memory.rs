//! Memory for requests: bytes that arrive are charged to their tenant and to the node before they are kept.
//!
//! Each tenant has a share. A tenant may hold at most a third of the node's memory that is free then. So one tenant
//! alone gets a quarter of the memory. Each further tenant that holds all it can get, by bodies that never end, gets a
//! quarter of the rest: of 256 MiB, the thirtieth tenant still gets 12 KiB.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use vectorizer_engine::tenancy::Share;

use super::error::Error;

/// The longest wait for memory.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How many times the memory that a tenant holds must stay free.
const FREE_PER_HELD_MIN: usize = 3;

/// The node's memory for requests, in KiB.
#[derive(Debug)]
pub struct RequestMemory {
    node: Arc<Semaphore>,
    kibibytes: usize,
    /// Notified when memory is released.
    freed: Notify,
}

impl RequestMemory {
    /// Memory of this size, all of it free.
    pub fn new(kibibytes: usize) -> Arc<Self> {
        let node = Arc::new(Semaphore::new(kibibytes));
        Arc::new(Self { node, kibibytes, freed: Notify::new() })
    }

    /// All of it, in KiB.
    pub fn kibibytes(&self) -> usize {
        self.kibibytes
    }

    /// The free part, in KiB.
    pub fn free_kibibytes(&self) -> usize {
        self.node.available_permits()
    }

    /// Begins a body with a stated size in KiB. It charges all of it to the tenant's share, and nothing to the node
    /// yet. So half-read bodies of a tenant never wait for each other, and only that tenant waits.
    pub async fn reserve(self: &Arc<Self>, share: &Share, stated: u32) -> Result<MemoryPermit, Error> {
        let of_share = with_timeout(async { acquired(&share.bodies, stated).await }).await?;
        let of_node = acquired(&self.node, 0).await?;
        Ok(MemoryPermit {
            memory: Arc::clone(self),
            share: share.clone(),
            held: Some(Permits { of_share, of_node }),
        })
    }
}

/// The memory of one request, of its tenant's share and of the node.
#[derive(Debug)]
pub struct MemoryPermit {
    memory: Arc<RequestMemory>,
    share: Share,
    /// `None` once it is released.
    held: Option<Permits>,
}

#[derive(Debug)]
struct Permits {
    of_share: OwnedSemaphorePermit,
    of_node: OwnedSemaphorePermit,
}

impl MemoryPermit {
    /// Releases its part of the tenant's share, and acquires `kibibytes` of the share at once. Its part of the node's
    /// memory stays.
    pub async fn replace_share(&mut self, kibibytes: u32) -> Result<(), Error> {
        let Some(held) = &mut self.held else { return Ok(()) };
        drop(held.of_share.split(held.of_share.num_permits()));
        held.of_share.merge(with_timeout(async { acquired(&self.share.bodies, kibibytes).await }).await?);
        Ok(())
    }

    /// Acquires more memory, up to `kibibytes`.
    pub async fn grow_to(&mut self, kibibytes: u32) -> Result<(), Error> {
        let Self { memory, share, held } = self;
        let Some(held) = held else { return Ok(()) };
        let missing = |of: &OwnedSemaphorePermit| {
            kibibytes.saturating_sub(u32::try_from(of.num_permits()).unwrap_or(u32::MAX))
        };
        let of_share = missing(&held.of_share);
        if of_share > 0 {
            held.of_share.merge(with_timeout(async { acquired(&share.bodies, of_share).await }).await?);
        }
        let of_node = missing(&held.of_node);
        if of_node > 0 {
            let taken = with_timeout(async {
                loop {
                    let mut freed = std::pin::pin!(memory.freed.notified());
                    // Subscribe before looking, or a wake-up is lost.
                    freed.as_mut().enable();
                    if let Some(taken) = try_acquire_node(memory, share, of_node) {
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

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let of_node = held.of_node.num_permits();
            drop(held);
            self.share.bodies_held.fetch_sub(of_node, Ordering::AcqRel);
            if of_node > 0 {
                self.memory.freed.notify_waiters();
            }
        }
    }
}

/// Acquires node memory if the tenant may have it now.
fn try_acquire_node(memory: &RequestMemory, share: &Share, kibibytes: u32) -> Option<OwnedSemaphorePermit> {
    let more = kibibytes as usize;
    let held = share.bodies_held.load(Ordering::Acquire) + more;
    // Concurrent bodies may exceed the bound by one piece each.
    if FREE_PER_HELD_MIN.saturating_mul(held).saturating_add(more) > memory.node.available_permits() {
        return None;
    }
    let taken = Arc::clone(&memory.node).try_acquire_many_owned(kibibytes).ok()?;
    share.bodies_held.fetch_add(more, Ordering::AcqRel);
    Some(taken)
}

async fn acquired(permits: &Arc<Semaphore>, kibibytes: u32) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(permits).acquire_many_owned(kibibytes).await.map_err(|_| Error::internal())
}

async fn with_timeout<T>(taking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(WAIT_MAX, taking)
        .await
        .unwrap_or_else(|_| Err(Error::unavailable("busy", "too many large requests are being worked on", 1)))
}

/// The KiB that hold so many bytes.
pub fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use vectorizer_engine::tenancy::ShareSize;

    use super::*;

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

    /// Grows a body for as long as memory is available at once.
    async fn grow_until_full(memory: &Arc<RequestMemory>, share: &Share) -> (MemoryPermit, u32) {
        let mut taken = memory.reserve(share, 0).await.unwrap();
        let mut held = 0;
        loop {
            match timeout(Duration::ZERO, taken.grow_to(held + 1)).await {
                Ok(Ok(())) => held += 1,
                _ => return (taken, held),
            }
        }
    }

    #[tokio::test]
    async fn thirty_tenants_that_hold_all_they_can_each_get_memory() {
        let memory = RequestMemory::new(256 * 1024);
        let size = ShareSize { bodies: 64 * 1024, ..SIZE };
        let shares: Vec<Share> = (0..30).map(|_| Share::new(size)).collect();
        let mut taken = Vec::new();
        for share in &shares {
            taken.push(grow_until_full(&memory, share).await);
        }
        assert_eq!(taken[0].1, 64 * 1024, "one tenant alone comes to its whole share");
        let held: Vec<u32> = taken.iter().map(|(_, held)| *held).collect();
        assert!(held.iter().all(|held| *held >= 12), "{held:?}");
        taken.clear();
        assert_eq!(memory.free_kibibytes(), 256 * 1024);
        assert!(shares.iter().all(|share| share.bodies_held.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_body_gets_memory_when_it_is_released() {
        let memory = RequestMemory::new(1_024);
        let (greedy, other) = (share(), share());
        let (held, _) = grow_until_full(&memory, &greedy).await;
        let mut body = memory.reserve(&other, 0).await.unwrap();
        body.grow_to(192).await.unwrap();
        let ((), got) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_secs(4)).await;
                drop(held);
            },
            body.grow_to(256),
        );
        got.unwrap();
        // The wait has an end.
        let mut second = memory.reserve(&greedy, 0).await.unwrap();
        second.grow_to(192).await.unwrap();
        assert!(second.grow_to(256).await.is_err());
    }
}
