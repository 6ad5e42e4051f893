//! A log whose files someone edited: whatever was done to them, recovery and readers must neither panic nor serve a byte
//! that was not appended. Shared by the property test and the fuzz target.

use lifeline_store::{Disk, Error, Log, Offset, Options, Random, Reader, SimulatedDisk};

/// Records of the log before it is edited.
pub const RECORDS: u64 = 60;

/// One edit of one file; the file's number and all positions wrap.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Exclusive-or of one byte.
    Flip { file: u8, at: u16, mask: u8 },
    /// A run of zeros.
    Zero { file: u8, at: u16, bytes: u16 },
    /// A run of the file's own bytes, elsewhere: stale sectors, misdirected writes.
    Copy { file: u8, from: u16, to: u16, bytes: u16 },
    /// The file ends early.
    Cut { file: u8, bytes: u16 },
    /// The file is gone.
    Remove { file: u8 },
}

impl Edit {
    /// Reads edits from bytes, for a fuzzer: eight for each.
    #[allow(dead_code, reason = "the property test makes its edits itself")]
    pub fn from_bytes(bytes: &[u8]) -> Vec<Edit> {
        let edit = |bytes: &[u8]| {
            let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let file = bytes[1];
            match bytes[0] % 5 {
                0 => Edit::Flip { file, at: number(2), mask: bytes[4] },
                1 => Edit::Zero { file, at: number(2), bytes: number(4) % 1024 },
                2 => Edit::Copy { file, from: number(2), to: number(4), bytes: number(6) % 2048 },
                3 => Edit::Cut { file, bytes: number(2) },
                _ => Edit::Remove { file },
            }
        };
        bytes.chunks_exact(8).take(16).map(edit).collect()
    }

    fn file(&self) -> u8 {
        match *self {
            Edit::Flip { file, .. }
            | Edit::Zero { file, .. }
            | Edit::Copy { file, .. }
            | Edit::Cut { file, .. }
            | Edit::Remove { file } => file,
        }
    }

    /// Returns the name of the file it changed.
    fn apply(&self, disk: &SimulatedDisk) -> Option<String> {
        let files = disk.files();
        let (name, _) = files.get(usize::from(self.file()) % files.len().max(1))?;
        let mut contents = disk.contents(name)?;
        let length = contents.len().max(1);
        let range = |at: u16, bytes: u16| {
            let begin = usize::from(at) % length;
            begin..(begin + usize::from(bytes)).min(contents.len())
        };
        match *self {
            Edit::Flip { at, mask, .. } => {
                let range = range(at, 1);
                contents[range].iter_mut().for_each(|byte| *byte ^= mask);
            }
            Edit::Zero { at, bytes, .. } => {
                let range = range(at, bytes);
                contents[range].fill(0);
            }
            Edit::Copy { from, to, bytes, .. } => {
                let from = range(from, bytes);
                let to = range(to, from.len() as u16);
                let copied = contents[from].to_vec();
                let bytes = to.len();
                contents[to].copy_from_slice(&copied[..bytes]);
            }
            Edit::Cut { bytes, .. } => contents.truncate(usize::from(bytes) % length),
            Edit::Remove { .. } => {
                disk.remove(name).expect("a file");
                return Some(name.clone());
            }
        }
        disk.put(name, &contents);
        Some(name.clone())
    }
}

fn options() -> Options {
    Options {
        segment_bytes_max: 8 << 10,
        payload_bytes_max: 512,
        staged_bytes_max: 1 << 10,
        low_space_bytes: 0,
        block_bytes: 512,
    }
}

fn payload(offset: u64) -> Vec<u8> {
    let mut random = Random::new(offset);
    (0..random.below(300)).map(|_| random.next() as u8).collect()
}

fn written() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), options()).expect("a new log");
    for offset in 0..RECORDS {
        log.append(offset, &payload(offset)).expect("an append");
        if offset % 4 == 3 {
            log.sync().expect("a sync");
        }
    }
    log.sync().expect("a sync");
    drop(log);
    disk.kill_process();
    disk
}

/// Everything below the end is right or an error; returns how many records read back.
fn check_served(reader: &Reader<SimulatedDisk>) -> u64 {
    let (mut good, mut scan) = (0, reader.scan(Offset::ZERO));
    let mut expected = reader.start();
    loop {
        match scan.next() {
            Ok(None) => break,
            Ok(Some(record)) => {
                assert_eq!(record.offset, expected);
                if record.offset.get() < RECORDS {
                    assert!(
                        record.payload == payload(record.offset.get()),
                        "bytes that were never appended at {expected}"
                    );
                }
                good += 1;
                expected = expected.next();
            }
            Err(Error::Damaged { offsets, .. }) => {
                assert!(offsets.start == expected && offsets.end > expected, "{offsets:?} at {expected}");
                expected = offsets.end;
                scan.seek(offsets.end);
            }
            Err(Error::Io { .. } | Error::Version { .. }) => return good,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(expected, reader.end().max(reader.start()), "records vanished without a word");
    good
}

/// Edits the files of a log, then recovers, reads, appends, verifies and recovers again.
pub fn check(edits: &[Edit]) {
    let disk = written();
    let edited: Vec<String> = edits.iter().filter_map(|edit| edit.apply(&disk)).collect();
    if let Ok((reader, _)) = Reader::open(disk.clone(), &options()) {
        check_served(&reader);
    }
    let Ok((mut log, recovery)) = Log::open(disk.clone(), options()) else {
        return;
    };
    if !edited.iter().any(|name| name == "MARK") {
        assert_eq!(log.end().get(), RECORDS, "acknowledged offsets were forgotten: {recovery:?}");
    }
    let good = check_served(&log.reader());
    let end = log.append(RECORDS, b"goes on").expect("an append");
    log.sync().expect("a sync");
    let record = log.reader().read(end).expect("readable").expect("a record");
    assert_eq!(record.payload, b"goes on");
    if end.get() >= RECORDS {
        assert_eq!(check_served(&log.reader()), good + 1);
    }
    log.reader().verify(&mut |_| {}).expect("a log that can be read through");
    drop(log);
    disk.cut_power();
    let (log, _) = Log::open(disk, options()).expect("what was opened once opens again");
    assert_eq!(log.end(), end.next());
    assert_eq!(log.reader().read(end).expect("readable").expect("a record").payload, b"goes on");
}
