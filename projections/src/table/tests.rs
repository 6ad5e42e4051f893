//! The table across crashes, damage and time, and its bytes as the golden file has them.

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::select;

use super::layout::{HEAD_BYTES, VERSION, sealed};
use super::*;
use crate::arbitrary::facts;
use crate::fact::{
    Decision, Delivery, EventReceived, Fact, Redecision, Redesired, RuleChanged, Ruling, TriggerReplayed,
};
use crate::properties::fold;

const PATIENCE: Duration = Duration::from_secs(60);

/// Records about one resource from one landmark to the next.
const APART: u32 = 2;

/// More than fit into three buckets.
static SUBJECTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..100).map(|number| format!("subject-{number}")).collect());

/// Rows that know what was written one after the other: after a crash there are the first so many writes.
#[derive(Debug, Default)]
struct Writes {
    rows: InMemory,
    written: Mutex<Vec<Vec<Row>>>,
    /// Which write fails, counted from the next.
    fails_at: Mutex<Option<usize>>,
    /// How many of the writes are left when it is opened again, in thousandths.
    kept_per_mille: Mutex<usize>,
}

impl Writes {
    fn of(written: &[Vec<Row>]) -> Arc<Writes> {
        let writes = Writes::default();
        written.iter().for_each(|rows| writes.write(rows.clone()).expect("room"));
        Arc::new(writes)
    }

    fn landmarks(&self, resource: ResourceIndex) -> usize {
        let of = |row: &&Row| row.0.len() == 13 && row.0.starts_with(&landmark_row(resource, Offset::ZERO)[..5]);
        let keys: std::collections::BTreeSet<_> =
            self.written.lock().iter().flatten().filter(of).map(|(key, _)| key.clone()).collect();
        keys.len()
    }
}

impl Rows for Writes {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.rows.get(key)
    }

    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String> {
        self.rows.first(from, last)
    }

    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String> {
        self.rows.last(from, end)
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        let mut fails_at = self.fails_at.lock();
        match *fails_at {
            Some(0) => {
                *fails_at = None;
                return Err("no space".to_owned());
            }
            Some(writes) => *fails_at = Some(writes - 1),
            None => {}
        }
        self.written.lock().push(rows.clone());
        self.rows.write(rows)
    }

    fn clear(&self) -> Result<(), String> {
        self.written.lock().clear();
        self.rows.clear()
    }

    fn flush(&self) -> Result<(), String> {
        Ok(())
    }

    fn reopen(&self) -> Result<(), String> {
        let mut written = self.written.lock();
        let kept = written.len() * *self.kept_per_mille.lock() / 1_000;
        written.truncate(kept);
        self.rows.clear()?;
        written.iter().try_for_each(|rows| self.rows.write(rows.clone()))
    }
}

fn event(subject: &'static str, sequence: u64, ruling: Ruling<'static>) -> Fact<'static> {
    let delivery =
        Delivery { cluster: "mgmt/mgmt", stream: "S", epoch: 1, sequence, published_unix_nanos: 0, subject: "user" };
    Fact::Event(EventReceived {
        delivery,
        source: "s",
        subject,
        kind: "t",
        id: "1",
        previous: None,
        decisions: vec![Decision { trigger: "t", event_source: "e", criterion: 0, ruling }],
        headers: vec![],
        payload: b"",
        redriven: None,
        order: None,
    })
}

/// A piece of a replay, about resources beside each other.
fn replayed(first: usize, count: usize) -> Fact<'static> {
    let redecision = |subject: &String| Redecision {
        cluster: "mgmt/mgmt".into(),
        resource: crate::fact::ResourceKey { source: "s".into(), subject: subject.as_str().into() },
        desired: Redesired::Absent { event: None },
        previous: None,
    };
    let redecisions = SUBJECTS.iter().cycle().skip(first).take(count).map(redecision).collect();
    Fact::Replay(TriggerReplayed {
        trigger: "t".into(),
        digest: Some(1),
        leaves: false,
        complete: false,
        redecisions,
        allowance: None,
    })
}

/// Facts about many resources, which come up one after the other and again.
fn spread_facts() -> impl Strategy<Value = Vec<Fact<'static>>> {
    let any_fact = (0..10_u8, 0..SUBJECTS.len(), 0..40_usize);
    proptest::collection::vec(any_fact, 1..250).prop_map(|facts| {
        let fact = |(sequence, (what, subject, count))| match what {
            0 => replayed(subject, count),
            1..4 => event(&SUBJECTS[subject], sequence, Ruling::Delete),
            _ => event(&SUBJECTS[subject], sequence, Ruling::Create),
        };
        (1..).zip(facts).map(fact).collect()
    })
}

