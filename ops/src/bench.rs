//! provisional
use std::process::ExitCode;
/// provisional
pub fn bench(_args: crate::cli::BenchArgs) -> ExitCode { ExitCode::FAILURE }
