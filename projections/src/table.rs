//! The projection on disk: the one file that names sled.
//!
//! sled is trusted with what can be made again. The folder can be deleted at any moment; the log gives it back.
//!
//! One tree. Key `g` holds the [`Ground`], with the watermark. Key `r`, the length of the source as four big-endian
//! bytes, the source, the subject holds a [`Resource`]. Values are bincode behind one version byte.
//!
//! A checkpoint is written in batches of [`BATCH_ROWS`], because sled's memory grows without bound with larger ones;
//! the last batch holds the ground. After a crash between two batches some resources are therefore ahead of the
//! watermark. Invariant: folding a record twice into a resource changes nothing (`Projection::fold` compares it with
//! the resource's last record), so that reading on from the watermark ends in the same state all the same.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fact::ResourceKey;
use crate::fold::{Ground, Projection, Resource};

/// The layout of keys and values. Another number in the file means: set aside, rebuild.
const VERSION: u8 = 2;

/// Rows in one sled batch: 2,000 and more make its memory grow, fewer amplify its writes.
const BATCH_ROWS: usize = 1_000;

/// How often, and with which pause, a table in use is tried again: sled lets go of its lock a little after it was closed.
const OPEN_ATTEMPTS: usize = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

const GROUND: &[u8] = b"g";
const RESOURCE: u8 = b'r';

/// Why a projection could not be opened or written. Opening again after [`Table::set_aside`] succeeds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// sled refused; the message is its own.
    #[error("projection in `{path}` cannot be used: {reason}")]
    Sled {
        /// The folder.
        path: PathBuf,
        /// What sled said.
        reason: String,
    },
    /// Somebody has it open. Not a reason to set it aside.
    #[error("projection in `{path}` is in use\nhint: stop the other engine on this folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A value of another layout, or damaged.
    #[error("projection in `{path}` does not decode at key `{key}`")]
    Malformed {
        /// The folder.
        path: PathBuf,
        /// The key, escaped.
        key: String,
    },
    /// The folder could not be moved out of the way.
    #[error("cannot set the projection in `{path}` aside")]
    SetAside {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The sled table of one engine.
#[derive(Debug)]
pub struct Table {
    db: sled::Db,
    path: PathBuf,
}

impl Table {
    /// Opens or creates the table and reads the projection it holds, as of its last checkpoint.
    ///
    /// # Errors
    /// [`Error::InUse`]; else when sled refuses the folder, panics over it (as it does over damage), or it holds what
    /// cannot be read.
    pub fn open(path: &Path) -> Result<(Table, Projection), Error> {
        for _ in 1..OPEN_ATTEMPTS {
            match Self::open_once(path) {
                Err(Error::InUse { .. }) => std::thread::sleep(OPEN_PAUSE),
                opened => return opened,
            }
        }
        Self::open_once(path)
    }

    fn open_once(path: &Path) -> Result<(Table, Projection), Error> {
        let open = || {
            let config = sled::Config::new().path(path).mode(sled::Mode::HighThroughput).flush_every_ms(None);
            let db = config.open().map_err(|error| Self::sled(path, &error))?;
            let table = Table { db, path: path.to_owned() };
            let projection = table.load()?;
            Ok((table, projection))
        };
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
            Err(Error::Sled { path: path.to_owned(), reason: "sled panicked while it opened the folder".into() })
        })
    }

    /// Opens the table; where it cannot be used, sets it aside and begins an empty one, which the log fills again.
    /// Returns the reason with it, to be reported.
    ///
    /// # Errors
    /// [`Error::InUse`]; else when the folder cannot be set aside, or the new one cannot be used either.
    pub fn open_or_rebuild(path: &Path) -> Result<(Table, Projection, Option<Error>), Error> {
        match Table::open(path) {
            Ok((table, projection)) => Ok((table, projection, None)),
            Err(in_use @ Error::InUse { .. }) => Err(in_use),
            Err(damage) => {
                Table::set_aside(path)?;
                let (table, projection) = Table::open(path)?;
                Ok((table, projection, Some(damage)))
            }
        }
    }

    /// Moves a folder that cannot be used out of the way, to `<folder>.damaged`, keeping it for a look in place of the
    /// one before. The next open starts empty.
    ///
    /// # Errors
    /// When the folder cannot be renamed.
    pub fn set_aside(path: &Path) -> Result<PathBuf, Error> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".damaged");
        let aside = PathBuf::from(aside);
        let remove = |path: &Path| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        let moved = if aside.exists() { remove(&aside) } else { Ok(()) }.and_then(|()| fs::rename(path, &aside));
        moved.map_err(|source| Error::SetAside { path: path.to_owned(), source })?;
        Ok(aside)
    }

    /// Writes what changed since the last checkpoint, and the watermark last.
    ///
    /// # Errors
    /// When sled refuses. Nothing is lost: the log has it all, and the next checkpoint writes what this one did not.
    pub fn checkpoint(&self, projection: &mut Projection) -> Result<(), Error> {
        for batch in batches(projection, BATCH_ROWS) {
            self.apply(batch)?;
        }
        projection.saved();
        Ok(())
    }

    /// Hands everything to the operating system, for a clean stop.
    ///
    /// # Errors
    /// When sled refuses.
    pub fn flush(&self) -> Result<(), Error> {
        self.db.flush().map(|_| ()).map_err(|error| Self::sled(&self.path, &error))
    }

    fn apply(&self, batch: sled::Batch) -> Result<(), Error> {
        self.db.apply_batch(batch).map_err(|error| Self::sled(&self.path, &error))
    }

    fn load(&self) -> Result<Projection, Error> {
        let Some(ground) = self.db.get(GROUND).map_err(|error| Self::sled(&self.path, &error))? else {
            // No ground means no finished checkpoint: rows that may lie here are ahead of every watermark.
            self.db.clear().map_err(|error| Self::sled(&self.path, &error))?;
            return Ok(Projection::default());
        };
        let ground: Ground = self.decode(GROUND, &ground)?;
        let mut resources = Vec::new();
        for row in self.db.scan_prefix([RESOURCE]) {
            let (key, value) = row.map_err(|error| Self::sled(&self.path, &error))?;
            let resource: Resource = self.decode(&key, &value)?;
            resources.push((self.resource_key(&key)?, resource));
        }
        Ok(Projection::restore(ground, resources))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, Error> {
        let config = bincode::config::standard().with_limit::<{ 256 << 20 }>();
        match value.split_first() {
            Some((&VERSION, body)) => bincode::serde::decode_from_slice(body, config)
                .ok()
                .filter(|(_, read)| *read == body.len())
                .map(|(value, _)| value)
                .ok_or_else(|| self.malformed(key)),
            _ => Err(self.malformed(key)),
        }
    }

    fn resource_key(&self, row: &[u8]) -> Result<ResourceKey, Error> {
        let parse = || {
            let len = u32::from_be_bytes(row.get(1..5)?.try_into().ok()?) as usize;
            let source = std::str::from_utf8(row.get(5..5 + len)?).ok()?;
            let subject = std::str::from_utf8(row.get(5 + len..)?).ok()?;
            Some(ResourceKey { source: source.into(), subject: subject.into() })
        };
        parse().ok_or_else(|| self.malformed(row))
    }

    fn malformed(&self, key: &[u8]) -> Error {
        Error::Malformed { path: self.path.clone(), key: key.escape_ascii().to_string() }
    }

    fn sled(path: &Path, error: &sled::Error) -> Error {
        let (path, reason) = (path.to_owned(), error.to_string());
        // sled wraps the refusal of its lock in an error of no particular kind.
        if reason.contains("could not acquire lock") { Error::InUse { path } } else { Error::Sled { path, reason } }
    }
}