/// How one process saves, and dies.
#[derive(Debug, Clone)]
struct Life {
    /// Facts that are folded before a bucket is collected, and before the next checkpoint, in turns.
    folded: Vec<usize>,
    checkpoints: usize,
    piece_bytes: usize,
    fails_at: Option<usize>,
    /// The table is opened again after a failure, and has lost some of its writes.
    reopens: bool,
    /// Which of its writes are on the disk when it dies.
    kept_per_mille: usize,
}

fn life() -> impl Strategy<Value = Life> {
    let folded = proptest::collection::vec(prop_oneof![2 => 0..3_usize, 1 => 0..40_usize], 1..8);
    let fails_at = proptest::option::weighted(0.3, 0..12_usize);
    (folded, 1..4_usize, select(&[1, 2_000, 1 << 20][..]), fails_at, any::<bool>(), 0..=1_000_usize).prop_map(
        |(folded, checkpoints, piece_bytes, fails_at, reopens, kept_per_mille)| Life {
            folded,
            checkpoints,
            piece_bytes,
            fails_at,
            reopens,
            kept_per_mille,
        },
    )
}

impl Life {
    /// Lives on what an earlier process left on the disk. Gives all that it wrote, after that.
    fn live(&self, facts: &[Fact<'_>], found: &[Vec<Row>]) -> Vec<Vec<Row>> {
        let writes = Writes::of(found);
        let (table, projection) = Table::on(writes.clone()).expect("sound rows");
        *writes.fails_at.lock() = self.fails_at;
        *writes.kept_per_mille.lock() = self.kept_per_mille;
        let mut begin: fn(&mut Projection) -> Checkpoint = Checkpoint::begin;
        let projection = if found.is_empty() { Projection::with_landmarks_every(APART) } else { projection };
        projection.landmarks().save_to(Box::new(InTable(Arc::downgrade(&table.rows))));
        let (projection, turn) = (RefCell::new(projection), Cell::new(0));
        let fold_some = || {
            let mut projection = projection.borrow_mut();
            let at = usize::try_from(projection.watermark().get()).expect("short");
            let count = self.folded[turn.replace(turn.get() + 1) % self.folded.len()];
            fold(&mut projection, &facts[at..(at + count).min(facts.len())]);
        };
        for _ in 0..self.checkpoints {
            fold_some();
            let mut checkpoint = begin(&mut projection.borrow_mut()).with_piece_bytes(self.piece_bytes);
            let landmarks = projection.borrow().landmarks().clone();
            loop {
                let piece = checkpoint.next_piece(|| {
                    fold_some();
                    projection.borrow()
                });
                let Some(piece) = piece else { break };
                // The disk takes its time.
                fold_some();
                if table.write(piece, &landmarks).is_err() {
                    checkpoint.give_up(&mut projection.borrow_mut());
                    if self.reopens {
                        table.reopen().expect("it can be used");
                        begin = Checkpoint::begin_whole;
                    }
                    break;
                }
            }
        }
        writes.written.lock().clone()
    }
}

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
        table.checkpoint(&mut projection).expect("room");
        fold(&mut projection, &facts[saved..reached]);
        for piece in pieces(&mut projection, 1).into_iter().take(written) {
            table.write(piece, projection.landmarks()).expect("room");
        }
        drop(table);

