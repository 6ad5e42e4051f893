//! A real process on a real disk, killed with SIGKILL at moments of chance: what it said was durable is there.

mod folder;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use folder::Folder;
use lifeline_store::{Log, Offset, Options, OsDisk, Random};

const FOLDER: &str = "LIFELINE_TEST_KILL_FOLDER";

fn options() -> Options {
    Options {
        segment_bytes_max: 1 << 20,
        payload_bytes_max: 64 << 10,
        staged_bytes_max: 16 << 10,
        low_space_bytes: 0,
        ..Options::default()
    }
}

fn payload(offset: u64) -> Vec<u8> {
    let mut random = Random::new(offset);
    (0..random.below(3000)).map(|_| random.next() as u8).collect()
}

/// The child: appends until it is killed, and says each durable end after the sync.
fn append_for_ever(folder: &Path) -> ! {
    let (mut log, _) = Log::open(OsDisk::open(folder).expect("the folder"), options()).expect("the log");
    let mut stdout = std::io::stdout();
    for round in 0_u64.. {
        for _ in 0..round % 50 {
            let offset = log.end().get();
            log.append(offset, &payload(offset)).expect("an append");
        }
        let end = log.sync().expect("a sync");
        writeln!(stdout, "durable {end}").and_then(|()| stdout.flush()).expect("a listening parent");
    }
    unreachable!("the rounds do not end")
}

#[test]
fn killed_process_leaves_every_record_it_called_durable() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        append_for_ever(Path::new(&folder));
    }
    let folder = Folder::new("kill");
    let mut random = Random::new(7);
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed_process_leaves_every_record_it_called_durable", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let killed_after = Duration::from_millis(20 + random.below(150));
        let mut first = None;
        let mut durable = 0;
        for line in lines {
            let Ok(line) = line else { break };
            if let Some(end) = line.strip_prefix("durable ").and_then(|end| end.parse().ok()) {
                durable = end;
                if first.get_or_insert_with(Instant::now).elapsed() > killed_after {
                    child.kill().expect("a kill");
                }
            }
        }
        child.wait().expect("an end");
        let (log, recovery) = Log::open(OsDisk::open(folder.path()).expect("the folder"), options()).expect("the log");
        assert!(recovery.damage.is_empty(), "round {round}: {recovery:?}");
        assert!(log.end().get() >= durable, "round {round}: {durable} were durable, {} are there", log.end());
        let mut scan = log.reader().scan(Offset::ZERO);
        for offset in 0..log.end().get() {
            let record = scan.next().expect("a readable log").expect("a record");
            assert!(
                record.offset.get() == offset && record.payload == payload(offset),
                "round {round}: record {offset}"
            );
        }
    }
}
