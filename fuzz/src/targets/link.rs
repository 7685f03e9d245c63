//! Messages between the agent and the node proxy. The input's first byte says how many descriptors come along, the
//! rest is the packet's body.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::runtime::{Builder, Runtime};
use weft_agent_link::{AgentEnd, BATCH_MAX, FromAgent, FromProxy, ProxyEnd, TrustedUid, Workers};
use weft_core::names::{NodeName, WorkloadUid};
use weft_runtime::fds::{BODY_BYTES_MAX, SeqPacket};

pub(super) const WORDS: &[&str] = &[
    "{\"kind\":\"",
    "\"body\":",
    "\"optional\":true,",
    "held",
    "need_sockets",
    "\"uid\":",
    "\"count\":",
    "\"outbound\"",
    "\"tcp_v4\"",
    "null",
    "[",
    "]",
    "{",
    "}",
    "-1",
    "1e9",
    "\\u0000",
    ",",
];

/// Most descriptors that an input can ask for.
const FDS_MAX: usize = 8;

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let uid = "Kubernetes//Pod/shop/web";
    [
        (2, format!(r#"{{"kind":"held","body":{{"uid":"{uid}","netns_cookie":7,"listeners":["outbound","tunnel"]}}}}"#)),
        (1, r#"{"kind":"held_node","body":{"count":1}}"#.to_owned()),
        (0, format!(r#"{{"kind":"need_sockets","body":{{"uid":"{uid}","kind":"tcp_v4","count":8}}}}"#)),
        (0, format!(r#"{{"kind":"pod_released","body":{{"uid":"{uid}"}}}}"#)),
        (1, r#"{"kind":"keep","body":{"count":1}}"#.to_owned()),
        (0, r#"{"kind":"ready","body":{}}"#.to_owned()),
        (2, format!(
            r#"{{"kind":"pod","body":{{"uid":"{uid}","namespace":"shop","name":"web","netns_cookie":7,"addresses":["10.0.0.1","fd00::1"],"listeners":["inbound_plain","dns_udp"]}}}}"#
        )),
        (0, format!(r#"{{"kind":"addresses","body":{{"uid":"{uid}","addresses":["10.0.0.1"]}}}}"#)),
        (3, format!(r#"{{"kind":"sockets","body":{{"uid":"{uid}","kind":"udp_v6","count":3}}}}"#)),
        (0, format!(r#"{{"kind":"no_sockets","body":{{"uid":"{uid}","kind":"tcp_v6","reason":"full"}}}}"#)),
        (0, r#"{"kind":"later","optional":true,"body":{"x":[1,{}]}}"#.to_owned()),
    ]
    .into_iter()
    .map(|(fds, body)| [vec![fds], body.into_bytes()].concat())
    .collect()
}

/// What is understood comes back as it went, with as many descriptors; what is not ends the link and nothing else.
pub(super) fn run(bytes: &[u8]) {
    let [fds, body @ ..] = bytes else {
        return;
    };
    if body.is_empty() || body.len() > BODY_BYTES_MAX {
        return;
    }
    WORLD.with(|world| {
        let world = world.get_or_init(World::new);
        let fds = vec![world.fd.as_fd(); usize::from(*fds) % (FDS_MAX + 1)];
        world.runtime.block_on(async {
            world.to_agent(body, &fds).await;
            world.to_proxy(body, &fds).await;
        });
    });
}

thread_local! {
    /// One per thread: to shake hands for each input would take longer than all the rest.
    static WORLD: OnceCell<World> = const { OnceCell::new() };
}

struct World {
    runtime: Runtime,
    /// Speaks to `agent` whatever it likes.
    false_proxy: SeqPacket,
    agent: AgentEnd,
    false_agent: SeqPacket,
    proxy: ProxyEnd,
    /// An honest pair.
    ends: (AgentEnd, ProxyEnd),
    fd: OwnedFd,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _context = runtime.enter();
        let pair = || SeqPacket::pair().expect("a pair of sockets");
        let ((false_proxy, one), (false_agent, other), (left, right)) = (pair(), pair(), pair());
        let (agent, proxy, ends) = runtime.block_on(async {
            let hello = br#"{"kind":"hello","body":{"versions":[1],"workers":1}}"#;
            let welcome = br#"{"kind":"welcome","body":{"version":1,"node":"n"}}"#;
            false_proxy.send(hello, &[]).await.expect("sent");
            let agent = agent_end(one).await;
            false_proxy.recv().await.expect("welcomed");
            false_agent.send(welcome, &[]).await.expect("sent");
            let proxy = proxy_end(other).await;
            false_agent.recv().await.expect("greeted");
            (agent, proxy, tokio::join!(agent_end(left), proxy_end(right)))
        });
        let fd = std::io::pipe().expect("a pipe").0.into();
        drop(_context);
        Self { runtime, false_proxy, agent, false_agent, proxy, ends, fd }
    }

    async fn to_agent(&self, body: &[u8], fds: &[BorrowedFd<'_>]) {
        self.false_proxy.send(body, fds).await.expect("sent");
        // A message that may be ignored is; this one behind it is not.
        self.false_proxy.send(br#"{"kind":"held_end"}"#, &[]).await.expect("sent");
        let received = self.agent.recv().await;
        let is_last = |message: &FromProxy| matches!(message, FromProxy::HeldEnd);
        match received {
            Ok(Some(message)) if is_last(&message) && !says(body, "held_end") => return,
            Ok(Some(message)) => {
                check_from_proxy(&message, fds.len());
                let (agent, proxy) = &self.ends;
                proxy.send(&message).await.expect("what was read is written");
                let again = agent.recv().await.expect("what was written is read").expect("a message");
                assert_eq!(plain(&message), plain(&again));
            }
            Ok(None) => panic!("the link is closed"),
            Err(_) => {}
        }
        let last = self.agent.recv().await.expect("the next message is untouched");
        assert!(last.as_ref().is_some_and(is_last), "{last:?}");
    }

    async fn to_proxy(&self, body: &[u8], fds: &[BorrowedFd<'_>]) {
        self.false_agent.send(body, fds).await.expect("sent");
        self.false_agent.send(br#"{"kind":"synced"}"#, &[]).await.expect("sent");
        let received = self.proxy.recv().await;
        let is_last = |message: &FromAgent| matches!(message, FromAgent::Synced);
        match received {
            Ok(Some(message)) if is_last(&message) && !says(body, "synced") => return,
            Ok(Some(message)) => {
                let (agent, proxy) = &self.ends;
                agent.send(&message).await.expect("what was read is written");
                let again = proxy.recv().await.expect("what was written is read").expect("a message");
                assert_eq!(plain(&message), plain(&again));
            }
            Ok(None) => panic!("the link is closed"),
            Err(_) => {}
        }
        let last = self.proxy.recv().await.expect("the next message is untouched");
        assert!(last.as_ref().is_some_and(is_last), "{last:?}");
    }
}

async fn agent_end(socket: SeqPacket) -> AgentEnd {
    let us = TrustedUid(socket.peer().expect("a peer").uid);
    AgentEnd::handshake(socket, us, &NodeName::new("n")).await.expect("a handshake").0
}

async fn proxy_end(socket: SeqPacket) -> ProxyEnd {
    let us = TrustedUid(socket.peer().expect("a peer").uid);
    ProxyEnd::handshake(socket, us, Workers::clamped(1)).await.expect("a handshake").0
}

/// True if the body itself may be a message of this kind.
fn says(body: &[u8], kind: &str) -> bool {
    body.windows(kind.len()).any(|window| window == kind.as_bytes())
}

/// A message without the numbers of its descriptors.
fn plain(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    let mut parts = text.split("OwnedFd { fd: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "OwnedFd" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn check_from_proxy(message: &FromProxy, fds: usize) {
    let named = |uid: &WorkloadUid| assert!(!uid.as_str().is_empty());
    match message {
        FromProxy::Held(held) => {
            named(&held.uid);
            assert_eq!(held.listeners.len(), fds);
        }
        FromProxy::HeldNode { listeners } => assert_eq!(listeners.len(), fds),
        FromProxy::NeedSockets { uid, count, .. } => {
            named(uid);
            assert!((1..=BATCH_MAX).contains(count), "{count}");
        }
        FromProxy::PodReleased { uid } => named(uid),
        FromProxy::Keep { .. } => assert_eq!(fds, 1),
        FromProxy::HeldEnd | FromProxy::Ready | FromProxy::Draining => {}
    }
}
