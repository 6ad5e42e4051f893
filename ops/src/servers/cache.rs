//! The folder of fetched servers: one folder per server and version, complete or absent.
//!
//! An item is made in a folder beside its final place and renamed when it is whole, so that an interrupted build never
//! looks like a server. A lock file per item makes two runs that want the same server build it once. The lock is the
//! operating system's: it goes with the process that held it, so no run ever waits for a dead one.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::{Error, Progress, is_program};

/// The folder that holds what was fetched, outside any clone of the project.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// One thing in the cache: a server at a version, as one or more programs.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// The name of its folder, version included: `nats-server-2.15.1`.
    pub name: &'static str,
    /// The programs without which it is not whole.
    pub programs: &'static [&'static str],
}

impl Cache {
    /// The cache of this user: `LIFELINE_CACHE`, else `$XDG_CACHE_HOME/lifeline`, else `~/.cache/lifeline`.
    ///
    /// # Errors
    /// When none of the three is set.
    pub fn from_environment() -> Result<Self, Error> {
        place(env::var_os("LIFELINE_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
            .map(|folder| Self { folder })
            .ok_or(Error::NoCacheFolder)
    }

    /// A cache in a folder of the caller's choice.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder itself. It need not exist yet.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of an item that is there and whole.
    #[must_use]
    pub fn find(&self, item: Item) -> Option<PathBuf> {
        let folder = self.folder.join(item.name);
        item.programs.iter().all(|program| is_program(&folder.join(program))).then_some(folder)
    }

    /// The folder of an item, made by `make` when it is not there: `make` is given an empty folder to put the programs
    /// into, and a file for everything its tools print (kept, to show what went wrong).
    ///
    /// # Errors
    /// When the cache cannot be written to, `make` fails, or a program is missing after it.
    pub fn obtain(
        &self,
        item: Item,
        progress: Progress,
        make: impl FnOnce(&Path, &Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        if let Some(folder) = self.find(item) {
            return Ok(folder);
        }
        fs::create_dir_all(&self.folder).map_err(Error::file("create", &self.folder))?;
        let _lock = self.lock(item, progress)?;
        // The process that held the lock before us may have made it.
        if let Some(folder) = self.find(item) {
            return Ok(folder);
        }

        let whole = self.folder.join(item.name);
        let partial = self.folder.join(format!("{}.partial", item.name));
        for leftover in [&whole, &partial] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).map_err(Error::file("remove", leftover))?;
            }
        }
        fs::create_dir(&partial).map_err(Error::file("create", &partial))?;
        make(&partial, &self.folder.join(format!("{}.log", item.name)))?;
        for program in item.programs {
            let path = partial.join(program);
            if !is_program(&path) {
                return Err(Error::NotMade { path });
            }
        }
        fs::rename(&partial, &whole).map_err(Error::file("rename", &partial))?;
        Ok(whole)
    }

    /// Held until dropped. Says so when another run holds it, for the wait may be minutes.
    fn lock(&self, item: Item, progress: Progress) -> Result<File, Error> {
        let path = self.folder.join(format!("{}.lock", item.name));
        let file = File::create(&path).map_err(Error::file("create", &path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress.say(&format!("another run is making {}: waiting for it", item.name))
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::File { action: "lock", path, source });
            }
        }
        file.lock().map_err(Error::file("lock", path))?;
        Ok(file)
    }
}

/// Where the cache lies. A relative or empty value counts as unset, as the XDG base directory specification asks.
fn place(own: Option<OsString>, cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(own)
        .or_else(|| absolute(cache_home).map(|folder| folder.join("lifeline")))
        .or_else(|| absolute(home).map(|folder| folder.join(".cache/lifeline")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const ITEM: Item = Item { name: "server-1.0", programs: &["server"] };

    fn make_program(path: &Path) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_cache_lies_where_the_most_specific_setting_says() {
        fn check(own: Option<&str>, cache_home: Option<&str>, home: Option<&str>, expected: Option<&str>) {
            let found = place(own.map(Into::into), cache_home.map(Into::into), home.map(Into::into));
            assert_eq!(found, expected.map(PathBuf::from), "{own:?} {cache_home:?} {home:?}");
        }
        check(Some("/own"), Some("/xdg"), Some("/home"), Some("/own"));
        check(None, Some("/xdg"), Some("/home"), Some("/xdg/lifeline"));
        check(None, None, Some("/home"), Some("/home/.cache/lifeline"));
        check(Some(""), Some("relative"), Some("/home"), Some("/home/.cache/lifeline"));
        check(None, None, None, None);
    }

    #[test]
    fn an_item_is_made_once_however_many_want_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache
                        .obtain(ITEM, Progress::silent(), |folder, _| {
                            made.fetch_add(1, Ordering::SeqCst);
                            make_program(&folder.join("server"));
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_interrupted_build_never_looks_whole_and_does_not_hinder_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let failed = cache.obtain(ITEM, Progress::silent(), |folder, _| {
            make_program(&folder.join("server"));
            Err(Error::NoCacheFolder)
        });
        assert!(failed.is_err());
        assert_eq!(cache.find(ITEM), None);

        let made = cache.obtain(ITEM, Progress::silent(), |folder, _| {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "what the interrupted build left is gone");
            make_program(&folder.join("server"));
            Ok(())
        });
        assert_eq!(made.unwrap(), folder.path().join("server-1.0"));
    }

    #[test]
    fn a_make_that_made_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let made = Cache::at(folder.path()).obtain(ITEM, Progress::silent(), |_, _| Ok(()));
        assert!(matches!(made, Err(Error::NotMade { .. })), "{made:?}");
    }
}
