//! Names that many share, held once: CloudEvent sources and types, triggers, clusters.
//!
//! Start at [`Names::shared`]. On disk names are written out, never as numbers.

use std::sync::Arc;

use hashbrown::HashSet;

/// Names below which nobody looks for unused ones.
const SWEEP_MIN: usize = 1_024;

/// The names that are held once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    held: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Names {
    /// The one copy of a name.
    pub(crate) fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(held) = self.held.get(name) {
            return held.clone();
        }
        // A producer may give every event a type of its own: those that nobody holds any more go.
        if self.held.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.held.retain(|name| Arc::strong_count(name) > 1);
            self.sweep_at = 2 * self.held.len();
        }
        let name: Arc<str> = name.into();
        self.held.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_no_longer_than_somebody_needs_it() {
        let mut names = Names::default();
        let kept = names.shared("kept");
        for number in 0..10 * SWEEP_MIN {
            names.shared(&number.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &names.shared("kept")));
        assert!(names.held.len() <= 2 * SWEEP_MIN, "{}", names.held.len());
    }
}
