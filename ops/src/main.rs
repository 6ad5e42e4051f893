//! The `lifeline` program: hands what was typed to [`lifeline_ops::cli`].

use std::process::ExitCode;

/// A state of many small pieces, written and given back by different threads: the system's allocator keeps a sixth more
/// memory for it. Without huge pages, of which a few small pieces would keep whole ones.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lifeline_ops::cli::main_from(std::env::args_os())
}
