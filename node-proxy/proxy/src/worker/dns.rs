//! Captured DNS: names of the mesh are answered here, all others by the server that was asked.

use super::Worker;
use super::datagram::{Datagram, Datagrams};
use super::pods::Pod;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;
use weft_agent_link::SocketKind;
use weft_core::workload::Workload;
use weft_dns::tcp::{Front, HEAD_BYTES, LENGTH_BYTES, cut, frame, query_bytes};
use weft_dns::{Context, Outcome, Transport, Upstream, answer, server_failure};
use weft_tunnel::socket::Socket;

/// Queries of one pod under way at one worker. A resolver asks for two families at a time; an application that looks
/// up a thousand names at once has its resolver try again.
const QUERIES_MAX: usize = 256;
/// How long the server behind may take: resolvers give up after 5 s (resolv.conf(5)).
const ANSWER_WAIT: Duration = Duration::from_secs(4);
pub(super) const DNS_PORT: u16 = 53;

/// How captured DNS is answered.
#[derive(Debug, Clone)]
pub struct DnsRules {
    /// Who knows the names that the mesh does not.
    pub upstream: DnsUpstream,
    /// The cluster's domain.
    pub cluster_domain: Arc<str>,
}

/// Who knows the names that the mesh does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsUpstream {
    /// The server that the application asked.
    #[default]
    Original,
    /// This one, whoever was asked.
    Server(SocketAddr),
    /// Nobody.
    None,
}

impl FromStr for DnsUpstream {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "original" => Ok(Self::Original),
            "none" => Ok(Self::None),
            addr => addr.parse().map(Self::Server).map_err(|_| ()),
        }
    }
}

impl Worker {
    pub(super) async fn serve_dns(self: Rc<Self>, pod: Rc<Pod>, socket: OwnedFd) {
        let datagrams = match Datagrams::new(socket) {
            Ok(datagrams) => Rc::new(datagrams),
            Err(error) => return tracing::error!(%error, "cannot use a DNS socket of the agent's"),
        };
        let under_way = Rc::new(());
        loop {
            let query = match datagrams.receive().await {
                Ok(query) => query,
                Err(error) => return tracing::error!(%error, "a DNS socket failed and is given up"),
            };
            if Rc::strong_count(&under_way) > QUERIES_MAX {
                continue;
            }
            let (worker, pod, datagrams) = (self.clone(), pod.clone(), datagrams.clone());
            // A worker that drains answers it.
            let place = (under_way.clone(), self.attempts.hold());
            spawn_local(async move {
                // Nobody waits for an answer any more if it leaves.
                let _ = pod.unless_left(|| worker.answer_query(&pod, &datagrams, query)).await;
                drop(place);
            });
        }
    }

    async fn answer_query(&self, pod: &Pod, datagrams: &Datagrams, query: Datagram) {
        let Some(client) = self.await_workload(&pod.uid).await else {
            return; // Who asks is not known; the resolver asks again.
        };
        let reply = match self.resolve(&client, query.to, &query.bytes, Transport::Udp) {
            Outcome::Answer(bytes) => Some(bytes),
            Outcome::Drop => None,
            Outcome::Forward => self.forward(pod, query.to, &query.bytes).await,
        };
        if let Some(bytes) = reply {
            datagrams.answer(query.to, query.from, &bytes);
        }
    }

    /// Serves a captured DNS connection if the mesh knows the answer to its first query. Otherwise nothing of it has
    /// been taken, and it is carried like any other: to whom the settings say, or to whom the pod asked.
    pub(super) async fn serve_dns_stream(&self, pod: &Pod, socket: &Socket, asked: SocketAddr) -> DnsStream {
        let server = asked.ip();
        let (Some(query), Some(client)) = (peek_query(socket).await, self.await_workload(&pod.uid).await)
        else {
            return DnsStream::Other(asked);
        };
        match self.resolve(&client, server, &query, Transport::Tcp) {
            Outcome::Answer(_) => {}
            Outcome::Forward => return DnsStream::Other(self.upstream(server).unwrap_or(asked)),
            Outcome::Drop => return DnsStream::Other(asked),
        }
        let mut waiting = Vec::new();
        let mut chunk = vec![0; 4_096];
        loop {
            while let Front::Message(query, rest) = cut(&waiting) {
                let reply = match self.resolve(&client, server, query, Transport::Tcp) {
                    Outcome::Answer(bytes) => Some(bytes),
                    Outcome::Drop => None,
                    // Whoever asks may do so on a connection of its own (RFC 7766 §6.2.4), which is carried as a whole: here
                    // an answer would have to fit into a datagram.
                    Outcome::Forward => return DnsStream::Served,
                };
                let rest = rest.to_vec();
                if let Some(framed) = reply.and_then(|reply| frame(&reply).ok())
                    && socket.write_all(&framed).await.is_err()
                {
                    return DnsStream::Served;
                }
                waiting = rest;
            }
            match tokio::time::timeout(STREAM_IDLE, socket.read(&mut chunk)).await {
                Ok(Ok(count)) if count > 0 => waiting.extend_from_slice(&chunk[..count]),
                _ => return DnsStream::Served,
            }
        }
    }

