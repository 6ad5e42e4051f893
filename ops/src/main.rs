//! The `lifeline` program: hands what was typed to [`lifeline_ops::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeline_ops::cli::main_from(std::env::args_os())
}
