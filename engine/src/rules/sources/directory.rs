//! Rules from files: finds them, notices changes, and survives files that are being written.
//!
//! Start at [`Directory::poll`]. Polled by metadata rather than by notifications, which ConfigMap mounts, network file
//! systems and editors that rename all break in their own way. What a file says counts when two polls saw it alike; a file
//! that became unreadable keeps what it said before, because a rule that seems to be gone would withdraw its objects.
//! Never here: what the manifests mean.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::feed::Feed;
use crate::rules::problem::Problem;
use crate::rules::read::manifest::{Manifest, Manifests};

/// How often files are looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// How soon they are looked at again after something changed.
const SETTLE: Duration = Duration::from_millis(100);
/// How many polls must miss a file until it is gone: editors and mounts replace files by renaming.
const MISSES_UNTIL_GONE: u8 = 2;
/// How many polls read a file again after its metadata changed: two writes can share a timestamp.
const READS_AFTER_CHANGE: u8 = 4;
/// The deepest folder that is entered.
const DEPTH_MAX: usize = 32;

/// Files and folders of manifests.
#[derive(Debug)]
pub struct Directory {
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// What could not be listed at the last poll.
    faults: Vec<Fault>,
    said: Option<Arc<Manifests>>,
}

/// What one poll found.
#[derive(Debug, Clone, PartialEq)]
pub struct Polled {
    /// All manifests, when they differ from those of the poll before; the first time when every file has settled.
    pub changed: Option<Arc<Manifests>>,
    /// Whether something is in motion, so that the next poll should come soon.
    pub is_settling: bool,
}

#[derive(Debug)]
struct File {
    stamp: FileVersion,
    /// How many more polls read it whatever its stamp says.
    reads_left: u8,
    misses: u8,
    /// Whether no poll before this one saw it.
    is_new: bool,
    text: Option<String>,
    manifests: Vec<Manifest>,
    unreadable: Vec<Problem>,
}

/// What metadata says of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl FileVersion {
    fn of(metadata: &Metadata) -> FileVersion {
        FileVersion {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A path that could not be listed.
#[derive(Debug, Clone, PartialEq)]
struct Fault {
    path: PathBuf,
    reason: String,
}

impl Directory {
    /// These files and folders; nothing is read yet.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>) -> Directory {
        Directory { roots, files: BTreeMap::new(), faults: Vec::new(), said: None }
    }

    /// Looks at all files once. Folders are entered; in them `*.yaml`, `*.yml` and `*.json` count, hidden ones do not.
    pub fn poll(&mut self) -> Polled {
        let listing = Listing::of(&self.roots);
        let mut is_settling = false;
        for (path, stamp) in &listing.files {
            let file = self.files.entry(path.clone()).or_insert_with(|| File::new(*stamp));
            file.misses = 0;
            if file.stamp != *stamp {
                file.stamp = *stamp;
                file.reads_left = READS_AFTER_CHANGE;
                is_settling = true;
            } else if file.is_new {
                file.is_new = false;
                is_settling = true;
            } else if file.reads_left > 0 || file.text.is_none() {
                // One that could not be read may be readable now without a trace in its metadata.
                file.reads_left = file.reads_left.saturating_sub(1);
                file.read(path);
            }
        }
        let found: BTreeSet<&PathBuf> = listing.files.iter().map(|(path, _)| path).collect();
        self.files.retain(|path, file| {
            // What lies below a path that cannot be listed may well be there.
            if found.contains(path) || listing.faults.iter().any(|fault| path.starts_with(&fault.path)) {
                return true;
            }
            file.misses += 1;
            is_settling = true;
            file.misses < MISSES_UNTIL_GONE
        });
        self.faults = listing.faults;
        let is_first_settled = self.files.values().all(|file| file.text.is_some() || !file.unreadable.is_empty());
        if self.said.is_none() && !is_first_settled {
            return Polled { changed: None, is_settling: true };
        }
        let now = self.manifests();
        if self.said.as_deref() == Some(&now) {
            return Polled { changed: None, is_settling };
        }
        let now = Arc::new(now);
        self.said = Some(Arc::clone(&now));
        Polled { changed: Some(now), is_settling }
    }

    /// The files that the last poll found, each with its text where that can be read.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Option<&str>)> {
        self.files.iter().map(|(path, file)| (path.as_path(), file.text.as_deref()))
    }

    fn manifests(&self) -> Manifests {
        let mut all = Manifests::default();
        for fault in &self.faults {
            let origin = fault.path.display().to_string();
            let message = format!("`{origin}` cannot be read: {}", fault.reason);
            all.unreadable.push(
                Problem::error("", origin, message).hint("check the path; nothing is withdrawn until it can be read"),
            );
        }
        for file in self.files.values() {
            all.manifests.extend(file.manifests.iter().cloned());
            all.unreadable.extend(file.unreadable.iter().cloned());
        }
        // An empty folder is a mount that is not there yet, or a mistake; it never means that everything shall go.
        if all.manifests.is_empty() && all.unreadable.is_empty() {
            let origin = self.roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
            let message = format!("no manifest in `{origin}`");
            all.unreadable
                .push(Problem::warning("", origin, message).hint("check the path; nothing is withdrawn meanwhile"));
        }
        all
    }
}

