//! A writer, a keeper and readers at once, with closing and reopening in between.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vectorizer_log::{BaseItem, BaseState, Error, PreparedBase, Seq};
use vectorizer_testing::events::{commit, fill, upserted};

use crate::backends::{Backend, SledBackend};
use crate::tiers::never;

#[test]
#[expect(clippy::too_many_lines, reason = "one story of four threads")]
fn everything_at_once() {
    let seconds = if vectorizer_testing::is_long_run() { 40 } else { 2 };
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 3);
    let reader = log.reader();
    let ended = AtomicBool::new(false);
    let prepared: Mutex<Option<PreparedBase>> = Mutex::default();
    let (drops, reopened, pages, seals, merges) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let (reader, ended, prepared, drops, reopened, pages, seals, merges, backend) =
            (&reader, &ended, &prepared, &drops, &reopened, &pages, &seals, &merges, &backend);
        scope.spawn(move || {
            let mut log = Some(log);
            let mut step = 0_u64;
            while Instant::now() < until {
                step += 1;
                let mut it = log.take().unwrap();
                commit(&mut it, [upserted(usize::try_from(step % 7).unwrap() * 30, step)]);
                if step.is_multiple_of(3) {
                    it.rotate().unwrap();
                }
                let base = prepared.lock().unwrap().take();
                let event = base.as_ref().map(PreparedBase::event);
                let reservation = base.and_then(|base| it.reserve_drop(base).unwrap());
                if let (Some(event), Some(reservation)) = (event, reservation) {
                    let mut change = it.begin().unwrap();
                    let draft = vectorizer_testing::events::draft(event);
                    change.stage(draft, vectorizer_log::Timestamp::now()).unwrap();
                    change.commit().unwrap();
                    it.drop_history(reservation).unwrap();
                    drops.fetch_add(1, Ordering::SeqCst);
                }
                if step.is_multiple_of(40) {
                    let (head, bytes) = (it.head(), it.bytes());
                    if step.is_multiple_of(80) {
                        it.close().unwrap();
                    } else {
                        drop(it);
                    }
                    let mut folded = 0;
                    let opened = backend.open().unwrap().recover_after::<Error>(head, |_| {
                        folded += 1;
                        Ok(())
                    });
                    it = opened.unwrap().log.with_reader(reader);
                    assert_eq!((it.head(), it.bytes(), folded), (head, bytes, 0));
                    reopened.fetch_add(1, Ordering::SeqCst);
                }
                log = Some(it);
            }
            ended.store(true, Ordering::SeqCst);
        });
        scope.spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let allowed = |error: Error| assert!(matches!(error, Error::Closed), "keeper: {error}");
                match reader.seal(&never) {
                    Ok(sealed) => drop(seals.fetch_add(u64::from(sealed.is_some()), Ordering::SeqCst)),
                    Err(error) => allowed(error),
                }
                match reader.merge(None, &never) {
                    Ok(merged) => drop(merges.fetch_add(u64::from(merged.is_some()), Ordering::SeqCst)),
                    Err(error) => allowed(error),
                }
                let Ok(sealed) = reader.sealed() else { continue };
                let Some(last) = sealed.get(sealed.len() / 2).filter(|_| sealed.len() > 5) else { continue };
                let state = BaseItem::State(BaseState { data_seq: last.head.seq, ..BaseState::default() });
                let mut items = |push: &mut dyn FnMut(&BaseItem) -> std::io::Result<()>| push(&state);
                match reader.prepare_base(last.head, &mut items, &never) {
                    Ok(base) => {
                        *prepared.lock().unwrap() = base;
                        std::thread::sleep(Duration::from_millis(60));
                    }
                    Err(error) => allowed(error),
                }
            }
        });
        for number in 0..2_u64 {
            scope.spawn(move || {
                let mut from = Seq::OLDEST;
                let mut turn = number;
                while !ended.load(Ordering::SeqCst) {
                    turn =
                        turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    match reader.read(from, 1 + usize::try_from(turn >> 60).unwrap(), usize::MAX) {
                        Ok(page) => {
                            pages.fetch_add(1, Ordering::SeqCst);
                            if page.is_empty() {
                                assert!(from > Seq::OLDEST);
                                from = Seq::new(from.get() / 2);
                            }
                            for stored in page {
                                assert_eq!(stored.record.seq, from.max(Seq::OLDEST));
                                from = stored.record.seq.next();
                            }
                        }
                        Err(Error::HistoryDropped { oldest }) => from = oldest,
                        Err(Error::Closed) => std::thread::yield_now(),
                        Err(error) => panic!("reader at {from}: {error:?}"),
                    }
                }
            });
        }
    });
    let (recovered, _) = backend.recover().unwrap();
    assert_eq!(recovered.log.head(), reader.head());
}
