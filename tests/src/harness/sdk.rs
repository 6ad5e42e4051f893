//! What people publish with: the `nats` program, and the CloudEvents SDKs that `examples/publish` uses.
//!
//! Start at [`Sdk::publisher`]. Each is fetched once by the package manager of its language, with the versions that the
//! example pins, into a folder of the cache; nothing is installed for anybody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeline_ops::servers::{Cache, Error, Item, Progress};

use super::{Failure, examples};

const NATS_CLI: Item = Item { name: "nats-cli-0.4.0", programs: &["nats"] };
const NATS_CLI_MODULE: &str = "github.com/nats-io/natscli/nats@v0.4.0";

/// The `nats` program.
#[derive(Debug, Clone)]
pub struct NatsCli {
    /// Where it is.
    pub program: PathBuf,
}

impl NatsCli {
    /// The program in the cache.
    #[must_use]
    pub fn find(cache: &Cache) -> Option<Self> {
        cache.find(NATS_CLI).map(|folder| Self { program: folder.join("nats") })
    }

    /// The program in the cache, built when it is not there: about 1 minute, once.
    ///
    /// # Errors
    /// When Go is missing or the build fails.
    pub fn obtain(cache: &Cache, progress: Progress) -> Result<Self, Error> {
        let folder = cache.obtain(NATS_CLI, progress, |folder, log| {
            let mut go = Command::new("go");
            go.args(["install", "-v", "-trimpath", "-ldflags", "-s -w", NATS_CLI_MODULE]);
            go.env("GOBIN", folder).env("CGO_ENABLED", "0");
            let what = "building the nats program 0.4.0 (about 1 min, once)";
            progress.run(what, Some("packages"), go, log).map_err(unavailable("nats", "install Go 1.26 or later"))
        })?;
        Ok(Self { program: folder.join("nats") })
    }
}

/// A language with a CloudEvents SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// Go, with its modules.
    Go,
    /// JavaScript on Node, with npm.
    JavaScript,
    /// Python, with pip.
    Python,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Sdk; 3] = [Sdk::Go, Sdk::JavaScript, Sdk::Python];

    /// Its folder in `examples/publish`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Sdk::Go => "go",
            Sdk::JavaScript => "javascript",
            Sdk::Python => "python",
        }
    }

    /// What is in the cache. `publish TYPE USER` runs the program of the folder it is called in.
    const fn item(self) -> Item {
        let name = match self {
            Sdk::Go => "cloudevents-go-2.16.2",
            Sdk::JavaScript => "cloudevents-javascript-10.0.0",
            Sdk::Python => "cloudevents-python-2.2.0",
        };
        Item { name, programs: &["publish"] }
    }

    /// The file of the example that pins the versions, and the line that the item is named for.
    #[must_use]
    pub const fn pin(self) -> (&'static str, &'static str) {
        match self {
            Sdk::Go => ("go.mod", "github.com/cloudevents/sdk-go/v2 v2.16.2"),
            Sdk::JavaScript => ("package.json", "\"cloudevents\": \"10.0.0\""),
            Sdk::Python => ("requirements.txt", "cloudevents==2.2.0"),
        }
    }

    /// Why a test that needs it is skipped.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Sdk::Go => "no CloudEvents SDK for Go here; `cargo all-tests` fetches it where there is Go",
            Sdk::JavaScript => {
                "no CloudEvents SDK for JavaScript here; `cargo all-tests` fetches it where there is npm"
            }
            Sdk::Python => "no CloudEvents SDK for Python here; `cargo all-tests` fetches it where there is pip",
        }
    }

    /// The folder in the cache.
    #[must_use]
    pub fn find(self, cache: &Cache) -> Option<PathBuf> {
        cache.find(self.item())
    }

    /// The folder in the cache, fetched when it is not there.
    ///
    /// # Errors
    /// When the language or its package manager is missing, or fetching fails.
    pub fn obtain(self, cache: &Cache, progress: Progress) -> Result<PathBuf, Error> {
        cache.obtain(self.item(), progress, |folder, log| {
            let from = examples().join("publish").join(self.name());
            let (program, mut command) = self.fetching(&from, folder)?;
            command.current_dir(&from);
            let what = format!("fetching the CloudEvents SDK for {}", self.name());
            progress.run(&what, None, command, log).map_err(unavailable(self.item().name, "install the language"))?;
            let path = folder.join("publish");
            fs::write(&path, program).map_err(Error::file("write", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Error::file("write", &path))
        })
    }

    /// The program that runs the example with what is fetched, and the command that fetches it.
    fn fetching(self, from: &Path, folder: &Path) -> Result<(&'static str, Command), Error> {
        let mut command;
        let program = match self {
            Sdk::Go => {
                command = Command::new("go");
                command.args(["mod", "download", "-modcacherw"]).env("GOMODCACHE", folder.join("modules"));
                "#!/bin/sh\nGOMODCACHE=\"$(dirname \"$0\")/modules\" GOPROXY=off CGO_ENABLED=0 exec go run . \"$@\"\n"
            }
            Sdk::JavaScript => {
                for name in ["package.json", "package-lock.json"] {
                    fs::copy(from.join(name), folder.join(name)).map_err(Error::file("copy", from.join(name)))?;
                }
                command = Command::new("npm");
                command.args(["ci", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
                "#!/bin/sh\nln -sfn \"$(dirname \"$0\")/node_modules\" node_modules && exec node publish.js \"$@\"\n"
            }
            Sdk::Python => {
                command = Command::new("python3");
                command.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
                command.args(["--requirement", "requirements.txt", "--target"]).arg(folder.join("packages"));
                "#!/bin/sh\nPYTHONPATH=\"$(dirname \"$0\")/packages\" exec python3 publish.py \"$@\"\n"
            }
        };
        Ok((program, command))
    }

    /// The program of the example: to be run in a copy of its folder, with the type of an event and a user.
    ///
    /// # Errors
    /// When it is not there.
    pub fn publisher(self) -> Result<Command, Failure> {
        let cache = Cache::from_environment()?;
        Ok(Command::new(self.find(&cache).ok_or(self.reason())?.join("publish")))
    }
}

fn unavailable(what: &'static str, remedy: &'static str) -> impl FnOnce(Error) -> Error {
    move |error| Error::Unavailable { server: what, attempts: vec![error.in_full()], remedy }
}
