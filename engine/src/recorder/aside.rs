//! Texts are rendered beside the recorder, so that nothing that is to be recorded waits for a template.
//!
//! Start at [`Aside::begin`]. A list of many keys, or a template with many steps, may take seconds. One batch is under way at a
//! time, also when rules change meanwhile: so however often they do, there is one thread, and the memory of one batch.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lifeline_store::Disk;
use tokio::sync::oneshot;
use tracing::warn;

use super::RETRY_PAUSE;
use crate::replay::texts::{Answers, Questions};
use crate::view::View;

/// Where texts are rendered that a replay has to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rendering {
    /// On a thread of its own, which nobody waits for when the engine stops.
    #[default]
    OnThread,
    /// On the thread of the recorder, before anything else happens; and the answer comes after this pause. For a simulation, in
    /// which everything happens in one order.
    AtOnce(Duration),
}

type Rendered = Pin<Box<dyn Future<Output = Answers> + Send>>;

/// What is being rendered.
#[derive(Default)]
pub(super) struct Aside {
    rendering: Rendering,
    under_way: Option<Rendered>,
    /// Whether the replay that asked is still the one that goes on.
    is_wanted: bool,
}

impl Aside {
    pub(super) fn by(rendering: Rendering) -> Aside {
        Aside { rendering, ..Aside::default() }
    }

    /// Begins to render. Nothing else may be under way.
    pub(super) fn begin<D: Disk>(&mut self, questions: Questions, view: Arc<View<D>>) {
        debug_assert!(!self.is_under_way(), "a replay waits for its answers");
        self.is_wanted = true;
        self.under_way = Some(match self.rendering {
            Rendering::OnThread => {
                let (done, answers) = oneshot::channel();
                // The engine may be gone by then.
                let work = move || _ = done.send(questions.answered(&*view));
                match std::thread::Builder::new().name("lifeline-replay".into()).spawn(work) {
                    Ok(_) => Box::pin(async {
                        answers.await.expect("a thread that renders ends with an answer, or with a panic")
                    }),
                    // Nothing is answered, so the next piece asks again.
                    Err(error) => {
                        warn!("texts are not rendered for now, the system gives no thread: {error}");
                        Box::pin(async {
                            tokio::time::sleep(RETRY_PAUSE).await;
                            Answers::default()
                        })
                    }
                }
            }
            Rendering::AtOnce(pause) => {
                let answers = questions.answered(&*view);
                Box::pin(async move {
                    tokio::time::sleep(pause).await;
                    answers
                })
            }
        });
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The answers of what is under way are dropped.
    pub(super) fn forget(&mut self) {
        self.is_wanted = false;
    }

    /// Waits for what is under way; `None` where it is not wanted any more. Waits for ever while nothing is.
    pub(super) async fn answers(&mut self) -> Option<Answers> {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let answers = under_way.as_mut().await;
        self.under_way = None;
        self.is_wanted.then_some(answers)
    }
}