impl File {
    fn new(stamp: FileVersion) -> File {
        File {
            stamp,
            reads_left: READS_AFTER_CHANGE,
            misses: 0,
            is_new: true,
            text: None,
            manifests: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    fn read(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                return self.is_unreadable(Problem::error("", name, format!("not valid UTF-8 at byte `{at}`")));
            }
            Err(error) => {
                return self.is_unreadable(Problem::error("", name, format!("the file cannot be read: {error}")));
            }
        };
        if self.text.as_ref() == Some(&text) {
            return;
        }
        let read = Manifests::read(&name, &text);
        // A full disk, or an editor that empties a file before it writes, leaves this. It is no wish that rules go.
        if text.trim().is_empty() {
            return self.is_unreadable(Problem::error("", name, "the file is empty"));
        }
        if read.manifests.is_empty() && read.unreadable.is_empty() && !self.manifests.is_empty() {
            return self.is_unreadable(Problem::error("", name, "the file holds no manifest any more"));
        }
        self.text = Some(text);
        let before = std::mem::replace(&mut self.manifests, read.manifests);
        if !read.unreadable.is_empty() {
            // What is not found now may be in the part that cannot be read.
            let now: Vec<_> = self.manifests.iter().map(identity).collect();
            let hidden: Vec<_> = before.into_iter().filter(|manifest| !now.contains(&identity(manifest))).collect();
            self.manifests.extend(hidden);
        }
        self.unreadable = read.unreadable;
    }

    fn is_unreadable(&mut self, problem: Problem) {
        self.text = None;
        let hint = "nothing is withdrawn until it can be read; delete the file to take its rules away";
        self.unreadable = vec![problem.hint(hint)];
    }
}

/// What makes two manifests the same rule.
fn identity(manifest: &Manifest) -> [Option<String>; 4] {
    ["/apiVersion", "/kind", "/metadata/namespace", "/metadata/name"]
        .map(|pointer| manifest.value.pointer(pointer).and_then(Value::as_str).map(str::to_owned))
}

#[derive(Default)]
struct Listing {
    /// Sorted within each root.
    files: Vec<(PathBuf, FileVersion)>,
    faults: Vec<Fault>,
    /// Files by where they really are: two ways to one file are one file.
    known: BTreeSet<(u64, u64)>,
}

impl Listing {
    fn of(roots: &[PathBuf]) -> Listing {
        let mut listing = Listing::default();
        for root in roots {
            listing.add(root, &mut Vec::new(), true);
        }
        listing
    }