    fn resolve(&self, client: &Workload, server: IpAddr, query: &[u8], transport: Transport) -> Outcome {
        let domain = &*self.knowledge.dns.cluster_domain;
        let services = format!("svc.{domain}");
        let own = format!("{}.{services}", client.namespace);
        let snapshot = self.knowledge.view.now();
        let context = Context {
            snapshot: &snapshot,
            client,
            cluster_domain: domain,
            search_domains: &[&own, &services, domain],
            upstream: match self.upstream(server) {
                Some(_) => Upstream::Present,
                None => Upstream::Absent,
            },
            transport,
        };
        answer(query, &context, &mut |bound| self.below(bound))
    }

    /// Who knows what the mesh does not, for a query that was meant for `server`.
    fn upstream(&self, server: IpAddr) -> Option<SocketAddr> {
        match self.knowledge.dns.upstream {
            DnsUpstream::Original => Some(SocketAddr::new(server, DNS_PORT)),
            DnsUpstream::Server(addr) => Some(addr),
            DnsUpstream::None => None,
        }
    }

    async fn forward(&self, pod: &Pod, server: IpAddr, query: &[u8]) -> Option<Vec<u8>> {
        let asked = tokio::time::timeout(ANSWER_WAIT, ask(pod, self.upstream(server)?, query)).await;
        asked.ok().flatten().or_else(|| server_failure(query))
    }
}

/// What became of a captured DNS connection.
pub(super) enum DnsStream {
    /// It was answered here to its end.
    Served,
    /// It is not for the mesh; nothing has been taken from it. This is where it goes.
    Other(SocketAddr),
}

/// How long a client may take to begin its first query. A resolver asks at once; who does not may wait for its server to
/// speak first, or may have said all that it has to say.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// How long the rest of the query may take.
const QUERY_WAIT: Duration = Duration::from_secs(5);
/// How long a DNS connection may be idle (RFC 7766 §6.2.3: some seconds).
const STREAM_IDLE: Duration = Duration::from_secs(10);

/// The first query of a connection, left where it is. What is none is not waited for to its end.
async fn peek_query(socket: &Socket) -> Option<Vec<u8>> {
    let mut head = [0; HEAD_BYTES];
    let peeked = tokio::time::timeout(BEGINS_WITHIN, socket.peek_full(&mut head)).await;
    let whole = query_bytes(&head[..peeked.ok()?.ok()?])?;
    let mut framed = vec![0; whole];
    let peeked = tokio::time::timeout(QUERY_WAIT, socket.peek_full(&mut framed)).await;
    (peeked.ok()?.ok()? == whole).then(|| framed.split_off(LENGTH_BYTES))
}

/// Asks the server behind, from the pod's own namespace: its network policy applies, and its routes.
async fn ask(pod: &Pod, upstream: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let kind = if upstream.is_ipv4() { SocketKind::UdpV4 } else { SocketKind::UdpV6 };
    let socket = pod.stock.take(kind).await.ok()?;
    // Connected: the kernel takes answers of that server alone.
    socket2::SockRef::from(&socket).connect(&upstream.into()).ok()?;
    #[expect(
        deprecated,
        reason = "an OwnedFd owns its descriptor and reports no other; the successor is unsafe"
    )]
    let socket = AsyncFd::new(socket).ok()?;
    rustix::net::send(socket.get_ref(), query, rustix::net::SendFlags::empty()).ok()?;
    let mut reply = vec![0; usize::from(u16::MAX)];
    loop {
        let mut ready = socket.readable().await.ok()?;
        let received = ready.try_io(|socket| {
            rustix::net::recv(socket.get_ref(), &mut reply[..], rustix::net::RecvFlags::DONTWAIT)
                .map(|(_, length)| length)
                .map_err(Into::into)
        });
        match received {
            // The answer to this very query: the ids agree.
            Ok(Ok(length)) if length >= 2 && reply[..2] == query[..2] => {
                reply.truncate(length);
                return Some(reply);
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => return None,
        }
    }
}
