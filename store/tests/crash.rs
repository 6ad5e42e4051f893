//! Crashes, simulated at every write and every sync of many workloads.
//!
//! For each seed a workload is made up, run once to count its disk operations, and then run again once per operation with
//! the power failing there. What must hold after each: every acknowledged record is there, byte for byte and in order;
//! nothing is there that was never appended; the log goes on. `LIFELINE_CRASHES=1000000 cargo test --release -p
//! lifeline-store --test crash -- --nocapture` runs the full count; `LIFELINE_SEED` chooses the first seed.

use lifeline_store::{Error, Fault, Log, Offset, Options, Random, SimulatedDisk};

/// A step of a workload.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append {
        bytes: usize,
    },
    Sync,
    Close,
    Kill,
    /// Drops segments before the middle of what is acknowledged.
    Drop,
}

/// A made-up workload, all of it from one seed.
struct Workload {
    options: Options,
    steps: Vec<Step>,
}

impl Workload {
    fn new(seed: u64) -> Workload {
        let mut random = Random::new(seed);
        let payload_bytes_max = 1 << (6 + random.below(5));
        let options = Options {
            segment_bytes_max: 4096 + 256 + u64::from(payload_bytes_max) + random.below(6000),
            payload_bytes_max,
            staged_bytes_max: 1 << (7 + random.below(6)),
            low_space_bytes: 0,
            block_bytes: 1 << (6 + random.below(6)),
        };
        let steps = (0..6 + random.below(30))
            .map(|_| match random.below(20) {
                0 => Step::Close,
                1 => Step::Kill,
                // Some seeds only: those that found something keep their workloads.
                2 if seed > 30 && seed.is_multiple_of(2) => Step::Drop,
                2..=7 => Step::Sync,
                _ => Step::Append { bytes: random.below(u64::from(payload_bytes_max) + 1) as usize },
            })
            .collect();
        Workload { options, steps }
    }
}

/// What the log was asked to keep, and what it acknowledged.
#[derive(Clone, Default)]
struct Model {
    appended: Vec<(u64, Vec<u8>)>,
    acknowledged: usize,
    /// Records below this may have been dropped.
    droppable: u64,
    /// Tells records of one offset apart that were appended before and after a crash.
    attempt: u64,
}

impl Model {
    fn next(&mut self, bytes: usize) -> (u64, Vec<u8>) {
        self.attempt += 1;
        let mut random = Random::new(self.attempt);
        let payload = (0..bytes.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(bytes).collect();
        (self.attempt * 10, payload)
    }
}

fn run(
    log: &mut Option<Log<SimulatedDisk>>,
    disk: &SimulatedDisk,
    workload: &Workload,
    model: &mut Model,
) -> Result<(), Error> {
    for &step in &workload.steps {
        let open = log.as_mut().expect("an open log");
        match step {
            Step::Append { bytes } => {
                let (time, payload) = model.next(bytes);
                // Before the call: a record whose append failed half way may still be found.
                model.appended.push((time, payload.clone()));
                let offset = open.append(time, &payload)?;
                assert_eq!(offset.get() as usize, model.appended.len() - 1);
            }
            Step::Sync => {
                open.sync()?;
                model.acknowledged = model.appended.len();
            }
            Step::Close => {
                log.take().expect("an open log").close()?;
                model.acknowledged = model.appended.len();
                *log = Some(Log::open(disk.clone(), workload.options.clone())?.0);
            }
            Step::Drop => {
                let middle = Offset::new(model.acknowledged as u64 / 2);
                // Before the call: a removal that fails half way may still have happened.
                model.droppable = model.droppable.max(middle.get());
                let start = open.drop_before(middle)?;
                assert!(start <= middle);
            }
            Step::Kill => {
                *log = None;
                disk.kill_process();
                let (opened, _) = Log::open(disk.clone(), workload.options.clone())?;
                settle(&opened, model);
                *log = Some(opened);
            }
        }
    }
    Ok(())
}

/// After a reopen: what is in the log is what counts, and it must be right.
fn settle(log: &Log<SimulatedDisk>, model: &mut Model) {
    let end = log.end().get() as usize;
    assert!(end >= model.acknowledged, "{} records were acknowledged, {end} are there", model.acknowledged);
    assert!(end <= model.appended.len(), "{} records were appended, {end} are there", model.appended.len());
    model.appended.truncate(end);
    model.acknowledged = end;
    check(log, model);
}

fn check(log: &Log<SimulatedDisk>, model: &Model) {
    let reader = log.reader();
    let mut scan = reader.scan(Offset::ZERO);
    assert!(reader.start().get() <= model.droppable, "segments were dropped that nobody let go");
    let start = reader.start().get() as usize;
    for (offset, (time, payload)) in model.appended[..model.acknowledged].iter().enumerate().skip(start) {
        let record =
            scan.next().unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|| panic!("no record {offset}"));
        assert_eq!((record.offset.get() as usize, record.time_unix_nanos), (offset, *time));
        assert!(record.payload == payload, "payload of record {offset}");
    }
    assert!(scan.next().expect("a readable log").is_none());
    if let Some(last) = model.acknowledged.checked_sub(1) {
        for offset in [last, (last / 2).max(start).min(last)] {
            let record = reader.read(Offset::new(offset as u64)).expect("a readable log").expect("a record");
            assert!(record.payload == model.appended[offset].1, "random read of {offset}");
            assert_eq!(reader.offset_at(record.time_unix_nanos).expect("a readable log"), record.offset);
        }
    }
}

