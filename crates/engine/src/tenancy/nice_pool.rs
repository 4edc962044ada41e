//! Threads for work that others must not wait for.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;
use tracing::warn;
use vectorizer_scheduling::Priority;

/// How much less such a thread counts than the others where both want a core.
#[derive(Clone, Copy, Debug)]
pub enum NiceValue {
    /// A third: for what somebody waits for, who does not notice a few milliseconds.
    Five,
    /// A tenth.
    Ten,
}

impl NiceValue {
    fn niceness(self) -> i32 {
        match self {
            Self::Five => 5,
            Self::Ten => 10,
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that give way to all others: searches must not wait for links, nor short ones for long ones.
#[derive(Clone, Debug)]
pub struct NicePool {
    jobs: mpsc::Sender<Job>,
}

impl NicePool {
    /// They end when the last clone of this is gone.
    pub fn new(threads: usize, weight: NiceValue) -> Self {
        let (jobs, taken) = mpsc::channel::<Job>();
        let taken = Arc::new(Mutex::new(taken));
        for number in 0..threads {
            let taken = Arc::clone(&taken);
            let work = move || {
                // Linux counts by threads, and `None` is the calling one.
                if let Err(error) = rustix::process::setpriority_process(None, weight.niceness()) {
                    warn!(%error, "what takes long cannot be made to give way to what does not");
                }
                Priority::Bulk.apply();
                loop {
                    let job = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            if let Err(error) = thread::Builder::new().name(format!("background-{number}")).spawn(work) {
                warn!(%error, "a background thread could not be started");
            }
        }
        Self { jobs }
    }

    /// Does `work` and says what came of it; `None` if it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let job = move || {
            // AssertUnwindSafe: whoever asked learns that it panicked, and trusts nothing it touched.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = tell.send(done.ok());
        };
        self.jobs.send(Box::new(job)).ok()?;
        told.await.ok().flatten()
    }
}
