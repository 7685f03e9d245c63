//! What is written is read back the same, and what is not the protocol's is refused.

use super::*;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use weft_runtime::fds::{self, SeqPacket};

fn files(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|index| fds::seal(&[index as u8]).expect("sealed")).collect()
}

/// The file behind a descriptor, so that two descriptors can be compared.
fn inode(fd: &OwnedFd) -> u64 {
    File::from(fd.try_clone().expect("clone")).metadata().expect("metadata").ino()
}

fn uid_of(name: &str) -> WorkloadUid {
    WorkloadUid::new(format!("Kubernetes//Pod/default/{name}"))
}

/// Everything of a message but the numbers of its descriptors; those as inodes.
fn shape(text: &str, fds: &[&OwnedFd]) -> (String, Vec<u64>) {
    let text = text.split("fd: ").map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect();
    (text, fds.iter().map(|fd| inode(fd)).collect())
}

fn proxy_shape(message: &FromProxy) -> (String, Vec<u64>) {
    let fds: Vec<_> = match message {
        FromProxy::Held(held) => held.listeners.iter().map(|listener| &listener.socket).collect(),
        FromProxy::HeldNode { listeners } => listeners.iter().collect(),
        FromProxy::Keep { state } => vec![state],
        _ => Vec::new(),
    };
    shape(&format!("{message:?}"), &fds)
}

fn agent_shape(message: &FromAgent) -> (String, Vec<u64>) {
    let fds: Vec<_> = match message {
        FromAgent::State { state } => vec![state],
        FromAgent::Pod(pod) => pod.listeners.iter().map(|listener| &listener.socket).collect(),
        FromAgent::NodeTunnel { listeners } => listeners.iter().collect(),
        FromAgent::Sockets { sockets, .. } => sockets.iter().collect(),
        _ => Vec::new(),
    };
    shape(&format!("{message:?}"), &fds)
}

async fn across(encoded: Encoded<'_>) -> Packet {
    let (one, other) = SeqPacket::pair().expect("pair");
    one.send(&encoded.body, &encoded.fds).await.expect("sent");
    other.recv().await.expect("received").expect("a packet")
}

fn all_listeners(per_kind: usize) -> Vec<Listener> {
    let kinds = ListenerKind::ALL.into_iter().flat_map(|kind| std::iter::repeat_n(kind, per_kind));
    kinds.zip(files(per_kind * 5)).map(|(kind, socket)| Listener { kind, socket }).collect()
}

#[tokio::test]
async fn what_the_proxy_says_is_read_back() {
    let largest = usize::from(crate::messages::WORKERS_MAX);
    let messages = [
        FromProxy::Held(Held { uid: uid_of("a"), netns_cookie: u64::MAX, listeners: all_listeners(largest) }),
        FromProxy::HeldNode { listeners: files(2) },
        FromProxy::HeldEnd,
        FromProxy::NeedSockets { uid: uid_of("a"), kind: SocketKind::UdpV6, count: BATCH_MAX },
        FromProxy::PodReleased { uid: uid_of("a") },
        FromProxy::Keep { state: files(1).remove(0) },
        FromProxy::Ready,
        FromProxy::Draining,
    ];
    for message in messages {
        let packet = across(encode_from_proxy(&message).expect("encoded")).await;
        let Decoded::Message(read) = decode_from_proxy(packet).expect("decoded") else {
            panic!("{message:?} was ignored");
        };
        assert_eq!(proxy_shape(&read), proxy_shape(&message));
    }
}

#[tokio::test]
async fn what_the_agent_says_is_read_back() {
    let addresses: Vec<IpAddr> = vec!["10.0.0.7".parse().expect("v4"), "fd00::7".parse().expect("v6")];
    let messages = [
        FromAgent::State { state: files(1).remove(0) },
        FromAgent::Pod(Pod {
            uid: uid_of("a"),
            namespace: "default".into(),
            name: "a".into(),
            netns_cookie: 4097,
            addresses: addresses.clone(),
            listeners: all_listeners(2),
        }),
        FromAgent::Addresses { uid: uid_of("a"), addresses },
        FromAgent::PodGone { uid: uid_of("a") },
        FromAgent::NodeTunnel { listeners: files(3) },
        FromAgent::Sockets {
            uid: uid_of("a"),
            kind: SocketKind::TcpV4,
            sockets: files(usize::from(BATCH_MAX)),
        },
        FromAgent::NoSockets { uid: uid_of("a"), kind: SocketKind::TcpV6, reason: "no IPv6".to_owned() },
        FromAgent::Synced,
        FromAgent::Superseded,
    ];
    for message in messages {
        let packet = across(encode_from_agent(&message).expect("encoded")).await;
        let Decoded::Message(read) = decode_from_agent(packet).expect("decoded") else {
            panic!("{message:?} was ignored");
        };
        assert_eq!(agent_shape(&read), agent_shape(&message));
    }
}

#[test]
fn what_is_not_the_protocols_is_refused() {
    let long = "x".repeat(UID_BYTES_MAX + 1);
    for (case, body, fds, wanted) in [
        ("not JSON", "hello".to_owned(), 0, "Envelope"),
        ("no kind", "{}".to_owned(), 0, "Envelope"),
        ("an unknown kind", r#"{"kind":"fly"}"#.to_owned(), 0, "UnknownKind"),
        ("a field is missing", r#"{"kind":"pod_released","body":{}}"#.to_owned(), 0, "Fields"),
        ("no body", r#"{"kind":"pod_released"}"#.to_owned(), 0, "Fields"),
        ("an empty key", r#"{"kind":"pod_released","body":{"uid":""}}"#.to_owned(), 0, "Bounds"),
        ("a long key", format!(r#"{{"kind":"pod_released","body":{{"uid":"{long}"}}}}"#), 0, "Bounds"),
        (
            "no sockets at all",
            r#"{"kind":"need_sockets","body":{"uid":"a","kind":"tcp_v4","count":0}}"#.to_owned(),
            0,
            "Bounds",
        ),
        (
            "more sockets than a message carries",
            r#"{"kind":"need_sockets","body":{"uid":"a","kind":"tcp_v4","count":254}}"#.to_owned(),
            0,
            "Bounds",
        ),
        ("no descriptor", r#"{"kind":"keep","body":{"count":1}}"#.to_owned(), 0, "Descriptors"),
        ("a descriptor too many", r#"{"kind":"keep","body":{"count":1}}"#.to_owned(), 2, "Descriptors"),
        ("a count that lies", r#"{"kind":"held_node","body":{"count":3}}"#.to_owned(), 2, "Descriptors"),
    ] {
        let packet = Packet { body: body.into_bytes(), fds: files(fds) };
        let error = decode_from_proxy(packet).expect_err(case);
        assert!(format!("{error:?}").starts_with(wanted), "{case}: {error:?}");
    }
}

#[test]
fn a_newer_peer_is_understood() {
    let packet = |body: &str| Packet { body: body.as_bytes().to_vec(), fds: Vec::new() };
    let ignored = decode_from_proxy(packet(r#"{"kind":"fly","optional":true,"body":{"high":1}}"#));
    assert!(matches!(ignored, Ok(Decoded::Ignored { kind }) if kind == "fly"));
    let known = decode_from_proxy(packet(r#"{"kind":"pod_released","body":{"uid":"a","new":[1]},"more":2}"#));
    assert!(matches!(known, Ok(Decoded::Message(FromProxy::PodReleased { .. }))), "{known:?}");
}
