//! [`Size`]: objects and keys of lists, counted beside each other. Pure.

use std::ops::{Add, AddAssign};

/// How many objects a lifecycle counts for, and how many keys of a list. A list is an object or more, whatever it holds: its
/// keys count beside the objects, for a list that loses most of them is no small loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Those that it holds.
    pub objects: u64,
    /// 1 where it is a key in a list.
    pub keys: u64,
}

impl Size {
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
