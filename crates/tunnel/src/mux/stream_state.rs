//! What a mux connection knows of one stream: what waits, how much may be under way, and what the peer has said.

use super::frame::{BadFrame, CREDIT_INITIAL, CREDIT_MAX, CREDIT_STEP, Kind};
use super::outgoing::{Outgoing, Place};
use super::waiting::Waiting;
use crate::end::{Broken, Refused};
use crate::socket::Socket;
use std::cell::Cell;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::Waker;

/// One stream, shared by the connection's driver and the stream's own task.
pub(super) struct StreamState {
    pub(super) id: u32,
    /// The application's socket, once there is one and until it has been told that no more bytes come.
    pub(super) app: Option<Rc<Socket>>,
    /// Received, and not yet written to the application.
    pub(super) waiting: Waiting,
    /// What the peer may still send.
    receive_credit: u32,
    /// What may be under way towards the application in all: grows while it takes what comes.
    window: u32,
    /// Written to the application and not yet given back as credit.
    unreported: u32,
    /// What this side may still send.
    pub(super) send_credit: u32,
    /// Where it waits for room in the batch.
    pub(super) place: Place,
    pub(super) remote: Remote,
    /// Bytes that reached the application; the relay's owner looks at it at any time.
    pub(super) delivered: Rc<Cell<u64>>,
    /// Who carries it, or reads from it.
    pub(super) task: Option<Waker>,
    /// Who writes to it and waits, if no application's socket is read for it.
    pub(super) writer: Option<Waker>,
    pub(super) owner: Owner,
}

/// Whether somebody in this process still has the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Here,
    /// All has been said, and nobody wants to know what the peer still says, as behind a socket that was closed.
    Gone,
}

/// What the peer has said of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remote {
    /// Nothing yet (the client before OPENED).
    Silent,
    /// It is carried.
    Open,
    /// No more bytes come.
    Finished,
    /// It was reset.
    Reset,
    /// No more bytes come, and then it was reset: it takes none either.
    FinishedReset,
    /// It was refused.
    Refused(Refused),
    /// The connection beneath is gone.
    Lost,
    /// The connection beneath is gone, and the server had not said a word.
    LostUnopened,
    /// The application's socket failed while the driver wrote to it.
    AppFailed,
}

impl Remote {
    /// What the peer's RESET makes of it.
    pub(super) fn reset(self) -> Self {
        match self {
            Self::Finished | Self::FinishedReset => Self::FinishedReset,
            _ => Self::Reset,
        }
    }

    /// Why nothing goes on, if so.
    pub(super) const fn broken(self) -> Option<Broken> {
        match self {
            Self::Silent | Self::Open | Self::Finished => None,
            Self::Reset | Self::FinishedReset => Some(Broken::Reset),
            Self::Refused(why) => Some(Broken::Refused(why)),
            // Only a relay has an application, and it tells its own story of it.
            Self::Lost | Self::AppFailed => Some(Broken::Lost),
            Self::LostUnopened => Some(Broken::Unopened),
        }
    }
}

impl StreamState {
    pub(super) fn new(id: u32, remote: Remote) -> Self {
        Self {
            id,
            app: None,
            waiting: Waiting::default(),
            receive_credit: CREDIT_INITIAL,
            window: CREDIT_INITIAL,
            unreported: 0,
            send_credit: CREDIT_INITIAL,
            place: Place::default(),
            remote,
            delivered: Rc::default(),
            task: None,
            writer: None,
            owner: Owner::Here,
        }
    }

    pub(super) fn wake(&mut self) {
        for task in [self.task.take(), self.writer.take()].into_iter().flatten() {
            task.wake();
        }
    }

    /// Bytes have reached the application: the peer may send as many more, and if the application took all at once,
    /// even more than that.
    pub(super) fn delivered(&mut self, bytes: usize, outgoing: &mut Outgoing) {
        self.delivered.set(self.delivered.get() + bytes as u64);
        // Never more than the window, which is a u32.
        self.unreported += bytes as u32;
        if self.unreported < CREDIT_STEP.max(self.window / 8) || self.remote != Remote::Open {
            return;
        }
        let mut step = std::mem::take(&mut self.unreported);
        if self.waiting.is_empty() && self.window < CREDIT_MAX {
            let more = step.min(CREDIT_MAX - self.window);
            self.window += more;
            step += more;
        }
        self.receive_credit += step;
        outgoing.push(Kind::Credit, self.id, &step.to_be_bytes());
    }

    /// Whether so many bytes are the application's. They count against the credit.
    pub(super) fn takes(&mut self, bytes: usize) -> Result<bool, BadFrame> {
        if !matches!(self.remote, Remote::Open | Remote::Silent) {
            return Ok(false);
        }
        // At most a record's payload.
        let credit = self.receive_credit.checked_sub(bytes as u32);
        self.receive_credit = credit.ok_or(BadFrame::Credit(self.id))?;
        Ok(true)
    }

    /// Writes bytes to the application from where they lie, as far as it takes them now, and keeps the rest.
    pub(super) fn deliver(&mut self, slices: &[IoSlice<'_>], outgoing: &mut Outgoing) {
        let mut taken = 0;
        // What waited before waits for the application; its task is in charge.
        if let Some(app) = self.app.as_ref().filter(|_| self.waiting.is_empty()) {
            match app.write_now(slices) {
                Ok(count) => taken = count,
                Err(_) => {
                    self.remote = Remote::AppFailed;
                    self.wake();
                    return;
                }
            }
        }
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        if taken < all && !self.waiting.has_room(all - taken) {
            tracing::warn!(
                "too many bytes wait for applications that do not take them: a connection is reset"
            );
            self.waiting.clear();
            self.remote = Remote::AppFailed;
            self.wake();
            return;
        }
        let mut skip = taken;
        for slice in slices {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            self.waiting.push(&slice[skipped..]);
        }
        if !self.waiting.is_empty()
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
        if taken > 0 {
            self.delivered(taken, outgoing);
        }
    }

    /// The application has taken so many of the bytes that waited.
    pub(super) fn taken(&mut self, bytes: usize, outgoing: &mut Outgoing) {
        self.waiting.take(bytes);
        self.delivered(bytes, outgoing);
    }
}
