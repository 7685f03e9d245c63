//! The agent's loop, link and sockets together, in real network namespaces.

mod world;

use socket2::{SockRef, Type};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use weft_agent::actor::Input;
use weft_agent_link::{FromAgent, FromProxy, Held, ListenerKind, Pod, SocketKind};
use weft_ebpf_host::netns;
use weft_runtime::fds::{seal, unseal};
use world::{Agent, Netns, Notes, next, wanted};

fn pod(message: FromAgent) -> Option<Pod> {
    if let FromAgent::Pod(pod) = message { Some(pod) } else { None }
}

fn check_listeners(pod: &Pod, netns: &Netns) {
    let cookie = netns::netns_cookie(netns.fd()).expect("a cookie");
    assert_eq!(pod.netns_cookie, cookie);
    for (kind, port, stream) in [
        (ListenerKind::Outbound, 15001, true),
        (ListenerKind::InboundPlain, 15006, true),
        (ListenerKind::Tunnel, 15008, true),
        (ListenerKind::Dns, 15053, false),
    ] {
        let of_kind: Vec<_> = pod.listeners.iter().filter(|listener| listener.kind == kind).collect();
        assert_eq!(of_kind.len(), 2, "{kind:?}: one for each worker");
        for listener in of_kind {
            let socket = SockRef::from(&listener.socket);
            let addr = socket.local_addr().expect("an address").as_socket().expect("an address");
            assert_eq!((addr.port(), addr.is_ipv6()), (port, true), "{kind:?}");
            assert_eq!(socket.r#type().expect("a type") == Type::STREAM, stream, "{kind:?}");
            assert!(!stream || socket.is_listener().expect("asked"), "{kind:?}");
            assert!(socket.ip_transparent_v4().expect("asked"), "{kind:?}");
            assert!(socket.nonblocking().expect("asked"), "{kind:?}");
            let there = netns::socket_netns_cookie(listener.socket.as_fd()).expect("a cookie");
            assert_eq!(there, cookie, "{kind:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs root to make namespaces; run by cargo xtask test"]
async fn a_pod_gets_listeners_and_sockets_and_is_released() {
    let (folder, netns) = (tempfile::tempdir().expect("folder"), Netns::new());
    let agent = Agent::start(folder.path(), Arc::new(Notes::default()));
    let proxy = agent.proxy().await;
    let node_listeners = next(&proxy, |message| match message {
        FromAgent::NodeTunnel { listeners } => Some(listeners),
        _ => None,
    });
    assert_eq!(node_listeners.await.len(), 2);
    next(&proxy, |message| matches!(message, FromAgent::Synced).then_some(())).await;

    let wanted = wanted("a", &netns.path());
    agent.tell(std::slice::from_ref(&wanted)).await;
    let found = next(&proxy, pod).await;
    check_listeners(&found, &netns);
    assert_eq!(found.uid, wanted.uid);
    let registered = agent.notes.registered.lock().expect("no panic").len();
    assert_eq!(registered, 3, "outbound, inbound and DNS");
    assert!(
        agent.notes.joining.lock().expect("no panic").is_empty(),
        "a proxy hears of a pod that has joined"
    );

    let sockets = |message| match message {
        FromAgent::Sockets { kind, sockets, .. } => Some((kind, sockets)),
        _ => None,
    };
    let (kind, first) = next(&proxy, sockets).await;
    assert_eq!((kind, first.len()), (SocketKind::TcpV4, 4), "some come unasked");
    for kind in SocketKind::ALL {
        proxy
            .send(&FromProxy::<OwnedFd>::NeedSockets { uid: wanted.uid.clone(), kind, count: 253 })
            .await
            .expect("asked");
        let (found, sockets) = next(&proxy, sockets).await;
        assert_eq!((found, sockets.len()), (kind, 253));
        let client: SocketAddr = match kind {
            SocketKind::TcpV4 | SocketKind::UdpV4 => "203.0.113.7:4242".parse().expect("an address"),
            SocketKind::TcpV6 | SocketKind::UdpV6 => "[2001:db8::7]:4242".parse().expect("an address"),
        };
        SockRef::from(&sockets[0]).bind(&client.into()).expect("any address can be bound");
        let streams = matches!(kind, SocketKind::TcpV4 | SocketKind::TcpV6);
        let shares = |socket| SockRef::from(socket).reuse_address().expect("asked");
        assert!(sockets.iter().all(|socket| shares(socket) == streams), "datagrams share no port: {kind:?}");
    }

    agent.tell(&[]).await;
    next(&proxy, |message| matches!(message, FromAgent::PodGone { .. }).then_some(())).await;
    assert!(
        !agent.notes.captured.lock().expect("no panic").is_empty(),
        "captured until the proxy has closed"
    );
    proxy.send(&FromProxy::<OwnedFd>::PodReleased { uid: wanted.uid }).await.expect("said");
    while !agent.notes.captured.lock().expect("no panic").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[ignore = "needs root to make namespaces; run by cargo xtask test"]
async fn a_proxy_that_dies_finds_listeners_and_keys_again() {
    let (folder, netns) = (tempfile::tempdir().expect("folder"), Netns::new());
    let agent = Agent::start(folder.path(), Arc::new(Notes::default()));
    agent.tell(&[wanted("a", &netns.path())]).await;
    let proxy = agent.proxy().await;
    let before = next(&proxy, pod).await;
    let state = seal(b"keys").expect("sealed");
    proxy.send(&FromProxy::Keep { state }).await.expect("said");
    proxy.send(&FromProxy::<OwnedFd>::Ready).await.expect("said");
    let cookie = |listener: &OwnedFd| SockRef::from(listener).cookie().expect("a cookie");
    let listeners: Vec<_> = before.listeners.iter().map(|listener| cookie(&listener.socket)).collect();
    drop((proxy, before));

    let second = agent.proxy().await;
    let kept = next(&second, |message| match message {
        FromAgent::State { state } => Some(state),
        _ => None,
    });
    assert_eq!(unseal(kept.await.as_fd()).expect("read"), b"keys");
    let again = next(&second, pod).await;
    assert_eq!(
        again.listeners.iter().map(|listener| cookie(&listener.socket)).collect::<Vec<_>>(),
        listeners
    );

    let third = agent.proxy().await;
    third.send(&FromProxy::<OwnedFd>::Ready).await.expect("said");
    next(&second, |message| matches!(message, FromAgent::Superseded).then_some(())).await;
}

#[tokio::test]
#[ignore = "needs root to make namespaces; run by cargo xtask test"]
async fn an_agent_that_restarts_takes_listeners_back() {
    let (folder, netns) = (tempfile::tempdir().expect("folder"), Netns::new());
    let first = Agent::start(folder.path(), Arc::new(Notes::default()));
    first.tell(&[wanted("a", &netns.path())]).await;
    let proxy = first.proxy().await;
    let held = next(&proxy, pod).await;
    let cookie = |listener: &OwnedFd| SockRef::from(listener).cookie().expect("a cookie");
    let before: Vec<_> = held.listeners.iter().map(|listener| cookie(&listener.socket)).collect();
    let notes = first.stop().await;
    assert!(!notes.captured.lock().expect("no panic").is_empty(), "an agent that ends leaves pods captured");

    // Control is away: nobody tells the second agent of any pod.
    let second = Agent::start(folder.path(), notes);
    let proxy = second.proxy_silent().await;
    let Pod { uid, netns_cookie, listeners, .. } = held;
    proxy.send(&FromProxy::Held(Held { uid, netns_cookie, listeners })).await.expect("said");
    proxy.send(&FromProxy::<OwnedFd>::HeldEnd).await.expect("said");
    let again = next(&proxy, pod).await;
    assert_eq!(again.listeners.iter().map(|listener| cookie(&listener.socket)).collect::<Vec<_>>(), before);
    next(&proxy, |message| matches!(message, FromAgent::Synced).then_some(())).await;
}

#[tokio::test]
async fn what_the_kernel_cannot_do_is_part_of_the_status() {
    for (why, want) in [("", None), ("no such option", Some("trying it: no such option"))] {
        let folder = tempfile::tempdir().expect("folder");
        let agent = Agent::start(folder.path(), Arc::new(Notes { cannot_destroy: why, ..Notes::default() }));
        let (reply, status) = tokio::sync::oneshot::channel();
        agent.inputs.send(Input::Status(reply)).await.expect("the loop runs");
        let status = status.await.expect("an answer");
        assert_eq!(status.cannot_end_connections.as_deref(), want);
        agent.stop().await;
    }
}
