//! An orderly end: the word to stop, told to everyone, and the wait for what still runs.

use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Tells all [`Stop`]s. Dropping it tells them too, so that nothing outlives its owner.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Hears the word to stop; everyone who loops has one.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// A stopper and what hears it.
pub fn channel() -> (Stopper, Stop) {
    let (tx, rx) = watch::channel(false);
    (Stopper(tx), Stop(rx))
}

impl Stopper {
    /// Tells everyone to stop; a second time does nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// One more that hears it.
    pub fn subscribe(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// True once the word was given.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when the word is given, or when nobody is left to give it. Cancel-safe.
    pub async fn requested(&mut self) {
        // A sender that is gone will never say otherwise: that is a stop as well.
        drop(self.0.wait_for(|stop| *stop).await);
    }
}

/// What asked the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, from whoever runs the process.
    Terminate,
    /// SIGINT, from a terminal.
    Interrupt,
}

/// Listens for SIGTERM and SIGINT from now on.
///
/// # Errors
/// The handlers cannot be installed.
pub fn signals() -> io::Result<impl Future<Output = Signal>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Signal::Terminate,
            _ = interrupt.recv() => Signal::Interrupt,
        }
    })
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything came to its own end.
    All,
    /// So many were still running at the deadline and were ended.
    Aborted(usize),
}

/// Waits for all tasks, at most `within`, then ends the rest. The set is empty afterwards.
pub async fn drain<T: 'static>(tasks: &mut JoinSet<T>, within: Duration) -> Drained {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(within, all).await.is_ok() {
        return Drained::All;
    }
    let aborted = tasks.len();
    tasks.shutdown().await;
    Drained::Aborted(aborted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn everyone_hears_the_word() {
        let (stopper, mut stop) = channel();
        let mut late = stopper.subscribe();
        assert!(!stop.is_requested());
        stopper.stop();
        stop.requested().await;
        late.requested().await;
        assert!(late.is_requested());
    }

    #[tokio::test]
    async fn a_stopper_that_is_gone_is_a_stop() {
        let (stopper, mut stop) = channel();
        drop(stopper);
        stop.requested().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_has_a_deadline() {
        let mut tasks = JoinSet::new();
        tasks.spawn(tokio::time::sleep(Duration::from_secs(1)));
        assert_eq!(drain(&mut tasks, Duration::from_secs(5)).await, Drained::All);

        tasks.spawn(tokio::time::sleep(Duration::from_secs(1)));
        tasks.spawn(pending());
        assert_eq!(drain(&mut tasks, Duration::from_secs(5)).await, Drained::Aborted(1));
        assert!(tasks.is_empty());
    }
}
