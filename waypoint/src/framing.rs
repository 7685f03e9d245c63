//! What the gate asks of a protocol: how far a client has come with what it sends, and whether it may go on.

/// What a connection is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing: the next request has not begun.
    Between,
    /// A request's head.
    Head,
    /// A request's body.
    Body,
}

/// Follows what a client sends.
pub(crate) trait Framing {
    /// What the connection is in the middle of.
    fn phase(&self) -> Phase;

    /// Takes in the next bytes, before hyper sees them.
    ///
    /// # Errors
    /// [`Abuse`]: the connection is over.
    fn pass(&mut self, bytes: &mut [u8]) -> Result<(), Abuse>;

    /// So many bytes went back.
    fn written(&mut self, _bytes: usize) {}
}

/// What nobody does who wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Abuse(pub(crate) &'static str);
