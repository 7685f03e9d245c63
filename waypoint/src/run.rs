//! Runs one worker: a thread with a listener of its own.

use crate::inbound;
use crate::standing::Standing;
use crate::worker::{Knowledge, Worker};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use weft_runtime::drain::Stop;
use weft_tunnel::socket::Socket;

/// What is due from time to time is done so often.
const TICK: Duration = Duration::from_secs(1);
/// The pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Questions how a worker's endpoints stand.
pub(crate) type Asks = mpsc::Receiver<oneshot::Sender<Vec<Standing>>>;

/// Runs a worker until it is told to stop and has drained.
///
/// # Errors
/// If it has no listener.
pub(crate) fn run(
    knowledge: Knowledge,
    index: usize,
    listen: SocketAddr,
    asks: Asks,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let drain = knowledge.limits.drain;
    runtime.block_on(local.run_until(async move {
        let listener = TcpListener::from_std(listener(listen)?)?;
        let worker = Worker::new(knowledge, index);
        let following = worker.clone();
        spawn_local(async move { following.follow().await });
        let ticking = worker.clone();
        spawn_local(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                ticking.tick();
            }
        });
        let telling = worker.clone();
        spawn_local(async move { tell(&telling, asks).await });
        let accepting = accept(worker.clone(), listener);
        tokio::select! {
            () = accepting => {}
            () = stop.requested() => {}
        }
        // The listener is closed: new connections go to other instances, or are refused at once.
        worker.ending.begin();
        match worker.ending.finish(drain).await {
            0 => tracing::info!(worker = index, "drained"),
            left => tracing::warn!(worker = index, left, ?drain, "ending connections that are still open"),
        }
        worker.telemetry.cut();
        worker.tick();
        Ok(())
    }))
}

/// Tells whoever asks how its endpoints stand.
async fn tell(worker: &Worker, mut asks: Asks) {
    while let Some(ask) = asks.recv().await {
        // Who has not waited needs no answer.
        drop(ask.send(worker.standings()));
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                let addr = weft_core::names::canonical(addr);
                // It is one already, and stays registered only once.
                let socket = stream
                    .set_nodelay(true)
                    .and_then(|()| stream.into_std())
                    .and_then(Socket::from_nonblocking);
                match socket {
                    Ok(socket) => drop(spawn_local(inbound::serve(worker.clone(), socket, addr))),
                    Err(error) => tracing::debug!(%addr, %error, "a peer's connection was lost at once"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One of several listeners on the port: the kernel spreads connections over the workers.
fn listener(addr: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