/// A checkpoint in pieces, the ground in the last one.
fn batches(projection: &Projection, rows_max: usize) -> impl Iterator<Item = sled::Batch> {
    let mut rows = projection.changed().peekable();
    let mut ground = Some(&projection.ground);
    std::iter::from_fn(move || {
        ground?;
        let mut batch = sled::Batch::default();
        for (key, resource) in rows.by_ref().take(rows_max) {
            batch.insert(resource_row(key), encode(resource));
        }
        if rows.peek().is_none()
            && let Some(ground) = ground.take()
        {
            batch.insert(GROUND, encode(ground));
        }
        Some(batch)
    })
}

fn resource_row(key: &ResourceKey) -> Vec<u8> {
    let source_len = u32::try_from(key.source.len()).expect("a source is shorter than a NATS message");
    let mut row = Vec::with_capacity(5 + key.source.len() + key.subject.len());
    row.push(RESOURCE);
    row.extend_from_slice(&source_len.to_be_bytes());
    row.extend_from_slice(key.source.as_bytes());
    row.extend_from_slice(key.subject.as_bytes());
    row
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut out, bincode::config::standard())
        .expect("a Vec takes everything that bincode can write");
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::facts;
    use crate::properties::fold;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn a_crash_in_the_middle_of_a_checkpoint_loses_nothing(
            facts in facts(80),
            saved in 0..80_usize,
            reached in 0..80_usize,
            written in 0..12_usize,
        ) {
            let (saved, reached) = (saved.min(reached).min(facts.len()), reached.max(saved).min(facts.len()));
            let mut at_once = Projection::default();
            fold(&mut at_once, &facts);

            let folder = tempfile::tempdir().expect("a folder");
            let (table, mut projection) = Table::open(folder.path()).expect("its own folder");
            fold(&mut projection, &facts[..saved]);
            table.checkpoint(&mut projection).expect("room");
            fold(&mut projection, &facts[saved..reached]);
            for batch in batches(&projection, 1).take(written) {
                table.apply(batch).expect("room");
            }
            drop(table);

            let (_table, mut projection) = Table::open(folder.path()).expect("its own folder");
            let start = usize::try_from(projection.watermark().get()).expect("short");
            prop_assert!(start == saved || start == reached);
            fold(&mut projection, &facts[start..]);
            prop_assert_eq!(projection.digest(), at_once.digest());
        }
    }

    #[test]
    fn a_checkpoint_is_cut_in_batches_and_the_ground_comes_last() {
        let mut projection = Projection::default();
        assert_eq!(batches(&projection, 10).count(), 1, "an empty one is its ground");
        for number in 0..25 {
            let source = format!("source-{number}");
            let delivery = crate::fact::Delivery {
                cluster: "mgmt/mgmt",
                stream: "S",
                epoch: 1,
                sequence: number,
                published_unix_nanos: 0,
                subject: "user",
            };
            let fact = crate::fact::Fact::EventReceived {
                delivery,
                source: &source,
                subject: "",
                kind: "t",
                id: "1",
                previous: None,
                decisions: vec![],
                headers: vec![],
                payload: b"",
            };
            fold(&mut projection, &[fact]);
        }
        assert_eq!(batches(&projection, 10).count(), 3);
        assert_eq!(batches(&projection, 25).count(), 1);
        projection.saved();
        assert_eq!(batches(&projection, 10).count(), 1);
    }

    #[test]
    fn a_table_in_use_is_not_taken_for_a_damaged_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let _held = Table::open(folder.path()).expect("its own folder");
        let refused = Table::open_or_rebuild(folder.path());
        assert!(matches!(refused, Err(Error::InUse { .. })), "{:?}", refused.err());
    }

    #[test]
    fn a_damaged_folder_is_set_aside_and_begun_anew() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("projection");
        let check = |damage: &dyn Fn()| {
            let (table, mut projection) = Table::open(&path).expect("its own folder");
            fold(&mut projection, &[crate::fact::Fact::RuleChanged { rule: "r", digest: Some(1), manifest: "{}" }]);
            table.checkpoint(&mut projection).expect("room");
            drop(table);
            damage();
            let (table, projection, damage) = Table::open_or_rebuild(&path).expect("a new one");
            assert!(damage.is_some());
            assert_eq!(projection.watermark().get(), 0);
            assert!(parent.path().join("projection.damaged").exists());
            drop(table);
        };
        check(&|| {
            let (Table { db, .. }, _) = Table::open(&path).expect("its own folder");
            db.insert(GROUND, &[VERSION, 0xff, 0xff][..]).expect("room");
        });
        check(&|| {
            let (Table { db, .. }, _) = Table::open(&path).expect("its own folder");
            db.insert(GROUND, &[VERSION + 1][..]).expect("room");
        });
        check(&|| {
            let (Table { db, .. }, _) = Table::open(&path).expect("its own folder");
            db.insert(b"r\0\0\xff\xffshort", encode(&Resource::default())).expect("room");
        });
        check(&|| {
            fs::remove_dir_all(&path).expect("a folder");
            fs::write(&path, b"no folder at all").expect("room");
        });
    }

    #[test]
    fn rows_are_laid_out_as_the_golden_file_says() {
        let key = ResourceKey { source: "https://a/b".into(), subject: "é".into() };
        let mut lifecycle = crate::lifecycle::Lifecycle::new("manage-namespace", "mgmt/mgmt");
        let object = crate::fact::ObjectKey {
            group: String::new(),
            version: "v1".into(),
            kind: "Namespace".into(),
            namespace: None,
            name: "x".into(),
        };
        let applied = [crate::fact::AppliedObject { object, uid: "uid".into(), digest: 300 }];
        let (one, two) = (lifeline_store::Offset::from(1), lifeline_store::Offset::from(2));
        lifecycle.evolve(one, 1_000, crate::lifecycle::Happened::Created);
        lifecycle.evolve(two, 2_000, crate::lifecycle::Happened::Applied { acted_for: one, objects: &applied });
        let resource = Resource {
            events: 1,
            first_event: one,
            last_event: one,
            last_event_unix_nanos: 1_000,
            last_event_kind: "login".into(),
            last_record: two,
            lifecycles: vec![lifecycle],
        };
        let mut ground =
            Ground { watermark: lifeline_store::Offset::from(3), folded_unix_nanos: 2_000, ..Ground::default() };
        ground.streams.insert(("mgmt/mgmt".into(), "S".into()), crate::fold::StreamPosition::default());
        let mark = crate::fold::RuleMark { digest: 7, record: one };
        ground.rules.insert("EventTrigger/t".into(), mark);
        ground.replayed.insert("t".into(), crate::fold::ReplayMark { digest: 7, leaves: true });
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let lines = [
            format!("resource key   {}", hex(&resource_row(&key))),
            format!("resource value {}", hex(&encode(&resource))),
            format!("ground value   {}", hex(&encode(&ground))),
        ];
        assert_eq!(lines.join("\n") + "\n", include_str!("../tests/golden/table.txt"));
    }
}
