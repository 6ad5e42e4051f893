//! What can go wrong with a server of ours. A message says which server, and how to get on without this code.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a server could not be found, fetched, started or kept running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No setting says where the cache lies.
    #[error(
        "no folder for the cache is known: neither `XDG_CACHE_HOME` nor `HOME` is set\nhint: set `LIFELINE_CACHE` to a folder that may be written to"
    )]
    NoCacheFolder,

    /// A folder or file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried, as a verb: `create`, `read`.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// A program could not be started at all.
    #[error("cannot start `{program}`")]
    Spawn {
        /// The program, as it was to be called.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// A program that was to make something (a compiler, a package manager) failed.
    #[error("{what} failed ({status}); its last lines, of `{}`:\n{last_lines}", log.display())]
    Command {
        /// What was being done.
        what: String,
        /// How the program ended.
        status: ExitStatus,
        /// Everything it printed.
        log: PathBuf,
        /// The end of what it printed.
        last_lines: String,
    },

    /// What was to make a server ended well, and the server is not there.
    #[error("`{}` is missing although it was made without an error", path.display())]
    NotMade {
        /// The program that should be there.
        path: PathBuf,
    },

    /// A setting names a program that is none.
    #[error("`{variable}` is set to `{}`, which is no program that can be run", path.display())]
    NotAProgram {
        /// The environment variable.
        variable: &'static str,
        /// What it is set to.
        path: PathBuf,
    },

    /// A server is neither here nor to be had.
    #[error("no {server} was found and none could be fetched:\n{}\nhint: {remedy}", attempts.iter().map(|attempt| format!("  - {attempt}")).collect::<Vec<_>>().join("\n"))]
    Unavailable {
        /// The server.
        server: &'static str,
        /// What was tried, each with what came of it.
        attempts: Vec<String>,
        /// What the user can do.
        remedy: &'static str,
    },

    /// A server ended while it was being started.
    #[error("{server} ended while starting ({status}); the last lines of `{}`:\n{last_lines}", log.display())]
    Ended {
        /// The server.
        server: String,
        /// How it ended.
        status: ExitStatus,
        /// Everything it printed.
        log: PathBuf,
        /// The end of what it printed.
        last_lines: String,
    },

    /// A server runs but does not answer.
    #[error("{server} was not ready after {within:?}: {observed}; the last lines of `{}`:\n{last_lines}", log.display())]
    NotReady {
        /// The server.
        server: String,
        /// How long it was waited for.
        within: Duration,
        /// What was seen last.
        observed: String,
        /// Everything it printed.
        log: PathBuf,
        /// The end of what it printed.
        last_lines: String,
    },
}

impl Error {
    /// The message with its causes, for where only a text goes.
    #[must_use]
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// For `map_err`: what was tried on which path.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
