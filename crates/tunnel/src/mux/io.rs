//! The bytes of a mux stream for who takes them in this process (`crate::io`) instead of an application's socket.

use super::frame::{DATA_BYTES_MAX, Kind};
use super::state::State;
use super::stream::{MuxStream, Sent};
use super::stream_state::{Owner, Remote, StreamState};
use crate::end::Broken;
use bytes::Bytes;
use std::cell::RefMut;
use std::io::IoSlice;
use std::task::{Context, Poll, Waker, ready};

impl MuxStream {
    /// Lets `take` have the bytes that wait, and returns how many it took; zero if no more come. Credit for them is
    /// given back as they are taken. What came before a reset is had first, as from a socket.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<Result<usize, Broken>> {
        let mut state = ready!(self.poll_waiting(cx))?;
        let count = take(state.waiting.rest());
        if count > 0 {
            state.taken(count, &mut self.mux.0.state.borrow_mut().outgoing);
        }
        Poll::Ready(Ok(count))
    }

    /// Takes all bytes that wait, without a copy; none if no more come.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        let mut state = ready!(self.poll_waiting(cx))?;
        let bytes = state.waiting.take_all();
        if !bytes.is_empty() {
            state.delivered(bytes.len(), &mut self.mux.0.state.borrow_mut().outgoing);
        }
        Poll::Ready(Ok(bytes))
    }

    /// Ready once the peer has reset the stream, or the tunnel has broken, whatever waits to be read.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let mut state = self.state.borrow_mut();
        if let Some(broken) = state.remote.broken() {
            return Poll::Ready(broken);
        }
        remember(&mut state.task, cx);
        Poll::Pending
    }

    /// Ready once bytes wait, or no more come.
    fn poll_waiting(&self, cx: &Context<'_>) -> Poll<Result<RefMut<'_, StreamState>, Broken>> {
        let mut state = self.state.borrow_mut();
        let finished = matches!(state.remote, Remote::Finished | Remote::FinishedReset);
        if !state.waiting.is_empty() || finished {
            return Poll::Ready(Ok(state));
        }
        if let Some(broken) = state.remote.broken() {
            return Poll::Ready(Err(broken));
        }
        remember(&mut state.task, cx);
        Poll::Pending
    }

    /// Takes bytes into the batch that goes out next, as far as credit and the batch have room, and returns how many.
    pub(crate) fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.check_sending()?;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let length = from.iter().map(|slice| slice.len()).sum::<usize>();
        let max = length.min(state.send_credit as usize).min(DATA_BYTES_MAX);
        if max == 0 && length > 0 {
            remember(&mut state.writer, cx); // CREDIT wakes it.
            return Poll::Pending;
        }
        let mut mux = self.mux.0.state.borrow_mut();
        let Some(room) = mux.outgoing.data_room(max, &mut state.place, cx.waker()) else {
            remember(&mut state.writer, cx); // The stream's end does not wait for room.
            return Poll::Pending;
        };
        if room > 0 {
            mux.outgoing.push_data(state.id, from, room);
            // At most the credit, which is a u32.
            state.send_credit -= room as u32;
        }
        Poll::Ready(Ok(room))
    }

    /// Says that no more bytes come. A peer that has said all and was gone then need not hear it.
    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        if self.sent == Sent::Finished || self.state.borrow().remote == Remote::FinishedReset {
            return Ok(());
        }
        self.check_sending()?;
        self.say(Kind::Fin, &[]);
        self.sent = Sent::Finished;
        Ok(())
    }

    fn check_sending(&self) -> Result<(), Broken> {
        if let Some(broken) = self.state.borrow().remote.broken() {
            return Err(broken);
        }
        let State { table, .. } = &*self.mux.0.state.borrow();
        match self.sent {
            _ if table.over => Err(Broken::Lost),
            Sent::Nothing | Sent::Open => Ok(()),
            Sent::Finished => Err(Broken::Closed),
            Sent::Over => Err(Broken::Reset),
        }
    }

    /// The owner is about to drop it. If all has been said, the connection goes on with the stream until the peer is
    /// done too: a reset would overtake what is still on its way to the peer's application.
    pub(crate) fn leave(&mut self) {
        let mut state = self.state.borrow_mut();
        let is_open = matches!(state.remote, Remote::Silent | Remote::Open);
        if self.sent == Sent::Finished && is_open && state.waiting.is_empty() {
            state.owner = Owner::Gone;
        }
    }
}

fn remember(known: &mut Option<Waker>, cx: &Context<'_>) {
    match known {
        Some(known) => known.clone_from(cx.waker()),
        None => *known = Some(cx.waker().clone()),
    }
}
