//! The bytes of an HBONE stream for who takes them in this process (`crate::io`) instead of an application's socket.

use super::chunk::copy_chunk;
use super::stream::{HboneStream, Receiving, Sending, Side};
use crate::end::Broken;
use bytes::Bytes;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

impl HboneStream {
    /// Lets `take` have the bytes that wait, frame by frame for as long as it takes all of one, and returns how many it
    /// took; zero if no more come. The peer may send as many more. What came before a reset is had first, as from a socket.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<Result<usize, Broken>> {
        self.reader = Some(cx.waker().clone());
        ready!(self.poll_waiting(cx))?;
        let mut all = 0;
        loop {
            let (there, count) = (self.waiting.len(), take(&self.waiting));
            self.taken(count);
            all += count;
            // An end, or what broke the stream, is told again when it is asked for.
            if count < there || there == 0 || !matches!(self.poll_waiting(cx), Poll::Ready(Ok(()))) {
                return Poll::Ready(Ok(all));
            }
        }
    }

    /// Takes the bytes of a DATA frame, without a copy; none if no more come.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        self.reader = Some(cx.waker().clone());
        ready!(self.poll_waiting(cx))?;
        let bytes = self.waiting.clone();
        self.taken(bytes.len());
        Poll::Ready(Ok(bytes))
    }

    /// Takes one piece of the bytes once the stream's window has room, and returns how many. What h2 keeps is bounded by
    /// one piece beyond its own limit.
    pub(crate) fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        if let Poll::Ready(Err(broken)) = self.poll_refused(cx) {
            return Poll::Ready(Err(broken));
        }
        if from.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.writer = Some(cx.waker().clone());
        ready!(self.poll_window(cx))?;
        self.poll_send_data(cx, copy_chunk(from))
    }

    /// Says that no more bytes come. A peer that has said all and was gone then need not hear it.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if let Sending::Finished(_) = self.sending {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(Err(broken)) = self.poll_refused(cx) {
            return Poll::Ready(Err(broken));
        }
        match ready!(self.poll_send_data(cx, Bytes::new())) {
            Ok(_) | Err(Broken::Closed) => Poll::Ready(Ok(())),
            Err(Broken::Reset) if self.has_peer_finished() => Poll::Ready(Ok(())),
            Err(broken) => Poll::Ready(Err(broken)),
        }
    }

    /// Looks whether the server has answered, and has refused: a writer may be the only one here. But h2 wakes one task
    /// for an answer, and if somebody reads it is for the reader, who wakes the writer.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &self.reader {
            Some(reader) => {
                let reader = reader.clone();
                self.poll_opened(&mut Context::from_waker(&reader))
            }
            None => self.poll_opened(cx),
        }
    }

    /// The owner is about to drop it. A server that has said all sends all of it, and then that it hears no more: h2 does
    /// so for a stream that nobody holds. But of a client's, it would throw away what has not gone out yet, so its
    /// connection keeps the stream until the server is done too, as the kernel does for a socket that was closed.
    pub(crate) fn leave(&mut self) {
        match (&self.sending, self.side) {
            (Sending::Finished(_), Side::Client) if self.waiting.is_empty() => self.leave_to_driver(),
            (Sending::Finished(_), _) => {}
            (Sending::Answer(_) | Sending::Data(_) | Sending::Over, _) => self.reset(),
        }
    }

    /// Whether all that the peer sent is had, and it has said that no more comes.
    fn has_peer_finished(&self) -> bool {
        match &self.receiving {
            Receiving::Finished => true,
            Receiving::Data(stream) => self.waiting.is_empty() && stream.is_end_stream(),
            Receiving::Answer(_) | Receiving::Broken(_) => false,
        }
    }

    /// Leaves a stream on which all has been said to its connection, if the peer may still say something.
    fn leave_to_driver(&mut self) {
        if matches!(self.receiving, Receiving::Answer(_) | Receiving::Data(_)) {
            let receiving = std::mem::replace(&mut self.receiving, Receiving::Finished);
            let sending = std::mem::replace(&mut self.sending, Sending::Over);
            self.shared.keep(Self::new(self.shared.clone(), self.side, receiving, sending));
        }
    }

    /// Ready once a stream that nobody listens to has ended, or the peer sends something.
    pub(super) fn poll_unheard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_waiting(cx).map(|_| ())
    }
}
