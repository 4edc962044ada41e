//! Replay: from a tenant's log on disk to its projection in memory.
//!
//! Four runs over the same records, each doing what the one in front does and more, so that the
//! steps between them are the cost of each part:
//!
//! - *read*: a flat file of the stored bytes, into memory;
//! - *verify*: the same, then checksum, chain hash and decoding of every record;
//! - *fold*: the same, then each record into a [`Projection`];
//! - *log*: the whole of a recovery, from the closed log in sled: open, scan, verify and fold.
//!
//! Files are in the page cache for all of them. Freeing what a run has built is not counted.
//!
//! ```text
//! cargo bench --bench replay
//! ```

mod support;
#[path = "support/tenant.rs"]
mod tenant;

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use support::workload::{Workload, collection_created};
use support::{Outcome, in_turn, number, print_table};
use vectorizer_log::{LogId, Metric, Record, Seq, TenantFolder, Verifier};
use vectorizer_replay::{Projection, Projector};

const VECTORS: usize = 200_000;
const VECTORS_PER_RECORD: usize = 500;
const DIMENSIONS: [usize; 2] = [128, 384];
const ROUNDS: usize = 5;

fn main() -> Outcome<()> {
    let mut rows = Vec::new();
    for dimension in DIMENSIONS {
        rows.extend(measure(dimension)?);
    }
    print_table(["vectors", "run", "vectors/s", "MB/s", "log / run"], &rows);
    Ok(())
}

fn measure(dimension: usize) -> Outcome<[[String; 5]; 4]> {
    let data = tenant::scratch()?;
    let folder = tenant::create(data.path())?;
    let flat = Flat::beside(&folder, data.path().join("flat"), dimension)?;
    let bytes = RefCell::default();

    let [read, verify, fold, log] = in_turn(
        ROUNDS,
        [
            &mut || timed(|| flat.read(&bytes)),
            &mut || timed(|| flat.for_each(&bytes, |_| Ok(()))),
            &mut || {
                timed(|| {
                    let mut projection = Projection::new(flat.log_id);
                    flat.for_each(&bytes, |record| Ok(projection.apply(&record).map(drop)?))?;
                    Ok(projection)
                })
            },
            &mut || {
                timed(|| {
                    let mut projection = Projection::new(flat.log_id);
                    let recovered = folder.open()?.recover::<Box<dyn std::error::Error>>(|record| {
                        projection.apply(&record)?;
                        Ok(())
                    })?;
                    Ok((projection, recovered))
                })
            },
        ],
    )?;

    let log_rate = log.per_second();
    let megabytes = number(VECTORS * dimension * 4) / 1e6;
    Ok([("read", read), ("verify", verify), ("fold", fold), ("log", log)].map(|(run, seconds)| {
        let rate = seconds.per_second();
        [
            format!("{VECTORS} x {dimension}"),
            run.to_owned(),
            format!("{:.0}", rate.times(number(VECTORS))),
            format!("{:.0}", rate.times(megabytes)),
            format!("{:.3}", log_rate.over(&rate)),
        ]
    }))
}

/// The seconds that `run` takes to make what it makes, without those of freeing it.
fn timed<T>(run: impl FnOnce() -> Outcome<T>) -> Outcome<f64> {
    let started = Instant::now();
    let made = run()?;
    let seconds = started.elapsed().as_secs_f64();
    drop(made);
    Ok(seconds)
}

/// The records of a log, one behind the other in a plain file.
struct Flat {
    path: PathBuf,
    log_id: LogId,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Flat {
    /// Fills the empty log in `folder`, and a file with the same stored bytes.
    fn beside(folder: &TenantFolder, path: PathBuf, dimension: usize) -> Outcome<Self> {
        let mut workload = Workload::new(dimension);
        let mut log = tenant::open(folder)?;
        tenant::commit(&mut log, vec![tenant::draft(collection_created(dimension, Metric::Cosine))])?;
        for _ in 0..VECTORS / VECTORS_PER_RECORD {
            tenant::commit(&mut log, vec![tenant::draft(workload.upserted(VECTORS_PER_RECORD))])?;
        }
        let records = log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX)?;
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for record in records {
            bytes.extend_from_slice(&record.stored);
            ends.push(bytes.len());
        }
        fs::write(&path, bytes)?;
        let log_id = log.log_id();
        log.close()?;
        Ok(Self { path, log_id, ends })
    }

    /// Into memory that has been used before: what fresh memory costs depends on the moment.
    fn read(&self, bytes: &RefCell<Vec<u8>>) -> Outcome<()> {
        let mut bytes = bytes.borrow_mut();
        bytes.clear();
        File::open(&self.path)?.read_to_end(&mut bytes)?;
        Ok(())
    }

    /// Reads, and hands every record to `visit`, verified.
    fn for_each(
        &self,
        bytes: &RefCell<Vec<u8>>,
        mut visit: impl FnMut(Record) -> Outcome<()>,
    ) -> Outcome<()> {
        self.read(bytes)?;
        let bytes = bytes.borrow();
        let mut verifier = Verifier::new(self.log_id);
        let mut start = 0;
        for end in &self.ends {
            visit(verifier.push(&bytes[start..*end])?)?;
            start = *end;
        }
        Ok(())
    }
}