        let (_table, mut projection) = Table::open(folder.path()).expect("its own folder");
        let start = usize::try_from(projection.watermark().get()).expect("short");
        prop_assert!(start == saved || start == reached);
        fold(&mut projection, &facts[start..]);
        prop_assert_eq!(projection.digest(), at_once.digest());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_folded_while_a_checkpoint_is_written_is_neither_lost_nor_folded_twice(
        facts in spread_facts(),
        lives in proptest::collection::vec(life(), 1..4),
    ) {
        let mut at_once = Projection::default();
        fold(&mut at_once, &facts);
        let mut held = Vec::new();
        for (number, life) in lives.iter().enumerate() {
            let found = held.len();
            held = life.live(&facts, &held);
            let found = found.min(held.len());
            // A crash after each of the writes.
            for count in found.min(held.len())..=held.len() {
                let writes = Writes::of(&held[..count]);
                let (_table, mut projection) = Table::on(writes.clone()).expect("sound rows");
                if number == 0 && !life.reopens {
                    // What a resource is ahead by is not folded again: its landmarks have to be there.
                    for resource in 0..u32::try_from(projection.len()).expect("short") {
                        let records = projection.storage().get(resource).records();
                        prop_assert_eq!(writes.landmarks(resource), (records / APART) as usize);
                    }
                }
                let start = usize::try_from(projection.watermark().get()).expect("short");
                fold(&mut projection, &facts[start..]);
                prop_assert_eq!(projection.digest(), at_once.digest(), "{} of {} writes", count, held.len());
                prop_assert_eq!(projection.len(), at_once.len());
            }
            held.truncate(found + (held.len() - found) * life.kept_per_mille / 1_000);
        }
        // Undisturbed, a checkpoint saves all that the ones before it did not.
        let writes = Writes::of(&held);
        let (table, mut projection) = Table::on(writes.clone()).expect("sound rows");
        let start = usize::try_from(projection.watermark().get()).expect("short");
        fold(&mut projection, &facts[start..]);
        table.checkpoint(&mut projection).expect("room");
        let (_table, projection) = Table::on(writes).expect("sound rows");
        prop_assert_eq!(projection.watermark().get(), facts.len() as u64);
        prop_assert_eq!(projection.digest(), at_once.digest());
    }
}

#[test]
fn a_bucket_that_changes_after_it_was_collected_counts_for_the_next_checkpoint() {
    let writes = Writes::of(&[]);
    let (table, mut projection) = Table::on(writes.clone()).expect("no rows");
    let saves = |projection: &mut Projection| table.checkpoint(projection).map(|()| writes.written.lock().pop());
    let create = |sequence| event(&SUBJECTS[0], sequence, Ruling::Create);
    fold(&mut projection, &[create(1)]);
    let mut checkpoint = Checkpoint::begin(&mut projection).with_piece_bytes(1);
    let bucket = checkpoint.next_piece(|| &projection).expect("a bucket");
    fold(&mut projection, &[create(2)]);
    table.write(bucket, projection.landmarks()).expect("room");
    let ground = checkpoint.next_piece(|| &projection).expect("the ground");
    table.write(ground, projection.landmarks()).expect("room");
    assert!(checkpoint.next_piece(|| &projection).is_none());
    let (_, restored) = Table::on(writes.clone()).expect("sound rows");
    assert_eq!(restored.watermark().get(), 1, "the ground is that of the beginning");

    let keys = |rows: Option<Vec<Row>>| rows.into_iter().flatten().map(|(key, _)| key).collect::<Vec<_>>();
    let both = [bucket_row(0).to_vec(), GROUND.to_vec()];
    assert_eq!(keys(saves(&mut projection).expect("room")), both);
    assert_eq!(keys(saves(&mut projection).expect("room")), both[1..], "nothing changed");

    fold(&mut projection, &[create(3)]);
    *writes.fails_at.lock() = Some(0);
    saves(&mut projection).expect_err("it fails");
    assert_eq!(keys(saves(&mut projection).expect("room")), both, "what failed is saved by the next one");
}

/// A whole checkpoint, collected at once.
fn pieces(projection: &mut Projection, piece_bytes: usize) -> Vec<Piece> {
    let mut checkpoint = Checkpoint::begin(projection).with_piece_bytes(piece_bytes);
    std::iter::from_fn(|| checkpoint.next_piece(|| &*projection)).collect()
}

#[test]
fn a_checkpoint_is_cut_in_pieces_and_the_ground_comes_last() {
    let mut projection = Projection::with_landmarks_every(4);
    assert_eq!(pieces(&mut projection, 1).len(), 1, "an empty one is its ground");
    let fold_events = |projection: &mut Projection| {
        for subject in SUBJECTS.iter().take(25) {
            fold(projection, &[event(subject, 1, Ruling::Create)]);
        }
    };
    fold_events(&mut projection);
    let cut = pieces(&mut projection, 1);
    assert_eq!(cut.len(), 2, "its one bucket and its ground");
    assert_eq!(cut[1].rows[0].0, GROUND);
    assert_eq!(pieces(&mut projection, 1).len(), 1, "nothing changed since");
    fold_events(&mut projection);
    assert_eq!(pieces(&mut projection, 1 << 20).len(), 1);
}

