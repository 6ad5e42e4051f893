//! The projection on disk: the one file that names sled.
//!
//! sled is trusted with what can be made again. The folder can be deleted at any moment; the log gives it back.
//!
//! One tree, three kinds of rows:
//!
//! ```text
//! key                                          value
//! g                                            how many resources there are, the Ground, with the watermark, and the replays
//!                                              that are not complete, if there are any
//! r, number of the bucket (u32)                the resources of one bucket, one after the other, by number; names that the
//!                                              one before has too are left out
//! l, number of the resource (u32), offset (u64)  what the resource was by that record: a landmark
//! ```
//!
//! Numbers are big-endian. A value is a version byte, the CRC-32C of what follows (little-endian), and bincode, with what is
//! packed of a lifecycle as it is in memory (see [`crate::storage`]).
//!
//! A row holds many resources: at 20 microseconds a row, few large ones are what sled takes well.
//!
//! A checkpoint is written in batches of [`BATCH_BYTES`], because sled's memory grows without bound with larger ones:
//! landmarks first, then changed buckets in order, the ground last. After a crash between two batches some resources are
//! therefore ahead of the watermark. Invariant: folding a record twice into a resource changes nothing
//! (`Projection::fold` compares it with the resource's last record), so that reading on from the watermark ends in the same
//! state all the same.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use lifeline_store::{Offset, crc32c};

use crate::fold::{Ground, Projection};
use crate::landmarks::Saved;
use crate::resource::ResourceIndex;

/// The layout of keys and values. Another number in the file means: set aside, rebuild.
const VERSION: u8 = 4;

/// Bytes in one sled batch, give or take a row: larger ones make its memory grow, smaller ones amplify its writes.
const BATCH_BYTES: usize = 256 << 10;

/// What sled may keep in memory. The state is in memory already; nobody reads it here but at the start.
const CACHE_BYTES: u64 = 32 << 20;

/// How often, and with which pause, a table in use is tried again: sled lets go of its lock a little after it was closed.
const OPEN_ATTEMPTS: usize = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

const GROUND: &[u8] = b"g";
const BUCKET: u8 = b'r';
const LANDMARK: u8 = b'l';

