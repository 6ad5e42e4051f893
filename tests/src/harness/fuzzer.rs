//! What checks the HTTP API from outside: a validator for its OpenAPI document, and schemathesis, which asks what the document
//! allows and what it does not.
//!
//! Both are Python packages, pinned in `tests/fuzzer/requirements.txt`, in a folder of the cache; nothing is installed for
//! anybody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeline_ops::servers::{Cache, Error, Item, Progress};

const ITEM: Item = Item { name: "api-checks-4.32.5", programs: &["schemathesis", "openapi-spec-validator"] };

/// The programs, and the Python that each is.
const PROGRAMS: [(&str, &str); 2] = [
    ("schemathesis", "from schemathesis.cli import schemathesis; schemathesis()"),
    ("openapi-spec-validator", "from openapi_spec_validator.__main__ import main; main()"),
];

/// The programs that check the API, all there.
#[derive(Debug, Clone)]
pub struct Fuzzer {
    folder: PathBuf,
}

impl Fuzzer {
    /// The programs in the cache.
    #[must_use]
    pub fn find(cache: &Cache) -> Option<Self> {
        cache.find(ITEM).map(|folder| Self { folder })
    }

    /// The programs in the cache, fetched by pip when they are not there.
    ///
    /// # Errors
    /// When Python or pip is missing, or fetching fails.
    pub fn obtain(cache: &Cache, progress: Progress) -> Result<Self, Error> {
        let folder = cache.obtain(ITEM, progress, |folder, log| {
            fetch(folder, log, progress).map_err(|error| Error::Unavailable {
                server: "schemathesis",
                attempts: vec![format!("the Python packages: {}", error.in_full())],
                remedy: "install Python 3.10 or later with pip, and try again",
            })
        })?;
        Ok(Self { folder })
    }

    /// `schemathesis`, ready for its arguments.
    #[must_use]
    pub fn schemathesis(&self) -> Command {
        self.command("schemathesis")
    }

    /// `openapi-spec-validator`, ready for its arguments.
    #[must_use]
    pub fn validator(&self) -> Command {
        self.command("openapi-spec-validator")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.stdin(Stdio::null());
        command
    }
}

fn fetch(folder: &Path, log: &Path, progress: Progress) -> Result<(), Error> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzzer/requirements.txt");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(&requirements)
        .arg("--target")
        .arg(folder.join("packages"));
    progress.run("fetching schemathesis 4.32.5 (Python wheels)", None, pip, log)?;
    for (name, python) in PROGRAMS {
        let path = folder.join(name);
        // Found from where it lies, for the folder is moved once it is whole.
        let script =
            format!("#!/bin/sh\nPYTHONPATH=\"$(dirname \"$0\")/packages\" exec python3 -c '{python}' \"$@\"\n");
        fs::write(&path, script).map_err(Error::file("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Error::file("write", &path))?;
    }
    Ok(())
}
