//! Who reaches what: each line of the threat model, from outside.

fn main() {}
