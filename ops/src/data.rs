//! What lies where in a data folder.
//!
//! One folder is one engine: its log, the projection that can be made from it again, and the name by which others know it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lifeline_store::{Disk, Options, OsDisk};

/// The largest record: the largest payload that NATS can be configured for, and its envelope.
const RECORD_BYTES_MAX: u32 = 65 << 20;

/// Size of a segment of the log: room for the largest record, small enough to be read through quickly.
const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// The data folder when nobody names one, relative to where the engine is started.
pub const DEFAULT: &str = "lifeline-data";

/// The folder of the log.
#[must_use]
pub fn log(data: &Path) -> PathBuf {
    data.join("log")
}

/// How the log is opened, by every command.
#[must_use]
pub fn log_options() -> Options {
    Options { segment_bytes_max: SEGMENT_BYTES_MAX, payload_bytes_max: RECORD_BYTES_MAX, ..Options::default() }
}

/// The folder of the projection. It may be deleted whenever the engine is stopped.
#[must_use]
pub fn projection(data: &Path) -> PathBuf {
    data.join("projection")
}

/// The folder of the local cluster. It is the cluster: deleting it deletes its objects.
#[must_use]
pub fn cluster(data: &Path) -> PathBuf {
    data.join("cluster")
}

/// The file with the name by which other engines know this one.
#[must_use]
pub fn instance_file(data: &Path) -> PathBuf {
    data.join("instance")
}

/// The name that a data folder keeps; `None` where it has none yet.
#[must_use]
pub fn known_instance(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(instance_file(data)).ok()?;
    let is_name = |name: &&str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(text.trim()).filter(is_name).map(str::to_owned)
}

/// A name that no other engine has.
#[must_use]
pub fn new_instance(disk: &OsDisk) -> String {
    format!("{:016x}{:016x}", disk.random(), disk.random())
}

/// The name of the engine on a data folder, made once: a lost folder is another engine to those that share its NATS.
/// What cannot be read is made again.
///
/// # Errors
/// When it cannot be written.
pub fn instance(data: &Path, disk: &OsDisk) -> io::Result<String> {
    if let Some(known) = known_instance(data) {
        return Ok(known);
    }
    let name = new_instance(disk);
    let (place, begun) = (instance_file(data), data.join("instance.new"));
    let mut file = File::create(&begun)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    std::fs::rename(&begun, &place)?;
    File::open(data)?.sync_all()?;
    Ok(name)
}

/// The names (`--consumer`) under which engines on a data folder applied objects: those that it keeps, and `name`.
///
/// # Errors
/// When they cannot be read, or `name` is new and cannot be written.
pub fn names(data: &Path, name: &str) -> io::Result<Vec<String>> {
    let (place, begun) = (data.join("names"), data.join("names.new"));
    let known = match std::fs::read_to_string(&place) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> = known.lines().map(str::to_owned).collect();
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
        let mut file = File::create(&begun)?;
        names.iter().try_for_each(|name| writeln!(file, "{name}"))?;
        file.sync_all()?;
        std::fs::rename(&begun, &place)?;
        File::open(data)?.sync_all()?;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_the_names_that_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(names(folder.path(), "one").unwrap(), ["one"]);
        assert_eq!(names(folder.path(), "two").unwrap(), ["one", "two"]);
        assert_eq!(names(folder.path(), "one").unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_folder_keeps_the_name_of_its_engine() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(&log(folder.path())).unwrap();
        assert_eq!(known_instance(folder.path()), None);
        let name = instance(folder.path(), &disk).unwrap();
        assert_eq!(instance(folder.path(), &disk).unwrap(), name);
        assert_eq!(known_instance(folder.path()), Some(name.clone()));
        // The end of the file was lost.
        std::fs::write(instance_file(folder.path()), &name[..7]).unwrap();
        assert_ne!(instance(folder.path(), &disk).unwrap(), name);
    }
}
