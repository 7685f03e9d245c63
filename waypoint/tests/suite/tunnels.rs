//! How backends in the mesh are reached: in which dialect of the tunnel, and for whom.

use crate::backend::Backend;
use crate::client::{APP_PORT, Client};
use crate::words::{identity, workload};
use crate::world::{World, all_to, eventually, in_both, run};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use weft_core::service::AppProtocol;
use weft_core::workload::{NodeTunnel, TunnelPlace, TunnelProtocol, Workload};
use weft_pki::{live_trust, server_config};
use weft_tunnel::accept::{ALPNS, Dialect, Tunnel, accept};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_tunnel::{hbone, mux};

/// What came to a pod.
struct Came {
    dialect: Dialect,
    /// Where its tunnel comes from.
    from: IpAddr,
    /// For whom the peer says that it speaks, where the dialect says it.
    source: Option<IpAddr>,
    request: ConnectRequest,
}

/// A pod whose proxy speaks these dialects; a Weft node's speaks both at its pods' own addresses.
async fn serve_pod(world: &World, backend: Backend, spoken: &[&[u8]]) -> mpsc::Receiver<Came> {
    let listener = TcpListener::bind((world.ip(10), 15008)).await.unwrap();
    let leaf = Arc::new(world.control.leaf(&identity("pod")));
    let (_writer, trust) = live_trust(world.control.trust());
    let config = Arc::new(server_config(leaf, trust, spoken).unwrap());
    let (tx, came) = mpsc::channel(16);
    spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let socket = Socket::from_nonblocking(stream.into_std().unwrap()).unwrap();
            let accepted = accept(socket, config.clone()).await.unwrap();
            let (tx, backend, from) = (tx.clone(), backend.clone(), peer.ip());
            let take = move |source, dialect, request, stream: Stream| {
                assert!(tx.try_send(Came { dialect, from, source, request }).is_ok(), "room for what came");
                spawn_local(backend.clone().serve_here(TokioIo::new(stream.into_io())));
            };
            match accepted.into_tunnel() {
                Tunnel::Hbone(_, driver) => spawn_local(async move {
                    let driven = driver.run(move |incoming| match incoming {
                        hbone::Incoming::Connect(request, stream) => {
                            take(None, Dialect::Hbone, request, stream.into());
                        }
                        hbone::Incoming::Bad(error) => panic!("no CONNECT: {error:?}"),
                    });
                    drop(driven.await);
                }),
                Tunnel::Mux(_, driver) => spawn_local(async move {
                    let driven = driver.run(move |incoming| match incoming {
                        mux::Incoming::Open(request, stream) => {
                            take(Some(request.source.ip()), Dialect::Mux, request.connect, stream.into());
                        }
                        mux::Incoming::Bad(error) => panic!("no OPEN: {error:?}"),
                    });
                    drop(driven.await);
                }),
            };
        }
    });
    came
}

/// A pod of a service in the mesh whose node speaks these versions of Weft's own dialect.
fn pod(world: &World, service: &str, versions: Option<Vec<u16>>) -> Workload {
    let place = TunnelPlace::Node(vec![(world.ip(11), 15008).into()]);
    let node_tunnel = versions.map(|versions| NodeTunnel { place, versions });
    Workload { node_tunnel, ..workload("pod", world.ip(10), service, TunnelProtocol::Hbone) }
}

