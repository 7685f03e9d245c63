//! Lets hyper run on a worker's own thread.

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
