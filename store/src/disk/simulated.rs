//! [`SimulatedDisk`]: a disk in memory that fails on purpose, from a seed.
//!
//! It keeps what was written apart from what was synced. A power cut keeps every synced byte and, of the rest, any part
//! in any order: whole writes, single sectors, the first or last bytes of a write, or nothing; the same for creates,
//! renames and removes. It can fail a write half way, fail a sync and forget what it was asked to keep while reads
//! still return it (as kernels do), fill up, and flip bits. The same seed and the same calls give the same disk.
//!
//! Start at [`SimulatedDisk::new`], [`SimulatedDisk::fail_at`] and [`SimulatedDisk::cut_power`]. It never blocks, and
//! has neither clock nor threads; it is part of the library so that the whole engine can run on it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, File};
use crate::random::Random;

/// The unit that a disk usually persists whole or not at all. A power cut here may also tear one.
const SECTOR_BYTES: usize = 512;

/// How an operation is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation may still take effect in part, and each later one fails until
    /// [`SimulatedDisk::cut_power`] has decided what survived.
    PowerCut,
    /// An input/output error. A write may have happened in part; a sync forgets what it was asked to make durable.
    Failure,
    /// No space left; a write may have happened in part.
    Full,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

/// An open file of a [`SimulatedDisk`]; dead after a restart, as a handle of a process that is gone.
#[derive(Debug)]
pub struct SimulatedFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    boot: u64,
}

#[derive(Clone, Debug)]
struct World {
    random: Random,
    /// The folder as programs see it, and as a power cut would leave it at the least.
    names: BTreeMap<String, usize>,
    names_durable: BTreeMap<String, usize>,
    names_pending: Vec<Rename>,
    inodes: Vec<Inode>,
    /// Counts starts: handles of an earlier one are dead.
    boot: u64,
    powered: bool,
    /// Counts operations that change the disk or make a change durable.
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    faults_happened: Vec<Fault>,
    capacity_bytes: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads return, and what a power cut leaves at the least.
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Where the medium refuses to be read.
    unreadable: Vec<Range<u64>>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { position: u64, bytes: Vec<u8> },
    Length(u64),
}

/// A change of the folder: a name is given to a file, or taken away, or both.
#[derive(Clone, Debug)]
struct Rename {
    from: Option<String>,
    to: Option<(String, usize)>,
}

fn apply_rename(names: &mut BTreeMap<String, usize>, rename: &Rename) {
    if let Some(from) = &rename.from {
        names.remove(from);
    }
    if let Some((to, inode)) = &rename.to {
        names.insert(to.clone(), *inode);
    }
}

fn overwrite(bytes: &mut Vec<u8>, position: u64, with: &[u8]) {
    let position = position as usize;
    if bytes.len() < position + with.len() {
        bytes.resize(position + with.len(), 0);
    }
    bytes[position..position + with.len()].copy_from_slice(with);
}

impl Inode {
    /// Lets chance decide which pending changes reach the durable bytes.
    fn persist_some(&mut self, random: &mut Random) {
        let fate = random.below(4);
        for change in std::mem::take(&mut self.pending) {
            match change {
                _ if fate == 0 => {}
                Change::Length(bytes) if fate == 1 || random.below(2) == 0 => self.durable.resize(bytes as usize, 0),
                Change::Length(_) => {}
                Change::Write { position, bytes } if fate == 1 => overwrite(&mut self.durable, position, &bytes),
                Change::Write { position, bytes } => self.persist_part(position, &bytes, random),
            }
        }
    }

