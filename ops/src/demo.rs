//! provisional
use std::process::ExitCode;
/// provisional
pub fn demo(_args: crate::cli::DemoArgs) -> ExitCode { ExitCode::FAILURE }
