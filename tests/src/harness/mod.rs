//! Real servers for tests: nats-server, a Kubernetes control plane, a node that runs pods, and the `lifeline` program itself.
//!
//! Start at [`stories`] and at `tests/tests/servers.rs`, which shows how a test is written. Every server is on
//! loopback, in a temporary folder, and dies with the test process, however that ends.
//!
//! What it never does: fetch or build a server in the middle of a test. That is the runner's (`cargo all-tests`); a test
//! whose servers are not there is reported as ignored, by name, with the reason.

mod collector;
mod control_plane;
mod control_plane_programs;
mod events;
pub mod exposition;
mod failure;
mod fuzzer;
mod helm;
mod kubernetes;
mod lifeline;
mod mount;
mod node;
mod node_programs;
mod reader;
mod scene;
mod sdk;
mod slow_link;
mod stories;
mod visits;
mod waiting;

pub use collector::{Collector, Traced};
pub use control_plane::{ControlPlane, User, Write};
pub use control_plane_programs::ControlPlanePrograms;
pub use events::{Event, Producer};
pub use failure::{Failure, Outcome};
pub use fuzzer::Fuzzer;
pub use helm::{Helm, documents};
pub use kubernetes::{Diary, Entry, Happened, Kubernetes};
pub use lifeline::Lifeline;
pub use mount::Mount;
pub use node::{NODE, Node, image, lifeline_image};
pub use node_programs::{NodePrograms, install};
pub use reader::{Reader, examples};
pub use scene::Scene;
pub use sdk::{NatsCli, Sdk};
pub use slow_link::SlowLink;
pub use stories::{Need, run, story};
pub use visits::visits;
pub use waiting::eventually;
