//! What is HBONE's own: peers that are not ours, what they may ask, and what they may not.

mod envoy;
mod peers;

use rustls::ServerConfig;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_local};
use weft_tunnel::accept::{Tunnel, accept};
use weft_tunnel::hbone::{Hbone, HboneError, Incoming};
use weft_tunnel::socket::Socket;

/// A server that accepts on `far`; its handle comes once the handshake is done.
fn serve(
    far: Socket,
    config: Arc<ServerConfig>,
    on_request: impl FnMut(Incoming) + 'static,
) -> JoinHandle<(Hbone, JoinHandle<Result<(), HboneError>>)> {
    spawn_local(async move {
        let Tunnel::Hbone(handle, driver) = accept(far, config).await.unwrap().into_tunnel() else {
            panic!("the client chose h2");
        };
        (handle, spawn_local(async move { driver.run(on_request).await }))
    })
}
