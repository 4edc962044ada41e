use std::fs;

use super::*;
use crate::event::Event;
use crate::position::Timestamp;
use crate::record::{Actor, Draft, Via};

struct Fixture {
    _folders: tempfile::TempDir,
    from: PathBuf,
    data: PathBuf,
}

fn default() -> TenantId {
    "default".parse().unwrap()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

impl Fixture {
    fn new() -> Self {
        let folders = tempfile::tempdir().unwrap();
        let (from, data) = (folders.path().join("from"), folders.path().join("data"));
        fs::create_dir_all(from.join("_node")).unwrap();
        fs::create_dir_all(&data).unwrap();
        fs::write(from.join(NODE_LOCK), "").unwrap();
        TenantFolder::new(&from, &default()).create().unwrap();
        let fixture = Self { _folders: folders, from, data };
        append(&TenantFolder::new(&fixture.from, &default()), 7);
        fixture
    }

    fn begin(&self) -> Result<MigrationStart, MigrationError> {
        Migration::begin(&self.from, &default(), &self.data, &acme())
    }

    fn migration(&self) -> Box<Migration> {
        match self.begin().unwrap() {
            MigrationStart::Migration(migration) => migration,
            MigrationStart::Done(_) => panic!("it is done"),
        }
    }

    fn source(&self) -> TenantFolder {
        TenantFolder::new(&self.from, &default())
    }
}

fn append(folder: &TenantFolder, records: usize) {
    let mut log = folder.open().unwrap().recover(|_| Ok::<_, Error>(())).unwrap().log;
    for _ in 0..records {
        let mut commit = log.begin().unwrap();
        let event = Event::CollectionDeleted { collection: crate::CollectionId::created_at(Seq::OLDEST) };
        let actor = Actor { key_id: None, via: Via::Rest };
        let draft = Draft { actor, request_id: String::new(), idempotency: None, event };
        commit.stage(draft, Timestamp::now()).unwrap();
        commit.commit().unwrap();
    }
    log.close().unwrap();
}

fn head(folder: &TenantFolder) -> Head {
    folder.open().unwrap().recover(|_| Ok::<_, Error>(())).unwrap().log.head()
}

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn an_interrupted_migration_can_be_resumed_at_every_step() {
    // After how many steps each attempt is interrupted.
    for steps in 0..4 {
        let fixture = Fixture::new();
        let (log_id, expected) =
            (fixture.source().log_id().unwrap(), acknowledged(&fixture.source()).unwrap());
        let mut migration = fixture.migration();
        if steps > 0 {
            assert!(migration.copy(&mut |_, _| ControlFlow::Break(())).unwrap().is_break());
        }
        if steps > 1 {
            assert!(migration.copy(&mut go_on).unwrap().is_continue());
        }
        if steps > 2 {
            migration.place().unwrap();
        }
        assert_eq!(acknowledged(&fixture.source()).unwrap(), expected, "the source is touched");
        assert!(!fixture.from.join(MIGRATED).exists());
        drop(migration);
        let mut migration = fixture.migration();
        assert!(migration.copy(&mut go_on).unwrap().is_continue());
        migration.place().unwrap();
        migration.retire_source().unwrap();
        let place = TenantFolder::new(&fixture.data, &acme());
        assert_eq!((place.log_id().unwrap(), head(&place)), (log_id, expected));
        assert!(!fixture.source().exists() && !fixture.data.join(MIGRATING).exists());
        assert!(fixture.from.join(MIGRATED).join(log_id.to_string()).join("log").is_dir());
        // Again, with nothing left to do.
        assert!(matches!(fixture.begin().unwrap(), MigrationStart::Done(to) if to.tenant == acme()));
        let other = Migration::begin(&fixture.from, &default(), &fixture.data, &"globex".parse().unwrap());
        assert!(matches!(other, Err(MigrationError::MigratedElsewhere { .. })));
    }
}

#[test]
fn a_crash_between_the_last_moves_is_completed() {
    let fixture = Fixture::new();
    let mut migration = fixture.migration();
    assert!(migration.copy(&mut go_on).unwrap().is_continue());
    let note = fs::read(fixture.data.join("_migrating/acme.json")).unwrap();
    migration.place().unwrap();
    // The copy is published, but the progress does not say so.
    fs::write(fixture.data.join("_migrating/acme.json"), &note).unwrap();
    drop(migration);
    let migration = fixture.migration();
    assert!(migration.is_placed());
    migration.retire_source().unwrap();
    // The source is moved, but the progress still exists.
    fs::create_dir_all(fixture.data.join(MIGRATING)).unwrap();
    fs::write(fixture.data.join("_migrating/acme.json"), &note).unwrap();
    assert!(matches!(fixture.begin().unwrap(), MigrationStart::Done(_)));
    assert!(!fixture.data.join(MIGRATING).exists());
}

#[test]
fn a_source_used_meanwhile_is_copied_again_and_one_used_after_publication_is_reported() {
    let fixture = Fixture::new();
    let mut migration = fixture.migration();
    assert!(migration.copy(&mut go_on).unwrap().is_continue());
    drop(migration);
    append(&fixture.source(), 1);
    let mut migration = fixture.migration();
    assert_eq!(migration.head().seq, Seq::new(8));
    assert!(migration.copy(&mut go_on).unwrap().is_continue());
    assert_eq!(head(&migration.copied()).seq, Seq::new(8));
    migration.place().unwrap();
    drop(migration);
    append(&fixture.source(), 1);
    assert!(matches!(fixture.begin(), Err(MigrationError::SourceWentOn(_))));
}

#[test]
fn invalid_migrations_are_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    let nowhere = Migration::begin(&fixture.data, &default(), &fixture.from, &acme());
    assert!(matches!(nowhere, Err(MigrationError::NoSource(_))));
    // A server has one of the folders open.
    for folder in [&fixture.from, &fixture.data] {
        let lock = File::create(folder.join(NODE_LOCK)).unwrap();
        lock.lock().unwrap();
        assert!(matches!(fixture.begin(), Err(MigrationError::InUse(_))), "{folder:?}");
    }
    // The log itself is open.
    let log = fixture.source().open().unwrap();
    assert!(matches!(fixture.begin(), Err(MigrationError::InUse(_))));
    drop(log);
    // The same log under another name.
    let copy = TenantFolder::new(&fixture.data, &"globex".parse().unwrap());
    fs::create_dir(copy.path()).unwrap();
    fs::copy(fixture.source().path().join("manifest.json"), copy.path().join("manifest.json")).unwrap();
    assert!(matches!(fixture.begin(), Err(MigrationError::LogExists { .. })));
    fs::remove_dir_all(copy.path()).unwrap();
    // A tombstone of the log, perhaps of an earlier migration.
    DeletedTenants::open(&fixture.data).unwrap();
    let tombstone = format!("{}.json", fixture.source().log_id().unwrap());
    fs::write(fixture.data.join("_deleted").join(tombstone), "{}").unwrap();
    assert!(matches!(fixture.begin(), Err(MigrationError::LogDeleted(_))));
    fs::remove_dir_all(fixture.data.join("_deleted")).unwrap();
    // The tenant itself.
    TenantFolder::new(&fixture.data, &acme()).create().unwrap();
    assert!(matches!(fixture.begin(), Err(MigrationError::TenantExists { .. })));
    assert!(!fixture.data.join(MIGRATING).exists());
    // Another folder, for the same tenant.
    fs::remove_dir_all(fixture.data.join("acme")).unwrap();
    drop(fixture.migration());
    let other = Fixture::new();
    let begun = Migration::begin(&other.from, &default(), &fixture.data, &acme());
    assert!(matches!(begun, Err(MigrationError::OtherUnderWay { .. })));
}
