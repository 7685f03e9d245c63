//! A stream's bytes in this process: what holds in both dialects.

mod backpressure;
mod bytes;
mod ends;
mod http;
mod strangers;

use crate::support::{configs, name, pair};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use weft_tunnel::accept::{Dialect, Tunnel, accept};
use weft_tunnel::hbone::{self, Hbone};
use weft_tunnel::io::TunnelIo;
use weft_tunnel::mux::{self, Mux, OpenRequest};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::stream::Stream;
use weft_tunnel::tls::Session;
use weft_tunnel::words::Authority;

const DIALECTS: [Dialect; 2] = [Dialect::Mux, Dialect::Hbone];

/// One end of a tunnel.
enum Handle {
    Mux(Mux),
    Hbone(Hbone),
}

impl Handle {
    fn open(&self) -> Stream {
        let connect: ConnectRequest = "web.shop:80".parse::<Authority>().unwrap().into();
        match self {
            Self::Mux(mux) => {
                mux.open(&OpenRequest { source: "10.0.0.1:4000".parse().unwrap(), connect }).unwrap().into()
            }
            Self::Hbone(hbone) => hbone.open(&connect).unwrap().into(),
        }
    }

    fn close(&self) {
        match self {
            Self::Mux(mux) => mux.close(),
            Self::Hbone(hbone) => hbone.close(),
        }
    }

    fn stream_count(&self) -> usize {
        match self {
            Self::Mux(mux) => mux.stream_count(),
            Self::Hbone(hbone) => hbone.stream_count(),
        }
    }
}

/// Both ends of a tunnel, and the streams that arrive at the server.
struct Line {
    client: Handle,
    server: Handle,
    arriving: mpsc::Receiver<Stream>,
}

impl Line {
    async fn new(dialect: Dialect) -> Self {
        let alpn = match dialect {
            Dialect::Mux => mux::ALPN,
            Dialect::Hbone => hbone::ALPN,
        };
        let (client_config, server_config) = configs(&[alpn]);
        let (near, far) = pair().await;
        let (client, server) =
            tokio::join!(Session::connect(&near, client_config, name()), accept(far, server_config));
        let (session, leftover) = client.unwrap();
        let client = match dialect {
            Dialect::Mux => {
                let (mux, driver) = Mux::client(near, session, leftover);
                spawn_local(driver.run(|_| panic!("a server opens no streams")));
                Handle::Mux(mux)
            }
            Dialect::Hbone => {
                let (hbone, driver) = Hbone::client(near, session, leftover).await.unwrap();
                spawn_local(driver.run());
                Handle::Hbone(hbone)
            }
        };
        let (streams, arriving) = mpsc::channel(2_000);
        Self { client, server: serve(server.unwrap().into_tunnel(), streams), arriving }
    }

    /// A new stream's two ends. The server has not answered yet.
    async fn stream(&mut self) -> (Stream, Stream) {
        let near = self.client.open();
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

fn serve(tunnel: Tunnel, streams: mpsc::Sender<Stream>) -> Handle {
    let arrived = move |stream: Stream| streams.try_send(stream).unwrap_or_else(|_| panic!("too many"));
    match tunnel {
        Tunnel::Mux(mux, driver) => {
            spawn_local(driver.run(move |incoming| match incoming {
                mux::Incoming::Open(_, stream) => arrived(stream.into()),
                mux::Incoming::Bad(bad) => panic!("{bad}"),
            }));
            Handle::Mux(mux)
        }
        Tunnel::Hbone(hbone, driver) => {
            spawn_local(driver.run(move |incoming| match incoming {
                hbone::Incoming::Connect(_, stream) => arrived(stream.into()),
                hbone::Incoming::Bad(bad) => panic!("{bad}"),
            }));
            Handle::Hbone(hbone)
        }
    }
}
