//! Tunnels of either dialect between two ends of one thread, and applications at both.

use crate::support::{configs, name, pair, run};
use rustls::ServerConfig;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_local};
use weft_tunnel::accept::{Dialect, Tunnel, accept};
use weft_tunnel::end::{Carried, End};
use weft_tunnel::hbone::{self, Hbone, Incoming};
use weft_tunnel::mux::{self, Mux, OpenRequest};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_tunnel::tls::Session;
use weft_tunnel::words::Forwarded;

/// Runs a test once for each dialect. The output of one that fails ends with the dialect that it failed for.
pub(crate) fn both<F: Future<Output = ()>>(test: impl Fn(Dialect) -> F) {
    for dialect in [Dialect::Mux, Dialect::Hbone] {
        println!("{dialect:?}");
        run(test(dialect));
    }
}

/// One end of a tunnel.
#[derive(Clone)]
pub(crate) enum Handle {
    Mux(Mux),
    Hbone(Hbone),
}

impl Handle {
    pub(crate) fn open(&self) -> Option<Stream> {
        match self {
            Self::Mux(mux) => mux.open(&open_request()).map(Stream::from),
            Self::Hbone(hbone) => hbone.open(&connect_request()).map(Stream::from),
        }
    }

    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Mux(mux) => mux.is_usable(),
            Self::Hbone(hbone) => hbone.is_usable(),
        }
    }

    pub(crate) fn stream_count(&self) -> usize {
        match self {
            Self::Mux(mux) => mux.stream_count(),
            Self::Hbone(hbone) => hbone.stream_count(),
        }
    }

    pub(crate) fn go_away(&self) {
        match self {
            Self::Mux(mux) => mux.go_away(),
            Self::Hbone(hbone) => hbone.go_away(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Self::Mux(mux) => mux.close(),
            Self::Hbone(hbone) => hbone.close(),
        }
    }
}

pub(crate) fn open_request() -> OpenRequest {
    OpenRequest { source: "10.0.0.7:4000".parse().unwrap(), connect: connect_request() }
}

pub(crate) fn connect_request() -> ConnectRequest {
    ConnectRequest {
        authority: "10.0.0.1:80".parse().unwrap(),
        baggage: Some("k8s.namespace.name=shop".to_owned()),
        forwarded: Some(Forwarded { client: Some("10.0.0.7:4000".parse().unwrap()), host: None }),
        traceparent: None,
    }
}

/// The client's end of a tunnel and the server's, whose streams go to `on_open`.
pub(crate) async fn tunnel(dialect: Dialect, on_open: impl FnMut(Stream) + 'static) -> (Handle, Handle) {
    let alpn = match dialect {
        Dialect::Mux => mux::ALPN,
        Dialect::Hbone => hbone::ALPN,
    };
    let (client_config, server_config) = configs(&[alpn]);
    let (near, far) = pair().await;
    let server = serve(far, server_config, on_open);
    let client = match dialect {
        Dialect::Mux => {
            let (session, leftover) = Session::connect(&near, client_config, name()).await.unwrap();
            let (mux, driver) = Mux::client(near, session, leftover);
            spawn_local(driver.run(|_| panic!("a server opens no streams")));
            Handle::Mux(mux)
        }
        Dialect::Hbone => Handle::Hbone(crate::support::hbone(near, client_config, name()).await.unwrap()),
    };
    (client, server.await.unwrap())
}

/// A server in the dialect that its client chooses; its handle comes once the handshake is done.
fn serve(
    far: Socket,
    config: Arc<ServerConfig>,
    mut on_open: impl FnMut(Stream) + 'static,
) -> JoinHandle<Handle> {
    spawn_local(async move {
        match accept(far, config).await.unwrap().into_tunnel() {
            Tunnel::Mux(mux, driver) => {
                spawn_local(driver.run(move |incoming| match incoming {
                    mux::Incoming::Open(got, stream) => {
                        assert_eq!(got, open_request());
                        on_open(stream.into());
                    }
                    mux::Incoming::Bad(bad) => panic!("{bad}"),
                }));
                Handle::Mux(mux)
            }
            Tunnel::Hbone(hbone, driver) => {
                spawn_local(driver.run(move |incoming| match incoming {
                    Incoming::Connect(got, stream) => {
                        assert_eq!(got, connect_request());
                        on_open(stream.into());
                    }
                    Incoming::Bad(bad) => panic!("{bad}"),
                }));
                Handle::Hbone(hbone)
            }
        }
    })
}

/// An application on each side of a new stream, and the ends of both relays.
pub(crate) struct Line {
    pub(crate) near: Socket,
    pub(crate) far: Socket,
    pub(crate) near_end: JoinHandle<(End, u64, u64)>,
    pub(crate) far_end: Rc<RefCell<Option<JoinHandle<End>>>>,
    pub(crate) carried: Rc<Carried>,
    pub(crate) client: Handle,
    pub(crate) server: Handle,
}

pub(crate) async fn line(dialect: Dialect) -> Line {
    let (far, far_proxy) = pair().await;
    let mut far_proxy = Some(far_proxy);
    let far_end = Rc::new(RefCell::new(None));
    let end = far_end.clone();
    let (client, server) = tunnel(dialect, move |mut stream| {
        let app = Rc::new(far_proxy.take().unwrap());
        stream.accept();
        let relay = async move { stream.relay(app, &Carried::default()).await };
        *end.borrow_mut() = Some(spawn_local(relay));
    })
    .await;
    let (near, near_proxy) = pair().await;
    let stream = client.open().unwrap();
    let carried = Rc::new(Carried::default());
    let meter = carried.clone();
    let near_end = spawn_local(async move {
        let end = stream.relay(Rc::new(near_proxy), &meter).await;
        (end, meter.from_app(), meter.to_app())
    });
    Line { near, far, near_end, far_end, carried, client, server }
}