#[test]
fn a_table_in_use_is_not_taken_for_a_damaged_one_but_does_not_stop_who_has_the_log() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("projection");
    let _held = Table::open(&path).expect("its own folder");
    assert!(matches!(Table::open(&path), Err(Error::InUse { .. })));
    let (_table, projection, why) = Table::open_or_rebuild(&path, PATIENCE);
    assert!(matches!(why, Some(Error::InUse { .. })), "{why:?}");
    assert!(projection.is_empty());
}

#[test]
fn a_table_that_is_slow_to_open_is_set_aside() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("projection");
    // In use for longer than the patience lasts: the same to those who wait.
    let _held = Table::open(&path).expect("its own folder");
    let (table, _, why) = Table::open_or_rebuild(&path, Duration::from_millis(50));
    assert!(matches!(why, Some(Error::Slow { .. })), "{why:?}");
    table.checkpoint(&mut Projection::with_landmarks_every(4)).expect("the new one is usable");
    assert!(parent.path().join("projection.damaged").exists());
}

#[test]
fn a_damaged_folder_is_set_aside_and_made_again() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("projection");
    let check = |damage: &dyn Fn()| {
        let (table, mut projection) = Table::open(&path).expect("its own folder");
        fold(&mut projection, &[Fact::Rule(RuleChanged { rule: "r", digest: Some(1), manifest: "{}" })]);
        table.checkpoint(&mut projection).expect("room");
        drop(table);
        damage();
        let (table, projection, damage) = Table::open_or_rebuild(&path, PATIENCE);
        assert!(damage.is_some());
        assert_eq!(projection.watermark().get(), 0);
        assert!(parent.path().join("projection.damaged").exists());
        drop(table);
    };
    check(&|| {
        let (Table { rows, .. }, _) = Table::open(&path).expect("its own folder");
        rows.write(vec![(GROUND.to_vec(), vec![VERSION, 0xff, 0xff])]).expect("room");
    });
    check(&|| {
        let (Table { rows, .. }, _) = Table::open(&path).expect("its own folder");
        rows.write(vec![(GROUND.to_vec(), vec![VERSION + 1])]).expect("room");
    });
    check(&|| {
        let (Table { rows, .. }, _) = Table::open(&path).expect("its own folder");
        let mut flipped = rows.get(GROUND).expect("a disk").expect("written");
        *flipped.last_mut().expect("a body") ^= 1;
        rows.write(vec![(GROUND.to_vec(), flipped)]).expect("room");
    });
    check(&|| {
        let (Table { rows, .. }, _) = Table::open(&path).expect("its own folder");
        let value = sealed(|out| out.resize(HEAD_BYTES + 9, 0));
        rows.write(vec![(bucket_row(0).to_vec(), value)]).expect("room");
    });
    check(&|| {
        fs::remove_dir_all(&path).expect("a folder");
        fs::write(&path, b"no folder at all").expect("room");
    });
}

#[test]
fn rows_are_laid_out_as_the_golden_file_says() {
    use crate::fact::{AppliedObject, LifecycleKey, ObjectKey, Reconciled, What};
    let resource = crate::fact::ResourceKey { source: "https://a/b".into(), subject: "é".into() };
    let delivery = Delivery {
        cluster: "mgmt/mgmt",
        stream: "S",
        epoch: 1,
        sequence: 912,
        published_unix_nanos: 300,
        subject: "user-operation",
    };
    let decision = Decision { trigger: "manage-namespace", event_source: "user", criterion: 0, ruling: Ruling::Create };
    let object = |name: &str, namespace: Option<&str>| ObjectKey {
        group: "".into(),
        version: "v1".into(),
        kind: "Namespace".into(),
        namespace: namespace.map(Into::into),
        name: name.into(),
    };
    let uuid = "0b8f2c1a-93d4-4e57-8a60-fedcba987654";
    let applied = |object, uid: &str| AppliedObject { object, uid: uid.into(), digest: 300, fields: 0 };
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
            redriven: None,
            order: None,
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
            allowance: None,
        }),
    ];
    let mut projection = Projection::with_landmarks_every(4);
    fold(&mut projection, &facts);
    projection.landmarks().add((0, Offset::from(2)), vec![1, 2, 3]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let rows = pieces(&mut projection, 1 << 20).into_iter().flat_map(|piece| piece.rows);
    let lines = rows.map(|(key, value)| format!("{} {}\n", hex(&key), hex(&value)));
    assert_eq!(lines.collect::<String>(), include_str!("../../tests/golden/table.txt"));
}
