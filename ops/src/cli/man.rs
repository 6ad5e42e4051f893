//! `lifeline man DIR`: the manual pages, from the same definition as `--help`.
//!
//! For release archives; hidden from people, who have `--help`. It writes into that folder and nowhere else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::Cli;
use crate::terminal::fail;

/// What `lifeline man` was given.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Folder for the pages; made when it is not there.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Writes a page for the program and one for each command: `lifeline.1`, `lifeline-get.1`, `lifeline-get-events.1`.
pub(super) fn man(args: &ManArgs) -> ExitCode {
    match write(&args.folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(source) => fail(&Error { folder: args.folder.clone(), source }),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the manual cannot be written to `{}`", .folder.display())]
struct Error {
    folder: PathBuf,
    #[source]
    source: std::io::Error,
}

fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("man1")).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
        assert!(read("lifeline.1").contains("as long as your events say"));
        assert!(read("lifeline-get-events.1").contains("rejected"));
        assert!(read("lifeline-run.1").contains("JetStream domain"));
        assert!(!folder.path().join("man1/lifeline-man.1").exists());
    }

    #[test]
    fn a_folder_that_is_a_file_is_a_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(man(&ManArgs { folder: file.path().to_owned() }), ExitCode::FAILURE);
    }
}
