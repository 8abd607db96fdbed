//! A panic in the middle of a request or a delivery ends that one alone.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// It has panicked, and is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// Polls `future` and catches its panic. It must not be polled again after one.
///
/// What it leaves behind is safe to go on with: what requests share is behind locks whose holders change it in one step,
/// and everything a request has taken (its key, its place) is given back as it is unwound.
pub fn poll<F: Future + ?Sized>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Panicked>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        // What it said is on standard error already.
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}

/// What `future` comes to.
///
/// # Errors
/// When it panics.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| poll(future.as_mut(), cx)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_gives_back_what_was_taken() {
        let (taken, other) = tokio::sync::oneshot::channel::<()>();
        let panicked = caught(async move {
            tokio::task::yield_now().await;
            let _taken = taken;
            panic!("in the middle")
        });
        assert_eq!(panicked.await, Err::<(), _>(Panicked));
        assert!(other.await.is_err());
        assert_eq!(caught(async { 7 }).await, Ok(7));
    }
}
