//! Many callers, one log: tickets, back-pressure, failures, and followers of the tail.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use lifeline_store::{Disk, Error, Fault, GroupCommit, Log, Offset, Options, SimulatedDisk};

fn options() -> Options {
    Options { segment_bytes_max: 64 << 10, payload_bytes_max: 4 << 10, low_space_bytes: 0, ..Options::default() }
}

fn open(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    Log::open(disk.clone(), options()).expect("the log").0
}

#[test]
fn each_caller_learns_the_offset_its_record_is_durable_at() {
    let disk = SimulatedDisk::new(1);
    let door = GroupCommit::start(open(&disk), 16 << 10);
    thread::scope(|scope| {
        for caller in 0..8_u64 {
            let door = &door;
            scope.spawn(move || {
                for round in 0..200_u64 {
                    let payload = [caller.to_le_bytes(), round.to_le_bytes()].concat();
                    let ticket = door.append(round, &payload).expect("an append");
                    let promised = ticket.offset();
                    let offset = ticket.wait().expect("a durable record");
                    assert_eq!(offset, promised);
                    let record = door.reader().read(offset).expect("readable").expect("a record");
                    assert_eq!(record.payload, payload);
                }
            });
        }
    });
    let log = door.finish();
    assert_eq!(log.durable_end(), Offset::new(1600));
    drop(log);
    disk.cut_power();
    assert_eq!(open(&disk).end(), Offset::new(1600));
}

#[test]
fn callers_share_syncs() {
    let disk = SimulatedDisk::new(2);
    let door = GroupCommit::start(open(&disk), 1 << 20);
    let tickets: Vec<_> = (0..5_000).map(|time| door.append(time, b"x").expect("an append")).collect();
    for ticket in tickets {
        ticket.wait().expect("a durable record");
    }
    assert!(door.groups() < 5_000, "{} groups", door.groups());
}

#[test]
fn full_queue_is_said_and_one_large_record_is_still_let_in() {
    let disk = SimulatedDisk::new(3);
    let door = GroupCommit::start(open(&disk), 10);
    let large = door.append(0, &[0; 4096]).expect("an append");
    let mut refused = 0;
    for time in 0..2_000 {
        match door.try_append(time, &[1; 8]).expect("an append") {
            Some(ticket) => drop(ticket),
            None => refused += 1,
        }
    }
    large.wait().expect("a durable record");
    assert!(refused > 0);
    assert!(matches!(door.append(0, &[0; 4097]), Err(Error::TooLarge { .. })));
}

#[test]
fn failed_sync_is_told_to_everyone_who_waits_and_to_everyone_who_comes() {
    let disk = SimulatedDisk::new(4);
    let log = open(&disk);
    disk.fail_at(disk.operations() + 2, Fault::Failure);
    let door = GroupCommit::start(log, 1 << 20);
    let tickets: Vec<_> = (0..10).filter_map(|time| door.append(time, b"x").ok()).collect();
    for ticket in tickets {
        let error = ticket.wait().expect_err("nothing was synced");
        assert!(error.to_string().contains("cannot sync"), "{error}");
    }
    assert!(matches!(door.append(0, b"x"), Err(Error::Poisoned { .. })));
    assert!(matches!(door.finish().sync(), Err(Error::Poisoned { .. })));
}

#[test]
fn intake_stops_at_the_watermark_and_resumes_by_itself() {
    let disk = SimulatedDisk::new(5);
    disk.set_capacity_bytes(200 << 10);
    let low = Options { low_space_bytes: 64 << 10, ..options() };
    let (mut log, _) = Log::open(disk.clone(), low).expect("the log");
    let error = loop {
        match log.append(0, &[0; 4000]) {
            Ok(_) => log.sync().expect("a sync"),
            Err(error) => break error,
        };
    };
    assert!(matches!(error, Error::LowSpace { .. }), "{error}");
    assert!(disk.free_bytes().expect("a figure") > 0, "it stopped before the disk was full");
    log.append_reserved(0, b"an outcome").expect("what was begun may be finished");
    let end = log.sync().expect("a sync");

    let door = GroupCommit::start(log, 1 << 20);
    let _ = door.append(0, b"x").expect("the door learns of it with the first group").wait();
    assert!(matches!(door.append(0, b"x"), Err(Error::LowSpace { .. })));
    disk.set_capacity_bytes(10 << 20);
    let ticket = loop {
        match door.append(0, b"again") {
            Ok(ticket) => break ticket,
            Err(Error::LowSpace { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(ticket.wait().expect("a durable record"), Offset::new(end.get() + 1));
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Flag>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn followers_are_woken_by_the_sync_and_not_before() {
    let disk = SimulatedDisk::new(6);
    let mut log = open(&disk);
    let reader = log.reader();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut past = pin!(reader.past(Offset::ZERO));
    assert!(past.as_mut().poll(&mut context).is_pending());
    log.append(1, b"x").expect("an append");
    assert!(!flag.0.load(Ordering::SeqCst) && past.as_mut().poll(&mut context).is_pending());
    assert_eq!(reader.wait_past(Offset::ZERO, Duration::from_millis(1)), Offset::ZERO);
    log.sync().expect("a sync");
    assert!(flag.0.load(Ordering::SeqCst));
    assert_eq!(past.as_mut().poll(&mut context), Poll::Ready(Offset::new(1)));

    let follower = thread::spawn({
        let reader = log.reader();
        move || {
            let mut scan = reader.scan(Offset::new(1));
            let mut seen = Vec::new();
            while seen.len() < 1000 {
                match scan.next().expect("a readable log") {
                    Some(record) => seen.push(u64::from_le_bytes(record.payload.try_into().expect("a number"))),
                    None => _ = reader.wait_past(scan.position(), Duration::from_secs(60)),
                }
            }
            seen
        }
    });
    for number in 0..1000_u64 {
        log.append(number, &number.to_le_bytes()).expect("an append");
        if number % 7 == 0 {
            log.sync().expect("a sync");
        }
    }
    log.sync().expect("a sync");
    assert_eq!(follower.join().expect("a follower"), (0..1000).collect::<Vec<_>>());
}