#[test]
fn a_backend_is_reached_in_the_dialect_that_its_node_speaks_and_learns_who_asks() {
    in_both(|dialect| async move {
        for (case, versions, spoken, want) in [
            ("Weft", Some(vec![1]), &ALPNS[..], Dialect::Mux),
            ("a later Weft as well", Some(vec![1, 2]), &ALPNS[..], Dialect::Mux),
            ("older than its annotation", Some(vec![1]), &[hbone::ALPN], Dialect::Hbone),
            ("a version that is not known here", Some(vec![2]), &ALPNS[..], Dialect::Hbone),
            ("none of its own", Some(vec![]), &ALPNS[..], Dialect::Hbone),
            ("another mesh's", None, &ALPNS[..], Dialect::Hbone),
        ] {
            let world = World::start().await.spoken_to_in(dialect);
            world.put_workload(&pod(&world, "web", versions));
            let mut came = serve_pod(&world, Backend::named("pod"), spoken).await;
            world.routes("web", &all_to("web")).await;
            let client = world.client().await;
            assert_eq!(client.get("web", "/").await.text(), "pod", "{case}");
            let first = came.recv().await.unwrap();
            assert_eq!(first.dialect, want, "{case}");
            // Nobody believes a peer that speaks for others in its own dialect: the client stands in `forwarded`.
            let own = (want == Dialect::Mux).then_some(first.from);
            assert_eq!(first.source, own, "{case}");
            // Connections of HTTP are for all of a client's.
            assert_eq!(named(&first), Some((world.ip(1), 0).into()), "{case}");
        }
    });
}

fn named(came: &Came) -> Option<SocketAddr> {
    came.request.forwarded.as_ref().and_then(|forwarded| forwarded.client)
}

#[test]
fn a_connection_of_bytes_comes_from_its_clients_own_port_where_that_is_told() {
    in_both(|dialect| async move {
        let world = World::start().await.spoken_to_in(dialect);
        world.put_service("tcp", AppProtocol::Tcp);
        world.put_workload(&pod(&world, "tcp", Some(vec![1])));
        let mut came = serve_pod(&world, Backend::named("pod"), &ALPNS).await;
        let client = world.client().await;
        eventually(|| async {
            let mut io = client.raw("tcp").await;
            let asked = io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            (asked.is_ok() && io.read_u8().await.is_ok()).then_some(())
        })
        .await;
        let port = if dialect == Dialect::Mux { APP_PORT } else { 0 };
        assert_eq!(named(&came.recv().await.unwrap()), Some((world.ip(1), port).into()));
    });
}

#[test]
fn one_clients_requests_do_not_go_where_anothers_name_stands() {
    in_both(|dialect| async move {
        let world = World::start().await.spoken_to_in(dialect);
        world.put_workload(&pod(&world, "web", Some(vec![1])));
        let mut came = serve_pod(&world, Backend::named("pod"), &ALPNS).await;
        world.put_workload(&workload("other", world.ip(3), "", TunnelProtocol::Hbone));
        world.routes("web", &all_to("web")).await;
        for (name, host) in [("client", 1), ("other", 3)] {
            let client = Client::connect(&world, name, world.ip(host)).await;
            eventually(|| async { (client.get("web", "/").await.text() == "pod").then_some(()) }).await;
            assert_eq!(named(&came.recv().await.unwrap()), Some((world.ip(host), 0).into()), "{name}");
        }
    });
}

#[test]
fn a_tunnel_outlives_a_change_of_what_the_node_speaks() {
    run(async {
        let world = World::start().await;
        let mut came = serve_pod(&world, Backend::named("pod"), &ALPNS).await;
        for (versions, want) in [(None, Dialect::Hbone), (Some(vec![1]), Dialect::Mux)] {
            world.put_workload(&pod(&world, "web", versions));
            world.traffic("web", &all_to("web"), &json!({"settings": {}})).await;
            // A connection of HTTP that is open goes on as it is; a client that is new gets a new one.
            let (name, host) = if want == Dialect::Mux { ("other", 3) } else { ("client", 1) };
            world.put_workload(&workload(name, world.ip(host), "", TunnelProtocol::Hbone));
            let client = Client::connect(&world, name, world.ip(host)).await;
            eventually(|| async { (client.get("web", "/").await.text() == "pod").then_some(()) }).await;
            assert_eq!(came.recv().await.unwrap().dialect, want);
        }
    });
}