    /// `above` are the folders on the way here, so that a link to one of them ends the way.
    fn add(&mut self, path: &Path, above: &mut Vec<(u64, u64)>, is_root: bool) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if !is_root && error.kind() == std::io::ErrorKind::NotFound => {
                // What a link led to may be a mount that is away. Anything else is gone since it was listed, which is a miss.
                if path.is_symlink() {
                    self.fault(path, "a link to nothing");
                }
                return;
            }
            Err(error) => return self.fault(path, &error),
        };
        let place = (metadata.dev(), metadata.ino());
        if !metadata.is_dir() {
            // To read a pipe may take for ever, and to read it again gives something else.
            if !metadata.is_file() && (is_root || is_manifest_file(path)) {
                return self.fault(path, "a pipe, socket or device, expected a file");
            }
            if (is_root || is_manifest_file(path)) && self.known.insert(place) {
                self.files.push((path.to_owned(), FileVersion::of(&metadata)));
            }
            return;
        }
        if above.contains(&place) || above.len() >= DEPTH_MAX {
            return;
        }
        let entries = fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<BTreeSet<_>, _>>()
        });
        match entries {
            // What a container runtime makes of a file that is to be mounted and is not there.
            Ok(entries) if entries.is_empty() && !is_root && is_manifest_file(path) => {
                self.fault(path, "an empty folder, expected a file");
            }
            Ok(entries) => {
                above.push(place);
                // A ConfigMap mount holds its files under `..data` and links to them: hidden names are not entered.
                for entry in entries.iter().filter(|entry| !is_hidden(entry)) {
                    self.add(entry, above, false);
                }
                above.pop();
            }
            Err(error) => self.fault(path, &error),
        }
    }

    fn fault(&mut self, path: &Path, reason: impl Display) {
        self.faults.push(Fault { path: path.to_owned(), reason: reason.to_string() });
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest_file(path: &Path) -> bool {
    let is_known =
        |extension: &OsStr| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    path.extension().is_some_and(is_known)
}

/// Polls for ever.
pub(super) async fn follow(mut directory: Directory, feed: watch::Sender<Feed>) {
    loop {
        let polled = tokio::task::spawn_blocking(move || {
            let polled = directory.poll();
            (directory, polled)
        });
        // It is cancelled only when the runtime ends.
        let Ok((back, polled)) = polled.await else { return };
        directory = back;
        if let Some(manifests) = polled.changed {
            feed.send_replace(Feed { manifests: Some(manifests), troubles: Vec::new() });
        }
        tokio::time::sleep(if polled.is_settling { SETTLE } else { PERIOD }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of its own, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("lifeline-rules-{}-{count}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn named(name: &str) -> String {
        format!("{{kind: ConfigMap, apiVersion: v1, metadata: {{name: {name}}}}}\n")
    }

    /// What is there after everything has settled: the names, and how many things are unreadable.
    fn settled(directory: &mut Directory) -> (Vec<String>, usize) {
        for _ in 0..8 {
            directory.poll();
        }
        let said = directory.said.clone().unwrap();
        let name = |manifest: &Manifest| manifest.value["metadata"]["name"].as_str().unwrap().to_owned();
        (said.manifests.iter().map(name).collect(), said.unreadable.len())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn folders_are_entered_in_order_and_other_files_are_left_alone() {
        let folder = Folder::new();
        folder.write("b.yaml", &named("b"));
        folder.write("a.YML", &named("a"));
        folder.write("c/d.json", r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"d"}}"#);
        folder.write("notes.txt", "kind: [");
        folder.write(".hidden.yaml", &named("hidden"));
        std::os::unix::fs::symlink(&folder.0, folder.0.join("c/loop")).unwrap();
        let mut directory = Directory::new(vec![folder.0.clone(), folder.0.join("b.yaml")]);
        assert_eq!(settled(&mut directory), (names(&["a", "b", "d"]), 0));
    }

    #[test]
    fn what_is_no_regular_file_is_told_and_not_read() {
        let folder = Folder::new();
        folder.write("a.yaml", &named("a"));
        let _socket = std::os::unix::net::UnixListener::bind(folder.0.join("b.yaml")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(folder.0.join("other")).unwrap();
        let mut directory = Directory::new(vec![folder.0.clone()]);
        assert_eq!(settled(&mut directory), (names(&["a"]), 1));
    }

    #[test]
    fn first_manifests_come_when_every_file_has_settled() {
        let folder = Folder::new();
        folder.write("a.yaml", &named("a"));
        let mut directory = Directory::new(vec![folder.0.clone()]);
        assert_eq!(directory.poll(), Polled { changed: None, is_settling: true });
        assert!(directory.poll().changed.is_some());
        assert_eq!(directory.poll().changed, None);
    }

    #[test]
    fn broken_file_keeps_what_it_said_and_hides_nothing() {
        let folder = Folder::new();
        folder.write("a.yaml", &format!("{}---\n{}", named("a"), named("b")));
        let mut directory = Directory::new(vec![folder.0.clone()]);
        assert_eq!(settled(&mut directory), (names(&["a", "b"]), 0));

        folder.write("a.yaml", &format!("{}---\nkind: [", named("c")));
        assert_eq!(settled(&mut directory), (names(&["c", "a", "b"]), 1));

        folder.write("a.yaml", &named("c"));
        assert_eq!(settled(&mut directory), (names(&["c"]), 0));

        fs::write(folder.0.join("a.yaml"), [0xff, 0xfe]).unwrap();
        assert_eq!(settled(&mut directory), (names(&["c"]), 1));
    }

    #[test]
    fn file_is_gone_when_it_stays_away_and_a_folder_that_is_away_takes_nothing_along() {
        let folder = Folder::new();
        folder.write("a.yaml", &named("a"));
        folder.write("b.yaml", &named("b"));
        let mut directory = Directory::new(vec![folder.0.clone()]);
        assert_eq!(settled(&mut directory).0, names(&["a", "b"]));

        let away = folder.0.with_extension("away");
        fs::remove_file(folder.0.join("a.yaml")).unwrap();
        assert_eq!(directory.poll().changed, None);
        assert_eq!(settled(&mut directory), (names(&["b"]), 0));

        fs::rename(&folder.0, &away).unwrap();
        assert_eq!(settled(&mut directory), (names(&["b"]), 1));
        fs::rename(&away, &folder.0).unwrap();
        assert_eq!(settled(&mut directory), (names(&["b"]), 0));
    }

    #[test]
    fn a_file_that_is_empty_or_leads_nowhere_takes_nothing_along() {
        let folder = Folder::new();
        folder.write("a.yaml", &named("a"));
        folder.write("b.yaml", &named("b"));
        folder.write(".real/c.yaml", &named("c"));
        std::os::unix::fs::symlink(".real/c.yaml", folder.0.join("c.yaml")).unwrap();
        let mut directory = Directory::new(vec![folder.0.clone()]);
        let all = names(&["a", "b", "c"]);
        assert_eq!(settled(&mut directory), (all.clone(), 0));
        for nothing in ["", " \n", "# kept for later\n"] {
            folder.write("a.yaml", nothing);
            assert_eq!(settled(&mut directory), (all.clone(), 1), "{nothing:?}");
        }
        folder.write("a.yaml", &named("a"));
        fs::remove_dir_all(folder.0.join(".real")).unwrap();
        assert_eq!(settled(&mut directory), (all.clone(), 1), "a link to nothing");
        folder.write(".real/c.yaml", &named("c"));
        fs::remove_file(folder.0.join("b.yaml")).unwrap();
        fs::create_dir(folder.0.join("b.yaml")).unwrap();
        assert_eq!(settled(&mut directory), (all, 1), "an empty folder in its place");
        fs::remove_dir(folder.0.join("b.yaml")).unwrap();
        assert_eq!(settled(&mut directory), (names(&["a", "c"]), 0), "it is deleted");
        // At a start nothing is known of what an empty file said, so nothing may go for it.
        folder.write("a.yaml", "");
        assert_eq!(settled(&mut Directory::new(vec![folder.0.clone()])), (names(&["c"]), 1));
    }

    #[test]
    fn configmap_mount_is_followed_through_its_swap() {
        let folder = Folder::new();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.0.join(name)).unwrap();
        folder.write("..1/rules.yaml", &named("a"));
        link("..1", "..data");
        link("..data/rules.yaml", "rules.yaml");
        let mut directory = Directory::new(vec![folder.0.clone()]);
        assert_eq!(settled(&mut directory), (names(&["a"]), 0));
        folder.write("..2/rules.yaml", &named("b"));
        link("..2", "..data_tmp");
        fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
        assert_eq!(settled(&mut directory), (names(&["b"]), 0));
    }
}
