//! Exact search: one thread scanning a collection against the same thread reading as many bytes.
//!
//! "Read" sums an array of the size of the collection's vectors, with so many independent sums that
//! nothing but the memory (or the cache, if the array fits) limits it. An exact search cannot be
//! faster than that, as it must have seen every vector.
//!
//! ```text
//! cargo bench --bench scan
//! ```

#[path = "support/fold.rs"]
mod fold;
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use fold::apply;
use support::workload::{Workload, collection_created};
use support::{Outcome, in_turn, number, print_table};
use vectorizer_index::{SearchMode, SearchRequest, Snapshot};
use vectorizer_log::{LogId, Metric};
use vectorizer_replay::Projection;
use vectorizer_testing::events::FIRST_COLLECTION;

/// Vectors and their dimension: from 6 MB, which stay in a server's last cache, to 307 MB, which do not.
const SIZES: [(usize, usize); 4] = [(4_000, 384), (60_000, 100), (340_000, 100), (100_000, 768)];
const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclidean];
const LIMIT: usize = 10;
const VECTORS_PER_RECORD: usize = 500;
const ROUNDS: usize = 9;
/// A sample repeats its scan for at least so long: one scan of a small collection is over before a
/// clock can measure it well.
const SAMPLE: Duration = Duration::from_millis(100);

fn main() -> Outcome<()> {
    let mut rows = Vec::new();
    for (vectors, dimension) in SIZES {
        for metric in METRICS {
            rows.push(measure(vectors, dimension, metric)?);
        }
    }
    let header = ["vectors", "metric", "search, ms", "search, GB/s", "read, GB/s", "search / read"];
    print_table(header, &rows);
    Ok(())
}

fn measure(vectors: usize, dimension: usize, metric: Metric) -> Outcome<[String; 6]> {
    let mut workload = Workload::new(dimension);
    let snapshot = collection(&mut workload, vectors, dimension, metric)?;
    let query = workload.vector();
    let request = SearchRequest {
        vector: &query,
        limit: LIMIT,
        filter: None,
        score_threshold: None,
        mode: SearchMode::Exact,
    };
    let bytes = vectors * dimension * 4;
    let array = vec![1_u64; bytes / 8];

    let mut search = || repeated(|| Ok(black_box(snapshot.search(black_box(&request))?.len())));
    let mut read = || repeated(|| Ok(black_box(sum(black_box(&array)))));
    let [search, read] = in_turn(ROUNDS, [&mut search, &mut read])?;

    let gigabytes = number(bytes) / 1e9;
    let search_rate = search.per_second();
    let read_rate = read.per_second();
    Ok([
        format!("{vectors} x {dimension}"),
        metric.as_str().to_owned(),
        format!("{:.2}", search.times(1e3)),
        format!("{:.1}", search_rate.times(gigabytes)),
        format!("{:.1}", read_rate.times(gigabytes)),
        format!("{:.2}", search_rate.over(&read_rate)),
    ])
}

/// A collection that came about as a tenant's does: by a fold of records.
fn collection(
    workload: &mut Workload,
    vectors: usize,
    dimension: usize,
    metric: Metric,
) -> Outcome<Snapshot> {
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    apply(&mut projection, collection_created(dimension, metric))?;
    for _ in 0..vectors / VECTORS_PER_RECORD {
        apply(&mut projection, workload.upserted(VECTORS_PER_RECORD))?;
    }
    let collection = projection.index().by_id(FIRST_COLLECTION).ok_or("the collection was just created")?;
    Ok(collection.snapshot())
}

/// The seconds of one `scan`, from as many as [`SAMPLE`] takes. The one in front of them brings back
/// into the cache what the other side has driven out.
fn repeated<T>(mut scan: impl FnMut() -> Outcome<T>) -> Outcome<f64> {
    scan()?;
    let started = Instant::now();
    let mut scans = 0;
    while started.elapsed() < SAMPLE {
        scan()?;
        scans += 1;
    }
    Ok(started.elapsed().as_secs_f64() / number(scans))
}

/// The sum of all numbers, by 32 sums that do not wait for each other and that the compiler turns
/// into SIMD: what it costs is loading the numbers.
fn sum(numbers: &[u64]) -> u64 {
    let (chunks, rest) = numbers.as_chunks::<32>();
    let mut sums = [0_u64; 32];
    for chunk in chunks {
        for (sum, number) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*number);
        }
    }
    sums.iter().chain(rest).fold(0, |total, number| total.wrapping_add(*number))
}
