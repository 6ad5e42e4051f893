//! Measures the log in a folder: `cargo run --release -p lifeline-store --example bench_log -- FOLDER [OPEN_BYTES]`.

use std::path::PathBuf;

use lifeline_store::bench::{Settings, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut settings = Settings::default();
    if let Some(bytes) = arguments.next() {
        settings.open_bytes = bytes.to_string_lossy().parse()?;
    }
    let figures = run(&folder, &settings, &mut |step| eprintln!("{step}"))?;
    println!("{figures:#?}");
    Ok(())
}