    fn persist_part(&mut self, position: u64, bytes: &[u8], random: &mut Random) {
        let cut = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(5) {
            0 => {}
            1 => overwrite(&mut self.durable, position, bytes),
            2 => overwrite(&mut self.durable, position, &bytes[..cut]),
            3 => overwrite(&mut self.durable, position + cut as u64, &bytes[cut..]),
            _ => {
                let mut at = 0;
                while at < bytes.len() {
                    // Sectors lie on multiples of their size in the file, not in the write.
                    let sector_end = (position as usize + at) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                    let end = bytes.len().min(sector_end - position as usize);
                    if random.below(2) == 0 {
                        overwrite(&mut self.durable, position + at as u64, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("simulated power cut")
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no simulated file `{name}`"))
}

impl World {
    /// Counts an operation; returns the fault planned for it. After a power cut every operation fails.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        if !self.powered {
            return Err(power_is_off());
        }
        self.operations += 1;
        let fault = self.faults.remove(&self.operations);
        self.faults_happened.extend(fault);
        if fault == Some(Fault::PowerCut) {
            self.powered = false;
        }
        Ok(fault)
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].seen.len() as u64).sum()
    }

    fn check_room(&self, more_bytes: u64) -> io::Result<()> {
        if self.used_bytes() + more_bytes > self.capacity_bytes {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn rename(&mut self, rename: Rename) -> io::Result<()> {
        let fault = self.operation()?;
        match fault {
            Some(Fault::Failure) => return Err(io::Error::other("simulated failure")),
            Some(Fault::Full) => return Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(Fault::PowerCut) | None => {}
        }
        apply_rename(&mut self.names, &rename);
        self.names_pending.push(rename);
        if fault.is_some() { Err(power_is_off()) } else { Ok(()) }
    }
}

impl SimulatedDisk {
    /// An empty disk; chance is drawn from the seed.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk {
            world: Arc::new(Mutex::new(World {
                random: Random::new(seed),
                names: BTreeMap::new(),
                names_durable: BTreeMap::new(),
                names_pending: Vec::new(),
                inodes: Vec::new(),
                boot: 0,
                powered: true,
                operations: 0,
                faults: BTreeMap::new(),
                faults_happened: Vec::new(),
                capacity_bytes: u64::MAX,
            })),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations have changed the disk, or made a change durable, so far.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Plans a fault for the operation of that number (the first is 1).
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.world().faults.insert(operation, fault);
    }

    /// Whether the durable bytes of any file with a durable name satisfy a condition. The file of the last name comes first.
    pub fn any_durable(&self, mut is: impl FnMut(&[u8]) -> bool) -> bool {
        let world = self.world();
        world.names_durable.values().rev().any(|&inode| is(&world.inodes[inode].durable))
    }

    /// The planned faults that have happened, in order.
    pub fn faults_happened(&self) -> Vec<Fault> {
        self.world().faults_happened.clone()
    }

    /// Forgets the faults that are planned and did not happen yet.
    pub fn plan_no_faults(&self) {
        self.world().faults.clear();
    }

    /// Cuts the power and starts again: of what was not synced any part may survive. Open files are dead.
    pub fn cut_power(&self) {
        let mut world = self.world();
        let World { random, inodes, names_pending, names_durable, .. } = &mut *world;
        let fate = random.below(3);
        for rename in std::mem::take(names_pending) {
            if fate == 1 || (fate == 2 && random.below(2) == 0) {
                // A file that lost its first name in the cut has none to change.
                if rename.from.as_ref().is_none_or(|from| names_durable.contains_key(from)) {
                    apply_rename(names_durable, &rename);
                }
            }
        }
        for inode in inodes {
            inode.persist_some(random);
            inode.seen.clone_from(&inode.durable);
        }
        world.names = world.names_durable.clone();
        world.boot += 1;
        world.powered = true;
    }

    /// A disk of its own that holds the same, synced and unsynced, with no fault planned and chance from another seed: what
    /// would be left if the power went now is seen on it, while this one goes on.
    pub fn copy(&self, seed: u64) -> SimulatedDisk {
        let world = World { random: Random::new(seed), faults: BTreeMap::new(), ..self.world().clone() };
        SimulatedDisk { world: Arc::new(Mutex::new(world)) }
    }

    /// Whether the power is on; off from a [`Fault::PowerCut`] to the next [`SimulatedDisk::cut_power`].
    pub fn is_powered(&self) -> bool {
        self.world().powered
    }

    /// Kills the process that had files open and starts again: everything written is still there. Open files are dead.
    pub fn kill_process(&self) {
        let mut world = self.world();
        world.boot += 1;
    }

    /// Sets how much the disk holds; files count with their length.
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.world().capacity_bytes = bytes;
    }

    /// The files and their lengths, by name.
    pub fn files(&self) -> Vec<(String, u64)> {
        let world = self.world();
        world.names.iter().map(|(name, &inode)| (name.clone(), world.inodes[inode].seen.len() as u64)).collect()
    }

    /// What a file holds; `None` when there is none of that name.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        world.names.get(name).map(|&inode| world.inodes[inode].seen.clone())
    }

    /// Puts a file in place, durable, as another program would.
    pub fn put(&self, name: &str, contents: &[u8]) {
        let mut world = self.world();
        let inode = world.inodes.len();
        world.inodes.push(Inode { seen: contents.to_vec(), durable: contents.to_vec(), ..Inode::default() });
        world.names.insert(name.to_owned(), inode);
        world.names_durable.insert(name.to_owned(), inode);
    }

    /// Makes a run of bytes unreadable: reads that touch it fail as those of a bad sector do, until it is written again.
    pub fn make_unreadable(&self, name: &str, bytes: Range<u64>) {
        let mut world = self.world();
        let Some(&inode) = world.names.get(name) else {
            return;
        };
        world.inodes[inode].unreadable.push(bytes);
    }

    /// Flips one bit of a file for good; the number counts from its first byte's lowest bit, and wraps at its end.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let mut world = self.world();
        let Some(&inode) = world.names.get(name) else {
            return;
        };
        let inode = &mut world.inodes[inode];
        for bytes in [&mut inode.seen, &mut inode.durable] {
            if !bytes.is_empty() {
                let at = (bit / 8) as usize % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
            }
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let world = self.world();
        if !world.powered {
            return Err(power_is_off());
        }
        let inode = *world.names.get(name).ok_or_else(|| not_found(name))?;
        Ok(SimulatedFile { world: Arc::clone(&self.world), inode, boot: world.boot })
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        world.check_room(bytes)?;
        let inode = world.inodes.len();
        let zeros = vec![0; bytes as usize];
        world.inodes.push(Inode { seen: zeros, pending: vec![Change::Length(bytes)], ..Inode::default() });
        world.rename(Rename { from: None, to: Some((name.to_owned(), inode)) })?;
        Ok(SimulatedFile { world: Arc::clone(&self.world), inode, boot: world.boot })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let inode = *world.names.get(from).ok_or_else(|| not_found(from))?;
        world.rename(Rename { from: Some(from.to_owned()), to: Some((to.to_owned(), inode)) })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(name) {
            return Err(not_found(name));
        }
        world.rename(Rename { from: Some(name.to_owned()), to: None })
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = self.world();
        match world.operation()? {
            Some(Fault::PowerCut) => return Err(power_is_off()),
            Some(Fault::Failure | Fault::Full) => {
                return Err(io::Error::other("simulated failure of a folder sync"));
            }
            None => {}
        }
        world.names_pending.clear();
        world.names_durable = world.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.world();
        Ok(world.capacity_bytes.saturating_sub(world.used_bytes()))
    }

    fn random(&self) -> u64 {
        self.world().random.next()
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }

    fn is_read_only(&self) -> bool {
        false
    }
}

impl SimulatedFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.boot != self.boot {
            return Err(io::Error::other("simulated file of an ended process"));
        }
        Ok(world)
    }
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let world = self.world()?;
        if !world.powered {
            return Err(power_is_off());
        }
        let bytes = &world.inodes[self.inode].seen;
        let end = position + buffer.len() as u64;
        if world.inodes[self.inode].unreadable.iter().any(|bad| bad.start < end && position < bad.end) {
            // EIO, as Linux numbers it.
            return Err(io::Error::from_raw_os_error(5));
        }
        let from = bytes.len().min(position as usize);
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut world = self.world()?;
        let growth = (position + bytes.len() as u64).saturating_sub(world.inodes[self.inode].seen.len() as u64);
        world.check_room(growth)?;
        let fault = world.operation()?;
        let written = match fault {
            // A write in flight when the power goes may still arrive, in any part: the cut decides.
            None | Some(Fault::PowerCut) => bytes,
            Some(Fault::Failure | Fault::Full) => &bytes[..world.random.below(bytes.len() as u64 + 1) as usize],
        };
        let inode = &mut world.inodes[self.inode];
        let end = position + written.len() as u64;
        inode.unreadable.retain(|bad| bad.end <= position || end <= bad.start);
        overwrite(&mut inode.seen, position, written);
        inode.pending.push(Change::Write { position, bytes: written.to_vec() });
        match fault {
            None => Ok(()),
            Some(Fault::PowerCut) => Err(power_is_off()),
            Some(Fault::Failure) => Err(io::Error::other("simulated failure of a write")),
            Some(Fault::Full) => Err(io::Error::from(io::ErrorKind::StorageFull)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world()?;
        let fault = world.operation()?;
        let World { inodes, random, .. } = &mut *world;
        let inode = &mut inodes[self.inode];
        match fault {
            None => {
                for change in std::mem::take(&mut inode.pending) {
                    match change {
                        Change::Write { position, bytes } => overwrite(&mut inode.durable, position, &bytes),
                        Change::Length(bytes) => inode.durable.resize(bytes as usize, 0),
                    }
                }
                Ok(())
            }
            Some(Fault::PowerCut) => Err(power_is_off()),
            Some(Fault::Failure | Fault::Full) => {
                // The pages count as clean from now on: a later sync has nothing left to do for them.
                inode.persist_some(random);
                Err(io::Error::other("simulated failure of a sync"))
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.inodes[self.inode].seen.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.world()?;
        let growth = bytes.saturating_sub(world.inodes[self.inode].seen.len() as u64);
        world.check_room(growth)?;
        let fault = world.operation()?;
        match fault {
            Some(Fault::Failure) => return Err(io::Error::other("simulated failure")),
            Some(Fault::Full) => return Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(Fault::PowerCut) | None => {}
        }
        let inode = &mut world.inodes[self.inode];
        inode.seen.resize(bytes as usize, 0);
        inode.pending.push(Change::Length(bytes));
        if fault.is_some() { Err(power_is_off()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_bytes_survive_every_power_cut_and_names_too() {
        for seed in 0..200 {
            let disk = SimulatedDisk::new(seed);
            let file = disk.create("a", 2000).expect("a file");
            file.write_at(&[7; 1500], 100).expect("a write");
            file.sync().expect("a sync");
            disk.sync_folder().expect("a sync");
            file.write_at(&[9; 1500], 1600).expect("a write");
            disk.cut_power();
            assert!(file.len().is_err(), "a handle outlived its process");
            let contents = disk.contents("a").expect("a file");
            assert_eq!(contents[100..1600], [7; 1500], "seed {seed}");
            assert!(contents[1600..].iter().all(|byte| [0, 9].contains(byte)), "seed {seed}");
        }
    }

    #[test]
    fn unsynced_writes_survive_in_whole_in_part_and_not_at_all() {
        let (mut whole, mut part, mut none) = (0, 0, 0);
        for seed in 0..300 {
            let disk = SimulatedDisk::new(seed);
            disk.put("a", &[0; 4000]);
            disk.open("a").expect("a file").write_at(&[1; 4000], 0).expect("a write");
            disk.cut_power();
            match disk.contents("a").expect("a file").iter().filter(|&&byte| byte == 1).count() {
                4000 => whole += 1,
                0 => none += 1,
                _ => part += 1,
            }
        }
        assert!(whole > 20 && part > 20 && none > 20, "{whole} whole, {part} in part, {none} not at all");
    }

    #[test]
    fn a_power_cut_of_a_copy_leaves_the_original_alone() {
        let disk = SimulatedDisk::new(1);
        disk.put("a", &[0; 100]);
        let file = disk.open("a").expect("a file");
        file.write_at(&[1; 100], 0).expect("a write");
        for seed in 0..20 {
            disk.copy(seed).cut_power();
        }
        assert_eq!(disk.contents("a").expect("a file"), [1; 100]);
        file.sync().expect("the original was never cut");
        let copy = disk.copy(1);
        copy.cut_power();
        assert_eq!(copy.contents("a").expect("a file"), [1; 100]);
    }

    #[test]
    fn failed_sync_forgets_what_reads_still_return() {
        let mut forgotten = 0;
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            disk.put("a", &[0; 100]);
            let file = disk.open("a").expect("a file");
            file.write_at(&[1; 100], 0).expect("a write");
            disk.fail_at(disk.operations() + 1, Fault::Failure);
            file.sync().expect_err("the planned fault");
            file.sync().expect("a retry succeeds, which is the trap");
            assert_eq!(disk.contents("a").expect("a file"), [1; 100]);
            disk.cut_power();
            forgotten += u32::from(disk.contents("a").expect("a file") != [1; 100]);
        }
        assert!(forgotten > 10, "{forgotten}");
    }
}
