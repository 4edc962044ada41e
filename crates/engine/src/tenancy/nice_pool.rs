//! Threads for work that others must not wait for.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;
use tracing::warn;
use vectorizer_scheduling::Priority;

/// The nice value of a pool's threads: their weight against others that want the same core.
#[derive(Clone, Copy, Debug)]
pub enum NiceValue {
    /// 5, a third of the weight: for work that a caller waits for, and that may take some milliseconds longer.
    Five,
    /// 10, a tenth of the weight.
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
            // AssertUnwindSafe: the caller learns that it panicked, and trusts nothing it touched.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = tell.send(done.ok());
        };
        self.jobs.send(Box::new(job)).ok()?;
        told.await.ok().flatten()
    }
}
