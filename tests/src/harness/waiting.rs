//! Waiting for what becomes true, with a deadline and with what was seen last.

use std::time::{Duration, Instant};

use super::Failure;

const POLL: Duration = Duration::from_millis(10);

/// Calls `probe` until it gives `Ok`, and returns that; `what` completes the sentence "waited for ...".
///
/// # Errors
/// When `within` is over: the failure says what `probe` saw last.
pub async fn eventually<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Failure> {
    let started = Instant::now();
    let mut last = None;
    loop {
        // A probe may hang (a frozen server): the deadline holds for it too.
        let left = within.saturating_sub(started.elapsed());
        let observed = match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(observed)) => observed.to_string(),
            // Cut off by the deadline: what was seen before says more.
            Err(_) => last.take().unwrap_or_else(|| "no answer at all".to_owned()),
        };
        if started.elapsed() >= within {
            return Err(format!("waited {within:?} for {what}; last seen: {observed}").into());
        }
        last = Some(observed);
        tokio::time::sleep(POLL).await;
    }
}
