//! An answer whose body comes slowly.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::armed::Lease;

/// A body is sent in pieces so far apart, unless a single byte takes longer.
const PIECE_EVERY_MS: u64 = 100;

/// How slowly a body is to be sent while a fault lasts.
#[derive(Debug, Clone)]
pub struct Pace {
    pub(crate) lease: Arc<Lease>,
    pub(crate) bytes_per_s: u64,
}

impl Pace {
    /// How many of `left` bytes may be sent now: all, once the fault is over.
    #[must_use]
    pub fn piece(&self, left: usize) -> usize {
        if self.lease.is_over() {
            return left;
        }
        let piece = (self.bytes_per_s * PIECE_EVERY_MS / 1000).max(1);
        usize::try_from(piece).unwrap_or(usize::MAX).min(left)
    }

    /// Waits until `sent` bytes have had their time, or the fault is over.
    pub async fn wait(&self, sent: usize) {
        let time = Duration::from_secs_f64(sent as f64 / self.bytes_per_s as f64);
        self.lease.hold(Some(time)).await;
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

pin_project! {
    /// A body behind the `api` fault point. Nearly always it is sent as it is.
    pub struct Trickled<B> {
        #[pin]
        body: B,
        pace: Option<Pace>,
        // What the body has given and has not been sent.
        unsent: Bytes,
        waiting: Option<Waiting>,
    }
}

impl<B: fmt::Debug> fmt::Debug for Trickled<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trickled").field("body", &self.body).field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl<B> Trickled<B> {
    /// Sends `body` at `pace`, or as it is when there is none.
    pub fn new(body: B, pace: Option<Pace>) -> Self {
        Self { body, pace, unsent: Bytes::new(), waiting: None }
    }

    /// The body itself, when nothing slows it down.
    ///
    /// # Errors
    /// This again, when something does.
    pub fn into_plain(self) -> Result<B, Self> {
        if self.pace.is_none() { Ok(self.body) } else { Err(self) }
    }
}

impl<B: Body> Body for Trickled<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            let this = self.as_mut().project();
            if let Some(waiting) = this.waiting {
                ready!(waiting.as_mut().poll(cx));
                *this.waiting = None;
            }
            if let (false, Some(pace)) = (this.unsent.is_empty(), this.pace.as_ref()) {
                let piece = this.unsent.split_to(pace.piece(this.unsent.len()));
                if !this.unsent.is_empty() || !this.body.is_end_stream() {
                    let (pace, sent) = (pace.clone(), piece.len());
                    *this.waiting = Some(Box::pin(async move { pace.wait(sent).await }));
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let frame = match ready!(this.body.poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(mut data) => {
                    let bytes = data.copy_to_bytes(data.remaining());
                    if this.pace.is_none() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    *this.unsent = bytes;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, unsent) = (self.body.size_hint(), self.unsent.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + unsent);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + unsent);
        }
        hint
    }
}
