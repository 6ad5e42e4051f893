//! [`Size`]: objects and keys of lists, counted beside each other. Pure.

use std::ops::{Add, AddAssign};

use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Lifecycle;

/// Objects, and keys of lists beside them. A list that loses most of its keys may lose no object, and that is no small loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// How many objects.
    pub objects: u64,
    /// How many keys of lists. One lifecycle counts for one key at most.
    pub keys: u64,
}

impl Size {
    /// That of a lifecycle; `is_list` says that it is a list itself.
    pub(crate) fn of(projection: &Projection, lifecycle: &Lifecycle, is_list: bool) -> Size {
        let Lifecycle { trigger, cluster, inventory, .. } = lifecycle;
        let has_list = || {
            let list = projection.decision("", trigger, trigger, cluster);
            list.is_some_and(|(desired, _)| desired.is_present())
        };
        Size { objects: inventory.len() as u64, keys: u64::from(!is_list && has_list()) }
    }

    /// Whether there is nothing.
    pub(crate) fn is_none(self) -> bool {
        self == Size::default()
    }

    /// What is left where so much goes.
    pub(crate) fn without(self, gone: Size) -> Size {
        let Size { objects, keys } = self;
        Size { objects: objects.saturating_sub(gone.objects), keys: keys.saturating_sub(gone.keys) }
    }

    /// Objects and keys together.
    pub(crate) fn sum(self) -> u64 {
        self.objects.saturating_add(self.keys)
    }
}

impl Add for Size {
    type Output = Size;

    fn add(self, other: Size) -> Size {
        Size { objects: self.objects + other.objects, keys: self.keys + other.keys }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Size) {
        *self = *self + other;
    }
}
