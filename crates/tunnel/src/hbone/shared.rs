//! What an HBONE connection's handles, streams and driver share.

use super::stream::HboneStream;
use crate::tls::Session;
use rustls_pki_types::CertificateDer;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// The connection, to all who hold it.
pub(super) struct Shared {
    pub(super) streams: Cell<usize>,
    pub(super) state: Cell<State>,
    /// Streams reset by the peer before they were answered, less those that were taken.
    pub(super) unanswered: Cell<u32>,
    pub(super) driver: RefCell<Option<Waker>>,
    /// A client's streams whose owners have said all and are gone. They count as the others do.
    pub(super) left: RefCell<Vec<HboneStream>>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// No more streams; those that are open go on.
    GoingAway,
    Over,
}

impl Shared {
    pub(super) fn new(session: &Session) -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            state: Cell::new(State::Open),
            unanswered: Cell::new(0),
            driver: RefCell::default(),
            left: RefCell::default(),
            certificates: session.peer_certificates().to_vec(),
        })
    }

    pub(super) fn become_state(&self, state: State) {
        if self.state.get() != State::Over {
            self.state.set(state);
            if let Some(driver) = self.driver.take() {
                driver.wake();
            }
        }
    }

    /// Keeps a stream until the peer has said all too.
    pub(super) fn keep(&self, stream: HboneStream) {
        if self.state.get() != State::Over {
            self.left.borrow_mut().push(stream);
            if let Some(driver) = self.driver.take() {
                driver.wake();
            }
        }
    }

    pub(super) fn poll_left(&self, cx: &mut Context<'_>) {
        self.left.borrow_mut().retain_mut(|stream| stream.poll_unheard(cx).is_pending());
    }

    pub(super) fn stream_began(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    pub(super) fn stream_ended(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
    }

    pub(super) fn stream_taken(&self) {
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
    }

    pub(super) fn reset_unanswered(&self) {
        self.unanswered.set(self.unanswered.get().saturating_add(1));
    }
}
