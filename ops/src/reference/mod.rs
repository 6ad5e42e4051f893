//! The reference pages of `docs/`, made from what they describe: the command line, the metrics, the HTTP API, the
//! definitions of Kubernetes. They are committed, and a test compares.
//!
//! Start at [`PAGES`]. Nothing here is in the program.

mod cli;
mod crds;
mod http;
mod metrics;

/// A page: its file in `docs/`, and what it should say.
type Page = (&'static str, fn() -> String);

const PAGES: [Page; 4] =
    [("cli.md", cli::page), ("crds.md", crds::page), ("http.md", http::page), ("metrics.md", metrics::page)];

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_committed_reference_is_the_generated_one() {
    for (name, page) in PAGES {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        let text = page();
        if std::env::var_os("LIFELINE_WRITE_GENERATED").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == text,
            "docs/{name} is not what the code says\nhint: run this test once with LIFELINE_WRITE_GENERATED=1, and commit the file"
        );
    }
}
