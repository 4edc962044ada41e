//! Durable appends: a tenant's log against a plain file.
//!
//! Both sides make the same bytes durable, commit by commit, on one file system: the log by `begin`,
//! `stage` and `commit` on sled and its file of bodies, the file by one write and one `fdatasync` at
//! its end. What the log does beyond that (encoding, checksum, chain hash, an ordered store, the
//! head) is the difference.
//! "Written" is what each side gave to the block layer for a byte of a record, from
//! `/proc/self/io`, so this measurement runs on Linux.
//!
//! ```text
//! cargo bench --bench append
//! ```

mod support;
#[path = "support/tenant.rs"]
mod tenant;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::workload::{Workload, collection_created};
use support::{Outcome, in_turn, number, print_table};
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{Draft, Error, LogId, Metric, Seq, TenantLog, UnverifiedLog, initialize};

const DIMENSION: usize = 384;
const ROUNDS: usize = 9;

/// What one commit holds, and how many of them a round takes.
struct Shape {
    records: usize,
    vectors: usize,
    commits: usize,
}

/// Commits of 10 and 30 vectors are split into parts, the larger ones are bodies.
const SHAPES: [Shape; 6] = [
    Shape { records: 1, vectors: 10, commits: 200 },
    Shape { records: 1, vectors: 30, commits: 100 },
    Shape { records: 1, vectors: 50, commits: 100 },
    Shape { records: 1, vectors: 100, commits: 60 },
    Shape { records: 1, vectors: 500, commits: 20 },
    Shape { records: 10, vectors: 10, commits: 60 },
];

fn main() -> Outcome<()> {
    let rows = SHAPES.iter().map(measure).collect::<Outcome<Vec<_>>>()?;
    let header = [
        "records x vectors in a commit",
        "log, MB/s",
        "file, MB/s",
        "log / file",
        "log, records/s",
        "file, records/s",
        "log, written",
        "file, written",
    ];
    print_table(header, &rows);
    Ok(())
}

fn measure(shape: &Shape) -> Outcome<[String; 8]> {
    let mut workload = Workload::new(DIMENSION);
    let drafts =
        (0..shape.records).map(|_| tenant::draft(workload.upserted(shape.vectors))).collect::<Vec<_>>();
    let stored = stored_bytes(&drafts)?;

    let data = tenant::scratch()?;
    let mut log = tenant::open(&tenant::create(data.path())?)?;
    tenant::commit(&mut log, vec![tenant::draft(collection_created(DIMENSION, Metric::Cosine))])?;
    let mut file = OpenOptions::new().append(true).create_new(true).open(data.path().join("file"))?;

    let mut log_written = Written::default();
    let mut file_written = Written::default();
    let mut to_log = || log_written.by(|| append_to_log(&mut log, &drafts, shape.commits));
    let mut to_file = || file_written.by(|| append_to_file(&mut file, &stored, shape.commits));
    let [log_seconds, file_seconds] = in_turn(ROUNDS, [&mut to_log, &mut to_file])?;

    let megabytes = number(shape.commits * shape.records * shape.vectors * DIMENSION * 4) / 1e6;
    let records = number(shape.commits * shape.records);
    let log_rate = log_seconds.per_second();
    let file_rate = file_seconds.per_second();
    let stored_in_all = number(stored.len() * shape.commits * (ROUNDS + 1));
    Ok([
        format!("{} x {}", shape.records, shape.vectors),
        format!("{:.1}", log_rate.times(megabytes)),
        format!("{:.1}", file_rate.times(megabytes)),
        format!("{:.2}", log_rate.over(&file_rate)),
        format!("{:.0}", log_rate.times(records)),
        format!("{:.0}", file_rate.times(records)),
        format!("{:.2}", log_written.0 / stored_in_all),
        format!("{:.2}", file_written.0 / stored_in_all),
    ])
}

/// The seconds that `commits` commits of `drafts` take. Copying the drafts is not counted: a server
/// has them from the request.
fn append_to_log(log: &mut TenantLog, drafts: &[Draft], commits: usize) -> Outcome<f64> {
    let mut spent = Duration::ZERO;
    for _ in 0..commits {
        let drafts = drafts.to_vec();
        let started = Instant::now();
        tenant::commit(log, drafts)?;
        spent += started.elapsed();
    }
    Ok(spent.as_secs_f64())
}

fn append_to_file(file: &mut File, stored: &[u8], commits: usize) -> Outcome<f64> {
    let started = Instant::now();
    for _ in 0..commits {
        file.write_all(stored)?;
        file.sync_data()?;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// What a log stores for one commit of `drafts`, taken from a log in memory.
fn stored_bytes(drafts: &[Draft]) -> Outcome<Vec<u8>> {
    let storage = Arc::new(MemoryStorage::new(1 << 20));
    let log_id = LogId::new(uuid::Uuid::nil());
    initialize(&storage, log_id)?;
    let mut log = UnverifiedLog::new(Box::new(storage), log_id)?.recover::<Error>(|_| Ok(()))?.log;
    tenant::commit(&mut log, drafts.to_vec())?;
    let records = log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX)?;
    Ok(records.iter().flat_map(|record| &record.stored).copied().collect())
}

/// The bytes that this process has sent towards the disk while it was at one side.
#[derive(Default)]
struct Written(f64);

impl Written {
    fn by<T>(&mut self, run: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let before = written_so_far()?;
        let result = run()?;
        self.0 += written_so_far()? - before;
        Ok(result)
    }
}

fn written_so_far() -> Outcome<f64> {
    let counters = fs::read_to_string("/proc/self/io")?;
    let written = counters.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(written.ok_or("this system does not count written bytes")?.parse()?)
}