/// Opens after a crash, checks, appends a little, and opens again, with another crash on the way now and then.
fn reopen_and_go_on(disk: &SimulatedDisk, workload: &Workload, model: &mut Model, random: &mut Random) -> u64 {
    let mut crashes = 0;
    while random.below(3) == 0 {
        // Recovery itself is interrupted.
        let fault = [Fault::PowerCut, Fault::Failure, Fault::Full][random.below(3) as usize];
        disk.fail_at(disk.operations() + 1 + random.below(8), fault);
        let opened = Log::open(disk.clone(), workload.options.clone());
        if let Ok((log, _)) = &opened {
            settle(log, model);
        }
        disk.plan_no_faults();
        restart(disk, fault);
        crashes += 1;
    }
    let (mut log, recovery) =
        Log::open(disk.clone(), workload.options.clone()).unwrap_or_else(|error| panic!("{error}"));
    assert!(recovery.damage.is_empty(), "a crash was taken for damage: {recovery:?}");
    settle(&log, model);
    for bytes in [0, 17, workload.options.payload_bytes_max as usize] {
        let (time, payload) = model.next(bytes);
        model.appended.push((time, payload.clone()));
        log.append(time, &payload).expect("an append");
    }
    log.sync().expect("a sync");
    model.acknowledged = model.appended.len();
    check(&log, model);
    drop(log);
    disk.cut_power();
    let (log, recovery) = Log::open(disk.clone(), workload.options.clone()).unwrap_or_else(|error| panic!("{error}"));
    assert!(recovery.damage.is_empty(), "a crash was taken for damage: {recovery:?}");
    assert_eq!(log.end().get() as usize, model.acknowledged);
    settle(&log, model);
    crashes + 1
}

/// What comes after a fault.
fn restart(disk: &SimulatedDisk, fault: Fault) {
    match fault {
        Fault::PowerCut => disk.cut_power(),
        // The process ends; what it wrote stays in the kernel's memory and reads back, though it may never get to the disk.
        Fault::Failure | Fault::Full => disk.kill_process(),
    }
}

/// One workload with a fault at one operation; the crashes that were simulated.
fn fault_at(seed: u64, operation: u64, fault: Fault) -> u64 {
    let workload = Workload::new(seed);
    let disk = SimulatedDisk::new(seed ^ operation.rotate_left(32) ^ fault as u64);
    let mut model = Model::default();
    let mut random = Random::new(seed.wrapping_mul(31) ^ operation);
    disk.fail_at(operation, fault);
    let mut log = match Log::open(disk.clone(), workload.options.clone()) {
        Ok((log, _)) => Some(log),
        Err(_) => None,
    };
    if log.is_some() {
        let stopped = run(&mut log, &disk, &workload, &mut model);
        if let Some(log) = &mut log
            && stopped.is_err()
        {
            // Whatever failed, nothing more is acknowledged.
            assert!(log.poisoned_by().is_some());
            assert!(matches!(log.append(0, b""), Err(Error::Poisoned { .. })));
            assert!(matches!(log.sync(), Err(Error::Poisoned { .. })));
        }
    }
    drop(log);
    restart(&disk, fault);
    1 + reopen_and_go_on(&disk, &workload, &mut model, &mut random)
}

/// The number of disk operations of a seed's workload when nothing fails.
fn operations(seed: u64) -> u64 {
    let workload = Workload::new(seed);
    let disk = SimulatedDisk::new(seed);
    let mut model = Model::default();
    let mut log = Some(Log::open(disk.clone(), workload.options.clone()).expect("a new log").0);
    run(&mut log, &disk, &workload, &mut model).expect("a run without faults");
    disk.operations()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, expected a number")))
}

#[test]
fn no_acknowledged_record_is_lost_in_any_crash() {
    let wanted = setting("LIFELINE_CRASHES", 20_000);
    let first = setting("LIFELINE_SEED", 1);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    // Each thread takes every n-th seed, so that a count of crashes means the same seeds on every machine.
    let (crashes, seeds) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let (mut crashes, mut seeds) = (0, 0);
                    let mut seed = first + thread;
                    while crashes < wanted.div_ceil(threads) {
                        for operation in 1..=operations(seed) {
                            for fault in [Fault::PowerCut, Fault::Failure, Fault::Full] {
                                let survived = std::panic::catch_unwind(|| fault_at(seed, operation, fault));
                                crashes += survived
                                    .unwrap_or_else(|_| panic!("seed {seed}, operation {operation}, {fault:?}"));
                            }
                        }
                        seeds += 1;
                        seed += threads;
                    }
                    (crashes, seeds)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("every crash is survived"))
            .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    });
    println!(
        "{crashes} simulated crashes, {seeds} seeds from {first}: no acknowledged record lost, none that was never appended"
    );
}

