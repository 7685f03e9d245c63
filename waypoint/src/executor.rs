//! Lets hyper run on a worker's own thread.

use crate::streams::{Guarded, Stream, Streams};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::task::spawn_local;

/// Runs what hyper wants to run beside a connection on this worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// The same for a client's connection of HTTP/2: what hyper runs there are its streams, and each can be ended.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    streams: Rc<Streams>,
    /// hyper asks for a request's service, and in the next moment runs its stream.
    next: Rc<RefCell<Option<Rc<Stream>>>>,
}

impl StreamExecutor {
    /// On a worker that has these streams.
    pub(crate) fn new(streams: Rc<Streams>) -> Self {
        Self { streams, next: Rc::default() }
    }

    /// The stream of the request whose service is asked for now.
    pub(crate) fn begin(&self) -> Rc<Stream> {
        let stream = Rc::<Stream>::default();
        *self.next.borrow_mut() = Some(stream.clone());
        stream
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let stream = self.next.take().unwrap_or_default();
        spawn_local(Guarded::new(&self.streams, stream, future));
    }
}
