//! Dialling pods that are only just there.

use super::super::request::{NewPod, Request};
use super::*;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::mpsc;
use weft_core::names::WorkloadUid;

/// A pod, and what is asked for it.
fn pod() -> (Rc<Pod>, mpsc::Receiver<Request>) {
    let (requests, asked) = mpsc::channel(4);
    let new = NewPod { uid: WorkloadUid::new("c//Pod/shop/client"), netns_cookie: 1, listeners: Vec::new() };
    (Pod::new(0, &new, requests), asked)
}

/// Works, and makes sockets meanwhile in the test's own namespace, as the agent would.
async fn supplied<T>(pod: &Pod, asked: &mut mpsc::Receiver<Request>, work: impl Future<Output = T>) -> T {
    let fresh = |_| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket that does not wait");
        OwnedFd::from(socket)
    };
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(Request::Sockets { kind, count, .. }) = asked.recv() => {
                pod.stock.put(kind, (0..count).map(fresh).collect());
            }
        }
    }
}

/// A port that refuses, until it listens.
fn port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
    (socket, addr)
}

#[tokio::test]
async fn a_pod_that_refuses_at_first_is_asked_again() {
    let (port, to) = port();
    let (pod, mut asked) = pod();
    let connecting = supplied(&pod, &mut asked, connect_pod(&pod, to, Duration::from_secs(60)));
    tokio::pin!(connecting);
    let early = tokio::time::timeout(PAUSE_MIN * 3, &mut connecting).await;
    assert!(early.is_err(), "nobody listens yet: {early:?}");
    port.listen(1).expect("it listens");
    let socket = connecting.await.expect("somebody listens now");
    assert!(socket.local_addr().is_ok());
}

#[tokio::test]
async fn a_pod_that_goes_on_refusing_is_given_up() {
    let (_port, to) = port();
    let (pod, mut asked) = pod();
    let limit = PAUSE_MIN * 8;
    let begun = Instant::now();
    let connecting = supplied(&pod, &mut asked, connect_pod(&pod, to, limit));
    let error = connecting.await.expect_err("nobody listens");
    assert!(begun.elapsed() >= PAUSE_MIN, "it was asked more than once");
    assert!(
        matches!(&error, DialError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused),
        "{error}"
    );
    assert_eq!(error.cause(), Cause::ConnectFailed);
}

#[test]
fn a_tunnel_comes_from_an_address_that_discovery_names() {
    let addrs =
        |all: &[&str]| all.iter().map(|one| one.parse().expect("an address")).collect::<Vec<SocketAddr>>();
    for (case, own, to, want) in [
        ("one of several", &["127.0.0.7:15008"][..], "127.0.0.1:9", "127.0.0.7"),
        ("the first of the family", &["[::1]:15008", "127.0.0.9:15008"], "127.0.0.1:9", "127.0.0.9"),
        ("none of the family", &["[::1]:15008"], "127.0.0.1:9", "0.0.0.0"),
        ("one that no device has", &["192.0.2.77:15008"], "127.0.0.1:9", "0.0.0.0"),
    ] {
        let to = to.parse().expect("an address");
        let socket = host_socket(&addrs(own), to).expect("a socket");
        let from = socket.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
        assert_eq!(from.ip().to_string(), want, "{case}");
    }
}
