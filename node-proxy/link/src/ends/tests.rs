//! Handshakes that work and that do not, and messages over a real socket.

use super::*;
use crate::messages::SocketKind;
use std::os::fd::OwnedFd;
use weft_core::names::WorkloadUid;
use weft_runtime::fds::{SeqListener, seal, unseal};

fn me() -> TrustedUid {
    let (one, _other) = SeqPacket::pair().expect("pair");
    TrustedUid(one.peer().expect("peer").uid)
}

async fn joined() -> (AgentEnd, ProxyEnd) {
    let (one, other) = SeqPacket::pair().expect("pair");
    let node = NodeName::new("node-a");
    let agent = AgentEnd::handshake(one, me(), &node);
    let proxy = ProxyEnd::handshake(other, me(), Workers::clamped(2));
    let (agent, proxy) = tokio::join!(agent, proxy);
    let ((agent, greeting), (proxy, welcome)) = (agent.expect("agent"), proxy.expect("proxy"));
    assert_eq!(greeting, Greeting { version: 1, workers: Workers::clamped(2), pid: std::process::id() });
    assert_eq!(welcome, Welcome { version: 1, node });
    (agent, proxy)
}

#[tokio::test]
async fn messages_and_descriptors_go_both_ways() {
    let (agent, proxy) = joined().await;
    let state = seal(b"keys").expect("sealed");
    proxy.send(&FromProxy::Keep { state: state.as_fd() }).await.expect("sent");
    let Ok(Some(FromProxy::Keep { state: kept })) = agent.recv().await else { panic!("no state") };
    agent.send(&FromAgent::State { state: &kept }).await.expect("sent");
    let Ok(Some(FromAgent::State { state: back })) = proxy.recv().await else { panic!("no state") };
    assert_eq!(unseal(back.as_fd()).expect("read"), b"keys");

    let uid = WorkloadUid::new("a");
    let need = FromProxy::<OwnedFd>::NeedSockets { uid: uid.clone(), kind: SocketKind::TcpV4, count: 3 };
    proxy.send(&need).await.expect("sent");
    assert!(matches!(agent.recv().await, Ok(Some(FromProxy::NeedSockets { count: 3, .. }))));
    drop(agent);
    assert!(proxy.recv().await.expect("end").is_none());
}

#[tokio::test]
async fn a_later_kind_is_passed_over_if_it_is_optional() {
    let (one, other) = SeqPacket::pair().expect("pair");
    let (agent, proxy) = (AgentEnd(one), other);
    proxy.send(br#"{"kind":"later","optional":true}"#, &[]).await.expect("sent");
    proxy.send(br#"{"kind":"ready","body":{}}"#, &[]).await.expect("sent");
    proxy.send(br#"{"kind":"later"}"#, &[]).await.expect("sent");
    assert!(matches!(agent.recv().await, Ok(Some(FromProxy::Ready))));
    assert!(matches!(agent.recv().await, Err(RecvError::Decode(DecodeError::UnknownKind { .. }))));
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let other_user = TrustedUid(me().0 + 1);
    let (one, other) = SeqPacket::pair().expect("pair");
    let refused = ProxyEnd::handshake(one, other_user, Workers::clamped(1)).await;
    assert!(matches!(refused, Err(HandshakeError::WrongUser { .. })));
    // Root is the proxy's user's better; anyone else than the two is refused.
    let refused = AgentEnd::handshake(other, other_user, &NodeName::new("n")).await;
    if me() == TrustedUid::ROOT {
        assert!(matches!(refused, Err(HandshakeError::Closed)));
    } else {
        assert!(matches!(refused, Err(HandshakeError::WrongUser { .. })));
    }
}

#[tokio::test]
async fn a_proxy_of_another_age_is_told() {
    let (one, other) = SeqPacket::pair().expect("pair");
    let hello = br#"{"kind":"hello","body":{"versions":[7,8],"workers":1}}"#;
    other.send(hello, &[]).await.expect("sent");
    let refused = AgentEnd::handshake(one, me(), &NodeName::new("n")).await;
    assert!(matches!(refused, Err(HandshakeError::NoCommonVersion { offered, .. }) if offered == [7, 8]));
    let told = other.recv().await.expect("answer").expect("a packet");
    assert!(told.body.starts_with(br#"{"kind":"refused""#));
}

#[tokio::test]
async fn nonsense_ends_the_handshake() {
    for (case, hello) in [
        ("no workers", br#"{"kind":"hello","body":{"versions":[1],"workers":0}}"#.as_slice()),
        ("too many workers", br#"{"kind":"hello","body":{"versions":[1],"workers":64}}"#),
        ("another message", br#"{"kind":"ready","body":{}}"#),
        ("not JSON", b"GET / HTTP/1.1\r\n"),
    ] {
        let (one, other) = SeqPacket::pair().expect("pair");
        other.send(hello, &[]).await.expect("sent");
        assert!(AgentEnd::handshake(one, me(), &NodeName::new("n")).await.is_err(), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_does_not_hold_the_agent() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("agent.sock");
    let listener = SeqListener::bind(&path, 0o600).expect("listening");
    let _silent = SeqPacket::connect(&path).expect("connected");
    let accepted = listener.accept().await.expect("accepted");
    let waited = AgentEnd::handshake(accepted, me(), &NodeName::new("n")).await;
    assert!(matches!(waited, Err(HandshakeError::Timeout)));
}

#[test]
fn the_newest_common_version_is_spoken() {
    for (case, ours, theirs, wanted) in [
        ("the same", &[1][..], &[1][..], Some(1)),
        ("they are newer", &[1, 2], &[2, 3], Some(2)),
        ("we are newer", &[2, 3], &[1, 2], Some(2)),
        ("too far apart", &[3, 4], &[1, 2], None),
        ("nothing offered", &[1], &[], None),
    ] {
        assert_eq!(common_version(ours, theirs), wanted, "{case}");
    }
}
