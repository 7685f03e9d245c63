//! A stream's bytes in this process: what holds in both dialects.

mod backpressure;
mod bytes;
mod ends;
mod http;
mod strangers;

use crate::tunnels::{Handle, tunnel};
use tokio::sync::mpsc;
use weft_tunnel::accept::Dialect;
use weft_tunnel::io::TunnelIo;
use weft_tunnel::stream::Stream;

const DIALECTS: [Dialect; 2] = [Dialect::Mux, Dialect::Hbone];

/// Both ends of a tunnel, and the streams that arrive at the server.
struct Line {
    client: Handle,
    server: Handle,
    arriving: mpsc::Receiver<Stream>,
}

impl Line {
    async fn new(dialect: Dialect) -> Self {
        let (streams, arriving) = mpsc::channel(2_000);
        let arrived = move |stream| streams.try_send(stream).unwrap_or_else(|_| panic!("too many"));
        let (client, server) = tunnel(dialect, arrived).await;
        Self { client, server, arriving }
    }

    /// A new stream's two ends. The server has not answered yet.
    async fn stream(&mut self) -> (Stream, Stream) {
        let near = self.client.open().unwrap();
        (near, self.arriving.recv().await.unwrap())
    }

    /// A new stream's two ends, accepted.
    async fn ios(&mut self) -> (TunnelIo, TunnelIo) {
        let (near, far) = self.stream().await;
        (near.into_io(), far.into_io())
    }

    /// Waits until both sides have forgotten all streams.
    async fn settle(&self, case: &str) {
        for _ in 0..2_000 {
            if self.client.stream_count() + self.server.stream_count() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        panic!("{case}: {} and {} are left", self.client.stream_count(), self.server.stream_count());
    }
}
