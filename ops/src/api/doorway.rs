//! Answers HTTP from the first moment, also while the engine is being opened; then passes requests on.
//!
//! Start at [`Doorway::router`]. Until [`Doorway::open`] every question is answered with how far opening has come; from
//! then on the router behind it answers, and nothing here is in the way but one read lock.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any_service;
use lifeline_store::Offset;
use parking_lot::RwLock;
use tower::ServiceExt;

use super::metrics;
use super::problem::Problem;

/// Where questions arrive, before and after the engine is open.
#[derive(Default)]
pub struct Doorway {
    inside: RwLock<Option<Router>>,
    at: AtomicU64,
    /// Zero until the log is open: before that nobody knows how much there is to read.
    of: AtomicU64,
}

impl Doorway {
    /// How far opening has come: records folded, and how many there are.
    pub fn progress(&self, at: Offset, of: Offset) {
        self.at.store(at.get(), Ordering::Relaxed);
        self.of.store(of.get(), Ordering::Relaxed);
    }

    /// Opens the door: from now on `router` answers.
    pub fn open(&self, router: Router) {
        *self.inside.write() = Some(router);
    }

    /// A router for every path, which answers from now on.
    pub fn router(self: &Arc<Self>) -> Router {
        let doorway = self.clone();
        Router::new().fallback_service(any_service(tower::service_fn(move |request: Request| {
            let doorway = doorway.clone();
            async move {
                let inside = doorway.inside.read().clone();
                match inside {
                    Some(router) => router.oneshot(request).await,
                    None => Ok::<_, Infallible>(doorway.closed(request.uri().path())),
                }
            }
        })))
    }

    /// The answer while the door is closed.
    fn closed(&self, path: &str) -> Response {
        let (at, of) = (self.at.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        let sentence =
            if of == 0 { "opening the log".to_owned() } else { format!("rebuilding, at offset {at} of {of}") };
        match path {
            "/livez" => "ok\n".into_response(),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, format!("{sentence}\n")).into_response(),
            "/metrics" => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::opening(at, of)).into_response(),
            _ => Problem::rebuilding(&sentence).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use lifeline_engine::clock::SystemClock;
    use lifeline_engine::engine::{Engine, Ports};
    use lifeline_engine::queries::Queries;
    use lifeline_engine::rules::Current;
    use lifeline_engine::status::Status;
    use lifeline_projections::fact::{Fact, StreamChange, StreamChanged};
    use lifeline_store::{Log, Options, SimulatedDisk};

    use super::*;
    use crate::api::{self, ApiState};

    async fn ask(doorway: &Arc<Doorway>, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(Body::empty()).expect("a path");
        let Ok(response) = doorway.router().oneshot(request).await;
        let status = response.status().as_u16();
        let waits = response.headers().contains_key(header::RETRY_AFTER);
        assert_eq!(waits, status == 503 && path != "/readyz", "{path}");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_closed_door_tells_how_far_opening_has_come() {
        let doorway = Arc::new(Doorway::default());
        assert_eq!(ask(&doorway, "/readyz").await, (503, "opening the log\n".to_owned()));
        doorway.progress(Offset::from(16_384), Offset::from(50_000));
        assert_eq!(ask(&doorway, "/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(ask(&doorway, "/readyz").await, (503, "rebuilding, at offset 16384 of 50000\n".to_owned()));
        let (status, metrics) = ask(&doorway, "/metrics").await;
        assert_eq!(status, 200);
        for line in ["lifeline_ready 0", "lifeline_opening_offset 16384", "lifeline_opening_end_offset 50000"] {
            assert!(metrics.lines().any(|known| known == line), "{line} is missing:\n{metrics}");
        }
        let (status, body) = ask(&doorway, "/v1/lifecycles?phase=ready").await;
        let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, problem["code"].as_str()), (503, Some("rebuilding")));
        assert_eq!(problem["detail"], "the engine is starting: rebuilding, at offset 16384 of 50000");
    }

    /// What an engine without its projection answers while it folds its log, held in the middle of it.
    #[tokio::test]
    async fn an_engine_that_rebuilds_its_state_says_so_until_it_is_open() {
        let disk = SimulatedDisk::new(7);
        let options = || Options { segment_bytes_max: 4 << 20, payload_bytes_max: 1 << 20, ..Options::default() };
        let (mut log, _) = Log::open(disk.clone(), options()).expect("an empty disk");
        for _ in 0..20_000 {
            let (cluster, stream) = ("mgmt/mgmt", "USERS");
            let fact = Fact::Stream(StreamChanged {
                cluster,
                stream,
                epoch: 1,
                change: StreamChange::Gap { from_sequence: 1, to_sequence: 2 },
            });
            log.append_encoded(1, |buffer| fact.encode(buffer)).expect("room");
        }
        log.close().expect("a disk");

        let doorway = Arc::new(Doorway::default());
        let ((reached, came), (go_on, held)) = (mpsc::channel(), mpsc::channel());
        let rebuilding = std::thread::spawn({
            let doorway = doorway.clone();
            move || {
                let ports = Ports {
                    open_log: Box::new(move || Log::open(disk.clone(), options())),
                    table: None,
                    sites: Vec::new(),
                    clock: Arc::new(SystemClock),
                    rules: tokio::sync::watch::channel(Current::default()).1,
                };
                let progress = &mut |at: Offset, of: Offset| {
                    doorway.progress(at, of);
                    if at.get() == 16_384 {
                        reached.send(()).expect("the test waits");
                        held.recv().expect("the test is there");
                    }
                };
                let (engine, _parts) = Engine::open(ports, progress).expect("a sound log");
                let (status, stop) = (Arc::new(Status::default), engine.stopping());
                let queries = Queries::new(engine.view().clone(), Arc::new(SystemClock));
                doorway.open(api::router(ApiState { queries, status, stop }));
            }
        });
        came.recv().expect("it gets there");
        for path in ["/v1/resources", "/v1/verify", "/v1/watch", "/openapi.json"] {
            let (status, body) = ask(&doorway, path).await;
            let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!((status, problem["code"].as_str()), (503, Some("rebuilding")), "{path}");
            assert_eq!(problem["detail"], "the engine is starting: rebuilding, at offset 16384 of 20000", "{path}");
        }
        go_on.send(()).expect("it waits");
        rebuilding.join().expect("no panic");
        let (status, body) = ask(&doorway, "/v1/resources").await;
        let list: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, list["offset"].as_u64()), (200, Some(20_000)));
    }

    #[tokio::test]
    async fn an_open_door_is_not_in_the_way() {
        let doorway = Arc::new(Doorway::default());
        doorway.open(Router::new().route("/v1/lifecycles", get(async || "inside")));
        assert_eq!(ask(&doorway, "/v1/lifecycles").await, (200, "inside".to_owned()));
        assert_eq!(ask(&doorway, "/livez").await.0, 404, "the router behind it answers everything");
    }
}
