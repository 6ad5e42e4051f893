//! How long does one small manifest take, from template to object? The seed's Namespace, in both dialects.
//!
//! `cargo run --release -p lifeline-engine --example render`

use std::time::Instant;

use lifeline_engine::template::{Data, Dialect, Template};
use serde_json::json;

const ROUNDS: u32 = 20_000;

const GO: &str = "kind: Namespace\napiVersion: v1\nmetadata:\n  name: {{ .CloudEvent.subject }}\n";
const TERA: &str = "kind: Namespace\napiVersion: v1\nmetadata:\n  name: {{ CloudEvent.subject }}\n";

fn main() {
    let values = json!({"CloudEvent": {"subject": "mgianluc", "data": {"organization": "acme"}}});
    for (dialect, source) in [(Dialect::Go, GO), (Dialect::Tera, TERA)] {
        let template = Template::compile(dialect, "seed", source).expect("the template is right");
        let started = Instant::now();
        for _ in 0..ROUNDS {
            let data = Data { values: &values, recorded_at_unix_nanos: 0 };
            std::hint::black_box(template.render_manifests(&data).expect("the values are there"));
        }
        println!("{dialect:?}: {:?} a manifest", started.elapsed() / ROUNDS);
    }
}
