//! One suite for both disks: what the simulated one claims, the real one does.

mod folder;

use std::io::ErrorKind;

use folder::Folder;
use lifeline_store::{Disk, File, OsDisk, SimulatedDisk};

fn names(disk: &impl Disk) -> Vec<String> {
    let mut names: Vec<String> = disk.list().expect("a list").into_iter().filter(|name| name != "LOCK").collect();
    names.sort();
    names
}

fn conforms(disk: &impl Disk) {
    assert!(!disk.is_read_only());
    assert_eq!(names(disk), [""; 0]);
    assert_eq!(disk.open("a").expect_err("no such file").kind(), ErrorKind::NotFound);
    assert_eq!(disk.remove("a").expect_err("no such file").kind(), ErrorKind::NotFound);
    assert_eq!(disk.rename("a", "b").expect_err("no such file").kind(), ErrorKind::NotFound);

    let file = disk.create("a", 1000).expect("a file");
    assert_eq!(file.len().expect("a length"), 1000);
    let mut bytes = [1; 100];
    assert_eq!(file.read_at(&mut bytes, 950).expect("a read"), 50, "a read stops at the end of the file");
    assert_eq!(bytes[..50], [0; 50], "what was never written is zero");
    assert_eq!(file.read_at(&mut bytes, 5000).expect("a read"), 0);

    file.write_at(b"hello", 998).expect("a write");
    assert_eq!(file.len().expect("a length"), 1003, "a write behind the end makes the file longer");
    file.sync().expect("a sync");
    file.forget_cached().expect("a hint");
    let mut bytes = [0; 5];
    assert_eq!(disk.open("a").expect("a file").read_at(&mut bytes, 998).expect("a read"), 5);
    assert_eq!(&bytes, b"hello");

    file.set_len(1000).expect("a cut");
    file.set_len(1003).expect("an extension");
    file.read_at(&mut bytes, 998).expect("a read");
    assert_eq!(&bytes, b"he\0\0\0", "what was cut off does not come back");

    disk.create("b", 0).expect("a file").write_at(b"b", 0).expect("a write");
    disk.rename("a", "b").expect("a rename");
    assert_eq!(names(disk), ["b"], "a rename replaces");
    assert_eq!(disk.open("b").expect("a file").len().expect("a length"), 1003);
    assert_eq!(disk.create("b", 7).expect("a file").len().expect("a length"), 7, "create empties what there was");
    let open = disk.open("b").expect("a file");
    disk.remove("b").expect("a removal");
    assert_eq!(open.len().expect("a length"), 7, "an open file outlives its name");
    disk.sync_folder().expect("a sync");
    assert_eq!(names(disk), [""; 0]);
    assert!(disk.free_bytes().expect("a figure") > 0);
    assert_ne!(disk.random(), disk.random());
}

#[test]
fn real_disk_conforms() {
    let folder = Folder::new("conformance");
    conforms(&OsDisk::open(folder.path()).expect("the folder"));
}

#[test]
fn simulated_disk_conforms() {
    conforms(&SimulatedDisk::new(1));
}

#[test]
fn folder_opened_for_reading_is_not_written_to() {
    let folder = Folder::new("read-only");
    drop(OsDisk::open(folder.path()).expect("the folder"));
    let first = OsDisk::open_read_only(folder.path()).expect("the folder");
    let second = OsDisk::open_read_only(folder.path()).expect("inspectors share the lock");
    assert!(second.is_read_only());
    assert!(OsDisk::open(folder.path()).is_err(), "an engine does not start under an inspector");
    let error = lifeline_store::Log::open(first, lifeline_store::Options::default()).expect_err("read only");
    assert!(error.to_string().contains("open for reading only"), "{error}");
}
