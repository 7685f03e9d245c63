//! A client, as its node's proxy brings it to the waypoint.

use crate::words::identity;
use crate::world::World;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task::spawn_local;
use weft_pki::{Leaf, client_config, ip_server_name, tunnel_server_name};
use weft_tunnel::accept::Dialect;
use weft_tunnel::handle::Handle;
use weft_tunnel::io::TunnelIo;
use weft_tunnel::mux::OpenRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_tunnel::words::Authority;

/// One tunnel to the waypoint.
pub(crate) struct Client {
    tunnel: Handle,
    /// Where its application connects from.
    pub(crate) source: SocketAddr,
    vips: HashMap<String, SocketAddr>,
}

/// The port of clients' applications.
pub(crate) const APP_PORT: u16 = 40_000;

/// A whole response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

impl Client {
    /// Of this name, from this address.
    pub(crate) async fn connect(world: &World, name: &str, from: IpAddr) -> Self {
        Self::connect_as(world, &world.control.leaf(&identity(name)), from, world.dialect).await
    }

    /// With these papers.
    pub(crate) async fn connect_as(world: &World, leaf: &Leaf, from: IpAddr, dialect: Dialect) -> Self {
        let to: SocketAddr = (world.ip(2), 15008).into();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = Socket::connect(socket.into(), to, crate::world::DEADLINE).await.unwrap();
        let trust = Arc::new(world.control.trust());
        let config = client_config(leaf, &trust, vec![identity("waypoint")], &[dialect.alpn()]).unwrap();
        let name = match dialect {
            Dialect::Mux => tunnel_server_name(&identity("waypoint")),
            Dialect::Hbone => ip_server_name(to.ip()),
        };
        let (tunnel, driver) = Handle::connect(socket, Arc::new(config), name).await.unwrap();
        spawn_local(async move { drop(driver.run().await) });
        let names = ["web", "a", "b", "grpc", "tcp", "dynamic"];
        let vips = names.map(|name| (name.to_owned(), world.vip(name))).into();
        Self { tunnel, source: (from, APP_PORT).into(), vips }
    }

    /// Asks for something, whoever it is that asks.
    pub(crate) fn open(&self, to: Authority) -> Stream {
        let request = OpenRequest { source: self.source, connect: to.into() };
        self.tunnel.open(&request).expect("the tunnel takes streams")
    }

    /// Whether the tunnel takes streams.
    pub(crate) fn is_usable(&self) -> bool {
        self.tunnel.is_usable()
    }

    /// A connection to a service, of nothing but bytes. What refuses it is met when it is read.
    pub(crate) async fn raw(&self, service: &str) -> TunnelIo {
        self.raw_at(self.vips[service]).await
    }

    /// The same to an address.
    pub(crate) async fn raw_at(&self, addr: SocketAddr) -> TunnelIo {
        self.open(Authority::Addr(addr)).into_io()
    }

    pub(crate) async fn http1<B>(&self, service: &str) -> hyper::client::conn::http1::SendRequest<B>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let io = TokioIo::new(self.raw(service).await);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        sender
    }

    pub(crate) async fn http2<B>(&self, service: &str) -> hyper::client::conn::http2::SendRequest<B>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let io = TokioIo::new(self.raw(service).await);
        let (sender, connection) = hyper::client::conn::http2::handshake(LocalExecutor, io).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        sender
    }

    /// Asks by HTTP/1.1, on a connection of its own.
    pub(crate) async fn ask(&self, service: &str, request: Request<Full<Bytes>>) -> Answer {
        let mut sender = self.http1(service).await;
        whole(sender.send_request(request).await.expect("a response")).await
    }

    pub(crate) async fn get(&self, service: &str, path: &str) -> Answer {
        self.ask(service, get(path, &[])).await
    }
}

pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut builder = Request::get(path).version(Version::HTTP_11).header("host", "web.shop");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::default()).unwrap()
}

pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body");
    let trailers = body.trailers().cloned();
    Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
}
