//! What a graph finds after what happens to collections: rewritten vectors, filters, and a life on disk.
//!
//! ```text
//! cargo bench --bench histories -- FOLDER
//! ```
//!
//! `FOLDER` has `base.npy` and `queries.npy`. What is nearest is found by looking at every vector.

#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/npy.rs"]
mod npy;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::collections::HashSet;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use fold::apply;
use npy::Matrix;
use serde_json::json;
use support::{Outcome, number, print_table};
use vectorizer_index::{Collection, Filter, Hit, SearchMode, SearchRequest, Selection};
use vectorizer_log::{
    CollectionId, Event, IndexParameters, LogId, Metric, Payload, Point, PointId, Seq, Vector,
};
use vectorizer_replay::Projection;

const COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);
const LIMIT: usize = 10;
const VECTORS: usize = 60_000;
const QUERIES: usize = 1_000;
const VECTORS_PER_RECORD: usize = 500;
const EFS: [usize; 3] = [24, 48, 100];
/// Of ten vectors, so many are deleted and written again.
const REWRITTEN: usize = 3;

fn main() -> Outcome<()> {
    let Some(folder) = std::env::args().skip(1).find(|argument| argument != "--bench") else {
        println!("nothing measured: give a folder with base.npy and queries.npy");
        return Ok(());
    };
    let folder = Path::new(&folder);
    let base = Matrix::read(&folder.join("base.npy"))?;
    let queries = Matrix::read(&folder.join("queries.npy"))?;
    let mut rows = Vec::new();
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let fresh = written(&base, metric)?;
        link(&fresh)?;
        let rewritten = rewritten(&base, &fresh)?;
        let selections = |share: u64| -> Outcome<Selection> {
            let filter = Filter::parse(
                &json!({"must": {"key": "thousandth", "range": {"lt": share}}}).to_string(),
                32,
            )?;
            Ok(stored(&fresh)?.select(filter))
        };
        let mut row = |name: String, projection: &Projection, filter: Option<&Selection>| -> Outcome<()> {
            let collection = stored(projection)?;
            let nearest = answers(collection, &queries, filter, SearchMode::Exact)?.0;
            let mut cells =
                [format!("{metric:?}").to_lowercase(), name, String::new(), String::new(), String::new()];
            for (cell, ef) in cells[2..].iter_mut().zip(EFS) {
                let (found, seconds) = answers(collection, &queries, filter, SearchMode::Candidates(ef))?;
                let rate = number(nearest.len()) / seconds;
                *cell = format!("{:.4} ({rate:.0}/s)", recall(&found, &nearest));
            }
            rows.push(cells);
            Ok(())
        };
        row("fresh".to_owned(), &fresh, None)?;
        row(format!("{REWRITTEN} of 10 deleted and written again"), &rewritten.0, None)?;
        row("the same, compacted".to_owned(), &rewritten.1, None)?;
        for (name, share) in [("50 %", 500), ("10 %", 100), ("1 %", 10), ("0.1 %", 1)] {
            row(format!("fresh, a filter that leaves {name}"), &fresh, Some(&selections(share)?))?;
        }
        if metric == Metric::Cosine {
            kept(&base, &fresh)?;
        }
    }
    let [low, middle, high] = EFS.map(|ef| format!("recall@10 at ef {ef} (searches/s)"));
    print_table(["metric", "collection", &low, &middle, &high], &rows);
    Ok(())
}

fn written(base: &Matrix<f32>, metric: Metric) -> Outcome<Projection> {
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    let event = Event::CollectionCreated {
        name: "measured".parse()?,
        dimension: u32::try_from(base.columns)?.try_into()?,
        metric,
        index: IndexParameters { m: Some(16), ef_construction: Some(200), ef: None },
    };
    apply(&mut projection, event)?;
    write(&mut projection, base, &(0..VECTORS.min(base.rows)).collect::<Vec<_>>())?;
    Ok(projection)
}

fn write(projection: &mut Projection, base: &Matrix<f32>, rows: &[usize]) -> Outcome<()> {
    for rows in rows.chunks(VECTORS_PER_RECORD) {
        let point = |row: &usize| {
            let payload = Payload::new(json!({"thousandth": scattered(*row) % 1_000}).to_string())?;
            let vector = Vector::dense(base.row(*row).to_vec())?;
            Ok(Point { id: PointId::text(row.to_string())?, vector, payload: Some(payload) })
        };
        let points = rows.iter().map(point).collect::<Outcome<_>>()?;
        apply(projection, Event::VectorsUpserted { collection: COLLECTION, points })?;
    }
    Ok(())
}

