//! The command line, checked as a whole.

use super::*;

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}
