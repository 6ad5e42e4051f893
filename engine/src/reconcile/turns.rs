//! Turns: how work about one lifecycle leaves room for all others.
//!
//! All lifecycles of a site are one task of the runtime. A task that computes for seconds holds up more than its own lifecycles:
//! the thread that it runs on may be the one that waits for the network, and then nothing of the process is answered.
//! Start at [`let_others_go_on`] and [`aside`].

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::{spawn_blocking, yield_now};
use tracing::Span;

/// Texts that are rendered at once. A list may take hundreds of MiB while it is made, and the recorder needs a core.
const AT_ONCE: usize = 2;

/// The places of texts that are rendered.
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Objects of one lifecycle that are seen to in one turn.
const OBJECTS_EACH: usize = 64;

/// Lets others go on, after each few dozen of many objects: what is done about an object may need no answer that would be waited
/// for.
pub(super) async fn let_others_go_on(done: usize) {
    if done > 0 && done.is_multiple_of(OBJECTS_EACH) {
        yield_now().await;
    }
}

/// Does what may take long on a thread of its own. A runtime of one thread does it at once: what a simulated story comes to
/// must not depend on threads.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    let _place = PLACES.acquire().await.expect("it is never closed");
    let span = Span::current();
    match spawn_blocking(move || span.in_scope(work)).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process is stopping, and nobody waits for this any more.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn long_work_holds_up_nobody_where_there_are_threads() {
        let (answer, asked) = std::sync::mpsc::channel();
        // It ends only if the other task gets its turn meanwhile.
        let work = aside(move || asked.recv().expect("it is answered"));
        let other = async move { answer.send(7).expect("it is waited for") };
        assert_eq!(tokio::join!(work, other).0, 7);
    }

    #[tokio::test]
    async fn one_thread_does_it_at_once() {
        let here = std::thread::current().id();
        assert_eq!(aside(move || std::thread::current().id()).await, here);
    }
}