/// The same vectors, some of them deleted and written again while the rest was linked; and that compacted.
fn rewritten(base: &Matrix<f32>, fresh: &Projection) -> Outcome<(Projection, Projection)> {
    let collection = || -> Outcome<Projection> {
        let mut projection = written(base, stored(fresh)?.metric().ok_or("it has vectors")?)?;
        link(&projection)?;
        let rows = 0..VECTORS.min(base.rows);
        let rows: Vec<usize> = rows.filter(|row| scattered(*row) / 1_000 % 10 < REWRITTEN).collect();
        let ids = rows.iter().map(|row| PointId::text(row.to_string())).collect::<Result<_, _>>()?;
        apply(&mut projection, Event::VectorsDeleted { collection: COLLECTION, ids })?;
        write(&mut projection, base, &rows)?;
        link(&projection)?;
        Ok(projection)
    };
    let (rewritten, mut compacted) = (collection()?, collection()?);
    let compaction = stored(&compacted)?.snapshot().compact(&|| false)?;
    let (installed, removed) = compacted.install(COLLECTION, compaction);
    drop(removed);
    if installed { Ok((rewritten, compacted)) } else { Err("no other compaction runs".into()) }
}

fn link(projection: &Projection) -> Outcome<()> {
    stored(projection)?.snapshot().link(usize::MAX, 2, &|| false)?;
    Ok(())
}

fn stored(projection: &Projection) -> Outcome<&Collection> {
    Ok(projection.index().by_id(COLLECTION).ok_or("the collection was just created")?)
}

/// What is found for each query, and in how many seconds.
fn answers(
    collection: &Collection,
    queries: &Matrix<f32>,
    filter: Option<&Selection>,
    mode: SearchMode,
) -> Outcome<(Vec<HashSet<String>>, f64)> {
    let snapshot = collection.snapshot();
    let mut all = Vec::new();
    let started = Instant::now();
    for query in 0..QUERIES.min(queries.rows) {
        let vector = queries.row(query);
        let request = SearchRequest { vector, limit: LIMIT, filter, score_threshold: None, mode };
        all.push(snapshot.search(&request)?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let ids = |hits: Vec<Hit>| hits.iter().map(|hit| hit.point.id().to_owned()).collect();
    Ok((all.into_iter().map(ids).collect(), seconds))
}

fn recall(found: &[HashSet<String>], nearest: &[HashSet<String>]) -> f64 {
    let right: usize =
        found.iter().zip(nearest).map(|(found, nearest)| found.intersection(nearest).count()).sum();
    number(right) / number(nearest.iter().map(HashSet::len).sum::<usize>().max(1))
}

/// How long it takes to have a graph again that is on disk, beside reading its file alone.
fn kept(base: &Matrix<f32>, fresh: &Projection) -> Outcome<()> {
    let file = tempfile::NamedTempFile::new_in(".")?;
    let mut out = BufWriter::new(file.as_file());
    stored(fresh)?.snapshot().write_graph(&mut out)?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    let (mut reading, mut loading, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        let again = written(base, Metric::Cosine)?;
        // From the disk, not from the page cache.
        let forgotten = format!("if={}", file.path().display());
        Command::new("dd").args([&forgotten, "iflag=nocache", "count=0", "status=none"]).status()?;
        let started = Instant::now();
        let kept = fs::read(file.path())?;
        reading.push(started.elapsed().as_secs_f64());
        bytes = kept.len();
        stored(&again)?.snapshot().read_graph(&kept, 2, &|| false)?;
        loading.push(started.elapsed().as_secs_f64());
    }
    reading.sort_unstable_by(f64::total_cmp);
    loading.sort_unstable_by(f64::total_cmp);
    println!(
        "a graph of {bytes} bytes, median of five: read from disk in {:.1} ms, searched after {:.1} ms",
        1e3 * reading[2],
        1e3 * loading[2]
    );
    Ok(())
}

/// A number that has nothing to do with `row`, and is always the same.
fn scattered(row: usize) -> usize {
    ((row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}