#[test]
fn crashes_that_found_something_stay_survived() {
    for (seed, operation, fault) in [
        // A sealed segment whose sync failed was trusted at reopen without being written again.
        (15, 26, Fault::Full),
        // So was the name of a segment whose folder sync had failed.
        (12, 29, Fault::Full),
        // The first group of a segment reached the disk, the header above it did not.
        (15, 30, Fault::Failure),
        (28, 70, Fault::PowerCut),
    ] {
        fault_at(seed, operation, fault);
    }
}

/// Cutting off gives room back, and another process may take it.
#[test]
fn a_torn_tail_is_cut_off_where_there_is_no_room_to_reserve() {
    let options = Options { low_space_bytes: 0, ..Options::default() };
    let open =
        |disk: &SimulatedDisk| Log::open(disk.clone(), options.clone()).unwrap_or_else(|error| panic!("{error}")).0;
    let disk = SimulatedDisk::new(7);
    let mut log = open(&disk);
    log.append(1, b"kept").expect("an append");
    log.sync().expect("a sync");
    drop(log);
    disk.kill_process();
    let is_segment = |(name, _): &(String, u64)| name.ends_with(".segment");
    let (name, reserved) = disk.files().into_iter().find(is_segment).expect("a segment");
    let whole = disk.contents(&name).expect("its bytes");
    let used = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8));
    disk.put(&name, &[&whole[..used], &[0xAB; 20]].concat());
    let used_bytes = |disk: &SimulatedDisk| disk.files().iter().map(|(_, bytes)| bytes).sum::<u64>();
    disk.set_capacity_bytes(used_bytes(&disk));
    assert_eq!(open(&disk).end().get(), 1);
    disk.kill_process();
    assert!(disk.contents(&name).expect("its bytes").len() <= used, "what was torn is gone");

    disk.set_capacity_bytes(u64::MAX);
    let mut log = open(&disk);
    log.append(2, b"next").expect("an append");
    log.sync().expect("a sync");
    assert_eq!((log.end().get(), disk.files().into_iter().find(is_segment)), (2, Some((name, reserved))));
}

/// A group is torn, what is left of it is cut off, and the disk forgets the cut. Then a group is written that ends where
/// something is there that the torn one left.
#[test]
fn what_a_torn_group_left_is_never_taken_for_a_part_of_the_log() {
    const TRAILER: usize = 40;
    // It ends at the trailer, or at the index and the seal, for the segment was full.
    for (is_full, bytes) in [(false, 80 - TRAILER), (true, 80)] {
        let interrupted = (0..400).flat_map(|seed| (1..8).map(move |operation| (seed, operation)));
        let interrupted = interrupted.filter(|(seed, operation)| is_interrupted(*seed, *operation, is_full, bytes));
        assert!(interrupted.count() > 400);
    }
}

/// One such story; whether cutting off was interrupted.
fn is_interrupted(seed: u64, operation: u64, is_full: bool, bytes: usize) -> bool {
    let options = Options { segment_bytes_max: 4096 + 1100, payload_bytes_max: 900, ..Options::default() };
    let open = |disk: &SimulatedDisk| {
        let (log, recovery) = Log::open(disk.clone(), options.clone()).unwrap_or_else(|error| panic!("{error}"));
        assert!(recovery.damage.is_empty(), "a crash was taken for damage: {recovery:?}");
        log
    };
    let disk = SimulatedDisk::new(seed);
    let mut log = open(&disk);
    log.append(1, b"kept").expect("an append");
    log.sync().expect("a sync");
    log.append(2, &[2; 80]).expect("an append");
    if is_full {
        disk.fail_at(disk.operations() + 1, Fault::PowerCut);
        log.append(2, &[2; 900]).expect_err("the planned fault");
    } else {
        disk.fail_at(disk.operations() + 2, Fault::PowerCut);
        log.sync().expect_err("the planned fault");
    }
    disk.cut_power();
    disk.fail_at(disk.operations() + operation, Fault::Failure);
    let interrupted = Log::open(disk.clone(), options.clone()).is_err();
    disk.plan_no_faults();
    disk.kill_process();
    let mut log = open(&disk);
    let mut kept = log.end().get();
    let segments = || disk.files().into_iter().filter(|(name, _)| name.ends_with(".segment")).count();
    let segments_before = segments();
    for (time, bytes) in [(3, bytes), (4, 1)] {
        assert_eq!(log.end().get(), kept, "seed {seed}, operation {operation}");
        log.append(time, &vec![3; bytes]).expect("an append");
        log.sync().expect("a sync");
        kept += 1;
        drop(log);
        disk.cut_power();
        log = open(&disk);
    }
    assert_eq!(segments(), segments_before, "seed {seed}, operation {operation}: no segment was full");
    let reader = log.reader();
    let mut scan = reader.scan(reader.start());
    for offset in 0..kept {
        assert_eq!(scan.next().expect("a whole log").expect("a record").offset.get(), offset);
    }
    interrupted
}
