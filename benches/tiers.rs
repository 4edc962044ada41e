//! What history costs: disk, the first write of a tenant that was closed, memory to open a log, and sealing.
//!
//! ```text
//! cargo build --release && cargo bench --bench tiers [-- disk first_write sealing]
//! ```

#[path = "support/client.rs"]
mod client;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;
#[path = "support/tenant.rs"]
mod tenant;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use client::{Client, Server};
use support::{Outcome, number, print_table};
use vectorizer_log::{
    CollectionId, Event, IndexParameters, Metric, Point, PointId, Seq, TenantFolder, TenantLog, Vector,
};
use vectorizer_testing::Random;

const MEBIBYTE: f64 = 1_048_576.0;

fn main() -> Outcome<()> {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|it| it == name);
    if is_chosen("disk") {
        disk()?;
    }
    if is_chosen("first_write") {
        first_write()?;
    }
    if is_chosen("sealing") {
        sealing()?;
    }
    Ok(())
}

fn bytes_of(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn vectors(first: usize, count: usize, dimension: usize, random: &mut Random) -> Outcome<String> {
    let mut body = "{\"vectors\":[".to_owned();
    for at in first..first + count {
        let separator = if at == first { "" } else { "," };
        write!(body, "{separator}{{\"id\":\"v{at}\",\"vector\":{:?}}}", random.units(dimension))?;
    }
    body.push_str("]}");
    Ok(body)
}

fn create(client: &mut Client, dimension: usize) -> Outcome<()> {
    let body = format!("{{\"name\":\"words\",\"dimension\":{dimension},\"metric\":\"cosine\"}}");
    client.call("POST", "/collections", &body)?;
    Ok(())
}

/// Stops a server as an operator does, so that its logs are closed and sealed.
fn stop(mut server: Server) {
    server.signal("TERM");
    server.wait();
}

/// The same 20,000 vectors of 64 numbers, written twelve times.
fn disk() -> Outcome<()> {
    let mut rows = Vec::new();
    for (name, flags) in [("kept for ever", &[][..]), ("kept for 0 s", &["--history-keep", "0"])] {
        let data = tenant::scratch()?;
        let server = Server::start(&[&["serve"], flags].concat(), data.path())?;
        let mut client = server.client("")?;
        create(&mut client, 64)?;
        let mut random = Random::new(1);
        for _ in 0..12 {
            for first in (0..20_000).step_by(1_000) {
                let body = vectors(first, 1_000, 64, &mut random)?;
                while client.send("PUT", "/collections/words/vectors", &body)? == 503 {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        let usage = client.call("GET", "/cluster/usage", "")?["usage"].clone();
        let alive = usage["storage_bytes"].as_u64().ok_or("no size")?;
        let stored = usage["log_bytes"].as_u64().ok_or("no size")?;
        stop(server);
        let folder = data.path().join("default");
        let log = bytes_of(&folder.join("segments"))? + bytes_of(&folder.join("tails"))?;
        let whole = bytes_of(&folder)?;
        rows.push([
            name.to_owned(),
            format!("{:.1}", number(usize::try_from(alive)?) / MEBIBYTE),
            format!("{:.1}", number(usize::try_from(stored)?) / MEBIBYTE),
            format!("{:.1}", number(usize::try_from(log)?) / MEBIBYTE),
            format!("{:.2}", number(usize::try_from(log)?) / number(usize::try_from(alive)?)),
            format!("{:.2}", number(usize::try_from(log)?) / number(usize::try_from(stored)?)),
            format!("{:.2}", number(usize::try_from(whole)?) / number(usize::try_from(alive)?)),
        ]);
    }
    print_table(
        [
            "history",
            "alive, MiB",
            "log_bytes, MiB",
            "log on disk, MiB",
            "log / alive",
            "log / log_bytes",
            "folder / alive",
        ],
        &rows,
    );
    Ok(())
}

const LIVE: usize = 5_000;

fn upsert(first: usize, count: usize, random: &mut Random) -> Outcome<Event> {
    let points = (first..first + count).map(|at| {
        Ok(Point {
            id: PointId::text(format!("v{}", at % LIVE))?,
            vector: Vector::dense(random.units(16))?,
            payload: None,
        })
    });
    Ok(Event::VectorsUpserted {
        collection: CollectionId::created_at(Seq::OLDEST),
        points: points.collect::<Outcome<_>>()?,
    })
}

/// A log of 5,000 live vectors of 16 numbers with this many records, one vector each, sealed as a server seals it.
fn history(folder: &TenantFolder, records: usize) -> Outcome<()> {
    let mut log = tenant::open(folder)?;
    let created = Event::CollectionCreated {
        name: "words".parse()?,
        dimension: 16_u32.try_into()?,
        metric: Metric::Cosine,
        index: IndexParameters::default(),
    };
    tenant::commit(&mut log, vec![tenant::draft(created)])?;
    let mut random = Random::new(2);
    for first in (0..records).step_by(1_000) {
        let drafts = (first..(first + 1_000).min(records))
            .map(|at| Ok(tenant::draft(upsert(at, 1, &mut random)?)))
            .collect::<Outcome<_>>()?;
        tenant::commit(&mut log, drafts)?;
        if log.tail_bytes() >= 32 << 20 {
            seal(&mut log)?;
        }
    }
    log.close()?;
    Ok(())
}

fn seal(log: &mut TenantLog) -> Outcome<u64> {
    log.rotate()?;
    let reader = log.reader();
    let mut bytes = 0;
    while let Some(change) = reader.seal(&|| false)? {
        bytes += change.bytes;
    }
    while reader.merge(None, &|| false)?.is_some() {}
    Ok(bytes)
}

/// The resident memory of a process, in bytes.
fn resident(process: u32) -> Outcome<f64> {
    let pages: usize = fs::read_to_string(format!("/proc/{process}/statm"))?
        .split(' ')
        .nth(1)
        .ok_or("no resident memory")?
        .parse()?;
    Ok(number(pages * 4096))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The first write of a tenant whose log is closed, in turns with and without 2,000,000 records of history.
fn first_write() -> Outcome<()> {
    let cases = [("5,000 records", LIVE), ("2,000,000 records", 2_000_000)];
    let mut folders = Vec::new();
    for (_, records) in cases {
        let data = tenant::scratch()?;
        let folder = TenantFolder::new(data.path(), &"default".parse()?);
        folder.create()?;
        history(&folder, records)?;
        // A server writes the checkpoint and closes the log.
        let server = Server::start(&["serve"], data.path())?;
        server.client("")?.call("POST", "/collections/words/count", "{}")?;
        stop(server);
        folders.push((data, folder));
    }
    let mut figures = vec![(Vec::new(), Vec::new()); cases.len()];
    for turn in 0..21 {
        for ((data, _), (times, memory)) in folders.iter().zip(&mut figures) {
            let server = Server::start(&["serve"], data.path())?;
            let mut client = server.client("")?;
            client.call("POST", "/collections/words/count", "{}")?;
            let before = resident(server.id())?;
            let body = vectors(0, 1, 16, &mut Random::new(turn))?;
            let started = Instant::now();
            client.call("PUT", "/collections/words/vectors", &body)?;
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
            memory.push((resident(server.id())? - before) / MEBIBYTE);
            stop(server);
        }
    }
    let rows: Vec<_> = cases
        .iter()
        .zip(folders.iter().zip(figures))
        .map(|((name, _), ((_, folder), (times, memory)))| {
            [
                (*name).to_owned(),
                format!("{:.1}", number(usize::try_from(folder.file_bytes()).unwrap_or(0)) / MEBIBYTE),
                format!("{:.1}", median(times)),
                format!("{:.1}", median(memory)),
            ]
        })
        .collect();
    print_table(["history", "log on disk, MiB", "first write p50, ms", "resident memory more, MiB"], &rows);
    Ok(())
}

/// Sealing of full tails, of vectors that do not compress and of small records.
fn sealing() -> Outcome<()> {
    let mut rows = Vec::new();
    for (name, points, dimension) in [("500 x 384 a record", 500, 384), ("1 x 16 a record", 1, 16)] {
        let mut rates = Vec::new();
        for turn in 0..5 {
            let data = tenant::scratch()?;
            let folder = tenant::create(data.path())?;
            let mut log = tenant::open(&folder)?;
            let mut random = Random::new(turn);
            while log.tail_bytes() < 32 << 20 {
                let drafts = (0..if points == 1 { 1_000 } else { 1 }).map(|_| {
                    let points = (0..points).map(|at| {
                        let vector = Vector::dense(random.units(dimension))?;
                        Ok(Point { id: PointId::text(format!("v{at}"))?, vector, payload: None })
                    });
                    Ok(tenant::draft(Event::VectorsUpserted {
                        collection: CollectionId::created_at(Seq::OLDEST),
                        points: points.collect::<Outcome<_>>()?,
                    }))
                });
                tenant::commit(&mut log, drafts.collect::<Outcome<_>>()?)?;
            }
            log.rotate()?;
            let started = Instant::now();
            let sealed = log.reader().seal(&|| false)?.ok_or("nothing was sealed")?;
            let rate = number(usize::try_from(sealed.bytes)?) / MEBIBYTE / started.elapsed().as_secs_f64();
            rates.push(rate);
        }
        rows.push([name.to_owned(), format!("{:.0}", median(rates))]);
    }
    print_table(["tail of 32 MiB", "sealed, MiB/s"], &rows);
    Ok(())
}