/// Bytes before the body of a value: the version and the checksum.
const HEAD_BYTES: usize = 5;

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
    /// Another process has it open.
    #[error("projection in `{path}` is in use\nhint: stop the other engine on this folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// sled has not opened it in time. Nothing is known to be wrong with it.
    #[error("projection in `{path}` was not opened within {} s", .patience.as_secs())]
    Slow {
        /// The folder.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
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
    db: Arc<sled::Db>,
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
            let config = config.cache_capacity(CACHE_BYTES);
            let db = config.open().map_err(|error| Self::sled(path, &error))?;
            let table = Table { db: Arc::new(db), path: path.to_owned() };
            let projection = table.load()?;
            projection.landmarks().save_to(Box::new(Landmarks(Arc::downgrade(&table.db))));
            Ok((table, projection))
        };
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
            Err(Error::Sled { path: path.to_owned(), reason: "sled panicked while it opened the folder".into() })
        })
    }

    /// Opens the table; where it cannot be used within `patience`, sets it aside and begins an empty one, which the log
    /// fills again. Returns the reason with it, to be reported.
    ///
    /// For the holder of the log: its lock says that no other engine is on this data, so that a table in use is a leftover.
    ///
    /// # Errors
    /// When the folder cannot be set aside, or the new one cannot be used either.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub fn open_or_rebuild(path: &Path, patience: Duration) -> Result<(Table, Projection, Option<Error>), Error> {
        let (opened, opening) = mpsc::channel();
        let folder = path.to_owned();
        // On a thread of its own, which can be left behind: sled cannot be asked to stop.
        std::thread::Builder::new()
            .name("projection".into())
            .spawn(move || {
                // When nobody waits any more the table is closed again, in the folder that was set aside.
                let _ = opened.send(Table::open(&folder));
            })
            .expect("the system has room for one more thread");
        let slow = || Error::Slow { path: path.to_owned(), patience };
        match opening.recv_timeout(patience).unwrap_or_else(|_| Err(slow())) {
            Ok((table, projection)) => Ok((table, projection, None)),
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

    /// Writes what changed since the last checkpoint, and the watermark last. [`Projection::saved`] is to be called when it
    /// succeeded; until then nothing may be folded.
    ///
    /// # Errors
    /// When sled refuses. Nothing is lost: the log has it all, and the next checkpoint writes what this one did not.
    pub fn checkpoint(&self, projection: &Projection) -> Result<(), Error> {
        for batch in batches(projection, BATCH_BYTES) {
            self.apply(batch)?;
        }
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
        let get = |key: &[u8]| self.db.get(key).map_err(|error| Self::sled(&self.path, &error));
        let Some(value) = get(GROUND)? else {
            // No ground means no finished checkpoint: rows that may lie here are ahead of every watermark.
            self.db.clear().map_err(|error| Self::sled(&self.path, &error))?;
            return Ok(Projection::default());
        };
        let (resources, ground) = self.decode_ground(&value)?;
        let mut projection = Projection::with_ground(ground);
        // One by one rather than by a scan, which would leave all of them in sled's memory.
        for bucket in 0.. {
            let key = bucket_row(bucket);
            let Some(value) = get(&key)? else { break };
            let restored = body(&value).and_then(|body| projection.restore_bucket(bucket, body));
            restored.ok_or_else(|| self.malformed(&key))?;
        }
        if (projection.len() as u64) < resources {
            return Err(self.malformed(GROUND));
        }
        Ok(projection)
    }

    fn decode_ground(&self, value: &[u8]) -> Result<(u64, Ground), Error> {
        body(value).and_then(decode_ground).ok_or_else(|| self.malformed(GROUND))
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

fn encode_ground(projection: &Projection, out: &mut Vec<u8>) {
    let config = bincode::config::standard();
    let (resources, ground) = (projection.len() as u64, projection.ground());
    let mut written = bincode::serde::encode_into_std_write((resources, ground), out, config).map(|_| ());
    if !ground.open_replays.is_empty() {
        let more = bincode::serde::encode_into_std_write(&ground.open_replays, out, config);
        written = written.and(more.map(|_| ()));
    }
    written.expect("a Vec takes everything that bincode can write");
}

fn decode_ground(body: &[u8]) -> Option<(u64, Ground)> {
    let config = bincode::config::standard().with_limit::<{ 256 << 20 }>();
    let ((resources, mut ground), mut read): ((u64, Ground), usize) =
        bincode::serde::decode_from_slice(body, config).ok()?;
    if read < body.len() {
        let (open_replays, more) = bincode::serde::decode_from_slice(&body[read..], config).ok()?;
        ground.open_replays = open_replays;
        read += more;
    }
    (read == body.len()).then_some((resources, ground))
}

/// The landmarks in the table, for as long as it is open: dropping the [`Table`] closes it, even while others read.
struct Landmarks(Weak<sled::Db>);

impl Saved for Landmarks {
    fn first_from(&self, resource: ResourceIndex, from: Offset) -> Option<(Offset, Vec<u8>)> {
        let end = landmark_row(resource, Offset::from(u64::MAX));
        landmark(self.0.upgrade()?.range(landmark_row(resource, from)..=end).next()?)
    }

    fn last_below(&self, resource: ResourceIndex, end: Offset) -> Option<(Offset, Vec<u8>)> {
        let first = landmark_row(resource, Offset::ZERO);
        landmark(self.0.upgrade()?.range(first..landmark_row(resource, end)).next_back()?)
    }
}

/// A landmark that sled refuses, or that is damaged, is as good as none.
fn landmark(row: sled::Result<(sled::IVec, sled::IVec)>) -> Option<(Offset, Vec<u8>)> {
    let (key, value) = row.ok()?;
    let offset = u64::from_be_bytes(key.get(5..13)?.try_into().ok()?);
    Some((Offset::from(offset), body(&value)?.to_vec()))
}

/// What a checkpoint writes, key and value, in order: the ground comes last.
fn rows(projection: &Projection) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let landmarks = projection.landmarks().recent().into_iter().map(|((resource, offset), bytes)| {
        let mut value = vec![0; HEAD_BYTES];
        value.extend_from_slice(&bytes);
        (landmark_row(resource, offset).to_vec(), sealed(value))
    });
    let buckets = projection.storage().changed().map(|bucket| {
        let mut value = vec![0; HEAD_BYTES];
        projection.storage().encode_bucket(bucket, &mut value);
        (bucket_row(bucket).to_vec(), sealed(value))
    });
    let ground = std::iter::once_with(|| {
        let mut value = vec![0; HEAD_BYTES];
        encode_ground(projection, &mut value);
        (GROUND.to_vec(), sealed(value))
    });
    landmarks.chain(buckets).chain(ground)
}

/// A checkpoint in pieces.
fn batches(projection: &Projection, bytes_max: usize) -> impl Iterator<Item = sled::Batch> {
    let mut rows = rows(projection).peekable();
    std::iter::from_fn(move || {
        rows.peek()?;
        let (mut batch, mut bytes) = (sled::Batch::default(), 0);
        while bytes < bytes_max
            && let Some((key, value)) = rows.next()
        {
            bytes += value.len();
            batch.insert(key, value);
        }
        Some(batch)
    })
}

fn bucket_row(bucket: usize) -> [u8; 5] {
    let bucket = u32::try_from(bucket).expect("there are fewer buckets than resources, which have 32-bit numbers");
    let mut row = [BUCKET; 5];
    row[1..].copy_from_slice(&bucket.to_be_bytes());
    row
}

fn landmark_row(resource: ResourceIndex, offset: Offset) -> [u8; 13] {
    let mut row = [LANDMARK; 13];
    row[1..5].copy_from_slice(&resource.to_be_bytes());
    row[5..].copy_from_slice(&offset.get().to_be_bytes());
    row
}

/// Fills in the head of a value.
fn sealed(mut value: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&value[HEAD_BYTES..]);
    value[0] = VERSION;
    value[1..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    value
}

/// The body of a value, if it is of this layout and undamaged: sled hands out what it finds.
fn body(value: &[u8]) -> Option<&[u8]> {
    let (head, body) = value.split_at_checked(HEAD_BYTES)?;
    let sum = u32::from_le_bytes(head[1..].try_into().ok()?);
    (head[0] == VERSION && sum == crc32c(body)).then_some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::facts;
    use crate::properties::fold;

    const PATIENCE: Duration = Duration::from_secs(60);

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
            let mut at_once = Projection::with_landmarks_every(4);
            fold(&mut at_once, &facts);

            let folder = tempfile::tempdir().expect("a folder");
            let (table, mut projection) = Table::open(folder.path()).expect("its own folder");
            fold(&mut projection, &facts[..saved]);
            table.checkpoint(&projection).expect("room");
            projection.saved();
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
        let mut projection = Projection::with_landmarks_every(4);
        assert_eq!(batches(&projection, 1).count(), 1, "an empty one is its ground");
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
            let fact = crate::fact::Fact::Event(crate::fact::EventReceived {
                delivery,
                source: &source,
                subject: "",
                kind: "t",
                id: "1",
                previous: None,
                decisions: vec![],
                headers: vec![],
                payload: b"",
            });
            fold(&mut projection, &[fact]);
        }
        assert_eq!(batches(&projection, 1).count(), 2, "its one bucket and its ground");
        assert_eq!(batches(&projection, 1 << 20).count(), 1);
        projection.saved();
        assert_eq!(batches(&projection, 1).count(), 1);
    }

    #[test]
    fn a_table_in_use_is_not_taken_for_a_damaged_one_but_does_not_stop_who_has_the_log() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("projection");
        let _held = Table::open(&path).expect("its own folder");
        assert!(matches!(Table::open(&path), Err(Error::InUse { .. })));
        let (_table, projection, why) = Table::open_or_rebuild(&path, PATIENCE).expect("a new one");
        assert!(matches!(why, Some(Error::InUse { .. })), "{why:?}");
        assert!(projection.is_empty());
    }

    #[test]
    fn a_table_that_is_slow_to_open_is_set_aside() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("projection");
        // In use for longer than the patience lasts: the same to those who wait.
        let _held = Table::open(&path).expect("its own folder");
        let (table, _, why) = Table::open_or_rebuild(&path, Duration::from_millis(50)).expect("a new one");
        assert!(matches!(why, Some(Error::Slow { .. })), "{why:?}");
        table.checkpoint(&Projection::with_landmarks_every(4)).expect("the new one is usable");
        assert!(parent.path().join("projection.damaged").exists());
    }

    #[test]
    fn a_damaged_folder_is_set_aside_and_made_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("projection");
        let check = |damage: &dyn Fn()| {
            let (table, mut projection) = Table::open(&path).expect("its own folder");
            fold(
                &mut projection,
                &[crate::fact::Fact::Rule(crate::fact::RuleChanged { rule: "r", digest: Some(1), manifest: "{}" })],
            );
            table.checkpoint(&projection).expect("room");
            projection.saved();
            drop(table);
            damage();
            let (table, projection, damage) = Table::open_or_rebuild(&path, PATIENCE).expect("a new one");
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
            let value = db.get(GROUND).expect("a disk").expect("written");
            let last = value.len() - 1;
            let mut flipped = value.to_vec();
            flipped[last] ^= 1;
            db.insert(GROUND, flipped).expect("room");
        });
        check(&|| {
            let (Table { db, .. }, _) = Table::open(&path).expect("its own folder");
            db.insert(bucket_row(0), sealed(vec![0; HEAD_BYTES + 9])).expect("room");
        });
        check(&|| {
            fs::remove_dir_all(&path).expect("a folder");
            fs::write(&path, b"no folder at all").expect("room");
        });
    }

    #[test]
    fn rows_are_laid_out_as_the_golden_file_says() {
        use crate::fact::{
            AppliedObject, Decision, Delivery, EventReceived, Fact, LifecycleKey, ObjectKey, Reconciled, RuleChanged,
            Ruling, TriggerReplayed, What,
        };
        let resource = crate::fact::ResourceKey { source: "https://a/b".into(), subject: "é".into() };
        let delivery = Delivery {
            cluster: "mgmt/mgmt",
            stream: "S",
            epoch: 1,
            sequence: 912,
            published_unix_nanos: 300,
            subject: "user-operation",
        };
        let decision =
            Decision { trigger: "manage-namespace", event_source: "user", criterion: 0, ruling: Ruling::Create };
        let object = |name: &str, namespace: Option<&str>| ObjectKey {
            group: "".into(),
            version: "v1".into(),
            kind: "Namespace".into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        let uuid = "0b8f2c1a-93d4-4e57-8a60-fedcba987654";
        let applied = |object, uid: &str| AppliedObject { object, uid: uid.into(), digest: 300 };
        let facts = [
            Fact::Rule(RuleChanged { rule: "EventTrigger/t", digest: Some(7), manifest: "{}" }),
            Fact::Event(EventReceived {
                delivery,
                source: &resource.source,
                subject: &resource.subject,
                kind: "login",
                id: "1",
                previous: None,
                decisions: vec![decision],
                headers: vec![],
                payload: b"{}",
            }),
            Fact::Reconciled(Reconciled {
                key: LifecycleKey {
                    trigger: "manage-namespace".into(),
                    cluster: "mgmt/mgmt".into(),
                    resource: resource.clone(),
                },
                acted_for: Offset::from(1),
                previous: Some(Offset::from(1)),
                what: What::Applied(vec![applied(object("x", None), "uid"), applied(object("y", Some("x")), uuid)]),
            }),
            Fact::Replay(TriggerReplayed {
                trigger: "t".into(),
                digest: Some(7),
                leaves: true,
                complete: true,
                redecisions: vec![],
            }),
        ];
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        projection.landmarks().add((0, Offset::from(2)), vec![1, 2, 3]);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let lines = rows(&projection).map(|(key, value)| format!("{} {}\n", hex(&key), hex(&value)));
        assert_eq!(lines.collect::<String>(), include_str!("../tests/golden/table.txt"));
    }
}
