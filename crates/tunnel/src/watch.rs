//! Watches a socket that is not read from, because what it has to say finds no room or all has been said: nobody would hear
//! of its reset otherwise until it is written to.

use crate::socket::Socket;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The watch over a socket. It costs nothing before it is first asked.
pub(crate) struct Watch<'a> {
    socket: &'a Socket,
    failed: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
}

impl<'a> Watch<'a> {
    pub(crate) const fn over(socket: &'a Socket) -> Self {
        Self { socket, failed: None }
    }

    /// Ready once the socket has failed. Not to be asked again then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let socket = self.socket;
        self.failed.get_or_insert_with(|| Box::pin(socket.failed())).as_mut().poll(cx)
    }
}
