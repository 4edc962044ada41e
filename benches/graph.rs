//! The graph: how fast it is built, and how many of the nearest neighbours it finds in which time.
//!
//! Speaks to `benches/peers/compare.py`, which holds it against other libraries: it builds once and
//! prints a line of JSON, then measures one round for every line `run` it reads.
//!
//! ```text
//! cargo bench --bench graph -- --base base.npy --queries queries.npy --neighbours neighbours.npy
//! ```

#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/npy.rs"]
mod npy;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, stdin};
use std::path::Path;
use std::time::Instant;

use fold::apply;
use npy::Matrix;
use serde_json::{Value, json};
use support::{Outcome, number};
use vectorizer_index::{SearchMode, SearchRequest, Snapshot};
use vectorizer_log::{CollectionId, Event, IndexParameters, LogId, Metric, Point, PointId, Seq, Vector};
use vectorizer_replay::Projection;

const COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);
const LIMIT: usize = 10;
const VECTORS_PER_RECORD: usize = 500;

fn main() -> Outcome<()> {
    let Some(arguments) = Arguments::read() else {
        println!(
            "nothing measured: give --base, --queries and --neighbours, or run benches/peers/compare.py"
        );
        return Ok(());
    };
    let base = Matrix::read(arguments.path("base")?)?;
    let queries = Matrix::read(arguments.path("queries")?)?;
    let neighbours = Matrix::read(arguments.path("neighbours")?)?;
    let efs: Vec<usize> =
        arguments.or("ef", "16,32,64,128,256").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let resident = resident_bytes()?;
    let projection = filled(&base, &arguments)?;
    let snapshot = || Some(projection.index().by_id(COLLECTION)?.snapshot());
    let taken = snapshot().ok_or("the collection was just created")?;
    let started = Instant::now();
    taken.link(usize::MAX, arguments.or("threads", "2").parse::<usize>()?, &|| false)?;
    let built = started.elapsed().as_secs_f64();
    let snapshot = snapshot().ok_or("the collection was just created")?;
    let (compact, links) = snapshot.graph_bytes();
    let resident = resident_bytes()?.saturating_sub(resident);
    let rows = number(base.rows);
    println!(
        "{}",
        json!({
            "built": built,
            "bytes_per_vector": number(resident.saturating_sub(compact)) / rows,
            "compact_bytes_per_vector": number(compact) / rows,
            "link_bytes_per_vector": number(links) / rows,
        })
    );
    for line in stdin().lock().lines() {
        line?;
        let mut runs = Vec::new();
        for ef in &efs {
            round(&snapshot, &queries, &neighbours, *ef)?;
            runs.push(round(&snapshot, &queries, &neighbours, *ef)?);
        }
        println!("{}", json!({ "runs": runs }));
    }
    Ok(())
}

/// Every query once.
fn round(snapshot: &Snapshot, queries: &Matrix<f32>, neighbours: &Matrix<i32>, ef: usize) -> Outcome<Value> {
    let mut found = Vec::with_capacity(queries.rows);
    let started = Instant::now();
    for query in 0..queries.rows {
        let request = SearchRequest {
            vector: queries.row(query),
            limit: LIMIT,
            filter: None,
            score_threshold: None,
            mode: SearchMode::Candidates(ef),
        };
        found.push(black_box(snapshot.search(&request)?));
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut right = 0;
    for (query, hits) in found.iter().enumerate() {
        let nearest = &neighbours.row(query)[..LIMIT];
        let known = |id: &str| id.parse().is_ok_and(|row| nearest.contains(&row));
        right += hits.iter().filter(|hit| known(hit.point.id())).count();
    }
    let recall = number(right) / number(queries.rows * LIMIT);
    Ok(json!({ "ef": ef, "recall": recall, "queries_per_second": number(queries.rows) / seconds }))
}

/// A collection that came about as a tenant's does: by a fold of records.
fn filled(base: &Matrix<f32>, arguments: &Arguments) -> Outcome<Projection> {
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    let metric = match arguments.or("metric", "cosine").as_str() {
        "cosine" => Metric::Cosine,
        "dot" => Metric::Dot,
        "euclidean" => Metric::Euclidean,
        other => return Err(format!("no metric is called {other}").into()),
    };
    apply(
        &mut projection,
        Event::CollectionCreated {
            name: "measured".parse()?,
            dimension: u32::try_from(base.columns)?.try_into()?,
            metric,
            index: IndexParameters {
                m: Some(arguments.or("m", "16").parse()?),
                ef_construction: Some(arguments.or("ef-construction", "200").parse()?),
                ef: None,
            },
        },
    )?;
    let rows: Vec<usize> = (0..base.rows).collect();
    for rows in rows.chunks(VECTORS_PER_RECORD) {
        let point = |row: &usize| {
            let vector = Vector::dense(base.row(*row).to_vec())?;
            Ok(Point { id: PointId::text(row.to_string())?, vector, payload: None })
        };
        let points = rows.iter().map(point).collect::<Outcome<_>>()?;
        apply(&mut projection, Event::VectorsUpserted { collection: COLLECTION, points })?;
    }
    Ok(projection)
}

/// `--name value`, any number of times.
struct Arguments(HashMap<String, String>);

impl Arguments {
    /// `None` if there are none to speak of: cargo adds `--bench`.
    fn read() -> Option<Self> {
        let mut given = HashMap::new();
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            given.insert(name.trim_start_matches('-').to_owned(), arguments.next()?);
        }
        (!given.is_empty()).then_some(Self(given))
    }

    fn path(&self, name: &str) -> Outcome<&Path> {
        Ok(Path::new(self.0.get(name).ok_or_else(|| format!("--{name} is missing"))?))
    }

    fn or(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }
}

/// What this process holds in memory.
fn resident_bytes() -> Outcome<usize> {
    let pages: usize =
        fs::read_to_string("/proc/self/statm")?.split(' ').nth(1).ok_or("no statm")?.parse()?;
    Ok(pages * 4096)
}
