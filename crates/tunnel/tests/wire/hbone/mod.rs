//! HBONE over real TLS and real sockets.

mod carry;
mod envoy;
mod peers;

use crate::support::{configs, name, pair};
use rustls::ServerConfig;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_local};
use weft_tunnel::accept::{Tunnel, accept};
use weft_tunnel::end::{Carried, End};
use weft_tunnel::hbone::{ALPN, Hbone, HboneError, HboneStream, Incoming};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_tunnel::words::Forwarded;

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

/// A client's connection, the server's handle, and a server whose streams go to `on_open`.
async fn tunnel(mut on_open: impl FnMut(ConnectRequest, HboneStream) + 'static) -> (Hbone, Hbone) {
    let (client_config, server_config) = configs(&[ALPN]);
    let (near, far) = pair().await;
    let server = serve(far, server_config, move |incoming| match incoming {
        Incoming::Connect(request, stream) => on_open(request, stream),
        Incoming::Bad(bad) => panic!("{bad}"),
    });
    let (client, driver) = Hbone::connect(near, client_config, name()).await.unwrap();
    spawn_local(driver.run());
    (client, server.await.unwrap().0)
}

fn request() -> ConnectRequest {
    ConnectRequest {
        authority: "10.0.0.1:80".parse().unwrap(),
        baggage: Some("k8s.namespace.name=shop".to_owned()),
        forwarded: Some(Forwarded { client: Some("10.0.0.7:4000".parse().unwrap()), host: None }),
        traceparent: None,
    }
}

/// An application on each side of a new stream, and the ends of both relays.
struct Line {
    near: Socket,
    far: Socket,
    near_end: JoinHandle<(End, u64, u64)>,
    far_end: Rc<RefCell<Option<JoinHandle<End>>>>,
    carried: Rc<Carried>,
    client: Hbone,
    server: Hbone,
}

async fn line() -> Line {
    let (far, far_proxy) = pair().await;
    let mut far_proxy = Some(far_proxy);
    let far_end = Rc::new(RefCell::new(None));
    let end = far_end.clone();
    let (client, server) = tunnel(move |got, mut stream| {
        assert_eq!(got, request());
        let app = Rc::new(far_proxy.take().unwrap());
        stream.accept();
        let relay = async move { Stream::from(stream).relay(app, &Carried::default()).await };
        *end.borrow_mut() = Some(spawn_local(relay));
    })
    .await;
    let (near, near_proxy) = pair().await;
    let stream = Stream::from(client.open(&request()).unwrap());
    let carried = Rc::new(Carried::default());
    let meter = carried.clone();
    let near_end = spawn_local(async move {
        let end = stream.relay(Rc::new(near_proxy), &meter).await;
        (end, meter.from_app(), meter.to_app())
    });
    Line { near, far, near_end, far_end, carried, client, server }
}
