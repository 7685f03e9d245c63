//! What the actor says to proxies: pods, listeners and sockets.

use super::{Actor, Batch, Out};
use crate::enrol::chain;
use crate::reconcile::{ProxyId, Tell};
use crate::sockets;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use weft_agent_link::{FromAgent, Listener, Pod, SocketKind};
use weft_core::names::WorkloadUid;

/// Sockets that come with a pod before anyone asks, so that its first connections wait for nothing. Few:
/// a node may have hundreds of pods that never open one.
const FIRST_SOCKETS: u16 = 4;
/// Batches that one proxy may have in the making: a bound on what a hostile one can set in motion.
const BATCHES_MAX: usize = 1024;

impl Actor {
    pub(super) fn tell(&mut self, id: ProxyId, tell: Tell) {
        match tell {
            Tell::State => {
                if let Some(state) = self.state.clone() {
                    self.send(id, FromAgent::State { state });
                }
            }
            Tell::NodeTunnel => {
                if self.node_tunnel.is_empty() {
                    self.open_node_tunnel();
                } else {
                    self.send(id, FromAgent::NodeTunnel { listeners: self.node_tunnel.clone() });
                }
            }
            Tell::Pod(uid) => self.tell_pod(id, &uid),
            Tell::Addresses(uid, addresses) => self.send(id, FromAgent::Addresses { uid, addresses }),
            Tell::PodGone(uid) => self.send(id, FromAgent::PodGone { uid }),
            Tell::Synced => self.send(id, FromAgent::Synced),
            Tell::Superseded => self.send(id, FromAgent::Superseded),
        }
    }

    fn send(&mut self, id: ProxyId, message: Out) {
        let Some(proxy) = self.proxies.get(&id) else { return };
        if let Err(error) = proxy.out.try_send(message) {
            // One that does not read is as good as gone; it comes back, or the next one does.
            tracing::warn!(proxy = id.0, %error, "proxy does not listen: disconnecting it");
            self.proxies.remove(&id);
        }
    }

    fn tell_pod(&mut self, id: ProxyId, uid: &WorkloadUid) {
        let Some(kept) = self.kept.get(uid) else { return };
        let share = |listener: &Listener<Arc<OwnedFd>>| Listener {
            kind: listener.kind,
            socket: listener.socket.clone(),
        };
        let (v4, v6) =
            (kept.addresses.iter().any(|ip| ip.is_ipv4()), kept.addresses.iter().any(|ip| ip.is_ipv6()));
        let pod = Pod {
            uid: uid.clone(),
            namespace: kept.namespace.clone(),
            name: kept.name.clone(),
            netns_cookie: kept.netns.cookie,
            addresses: kept.addresses.clone(),
            listeners: kept.listeners.iter().map(share).collect(),
        };
        let cookie = kept.netns.cookie;
        self.send(id, FromAgent::Pod(pod));
        for (kind, has) in [(SocketKind::TcpV4, v4), (SocketKind::TcpV6, v6)] {
            if has {
                let send = usize::from(FIRST_SOCKETS);
                self.make(Batch { proxy: id, uid: uid.clone(), kind, cookie, send }, FIRST_SOCKETS);
            }
        }
    }

    /// A proxy asks for sockets: what is on the shelf goes at once, the rest is made, and as much again.
    pub(super) fn need(&mut self, id: ProxyId, uid: &WorkloadUid, kind: SocketKind, count: u16) {
        let Some(cookie) = self.kept.get(uid).map(|kept| kept.netns.cookie) else {
            return self.no_sockets(id, uid.clone(), kind, "the pod is not enrolled".to_owned());
        };
        let Some(proxy) = self.proxies.get_mut(&id) else { return };
        if proxy.batches >= BATCHES_MAX {
            return self.no_sockets(id, uid.clone(), kind, "too many requests are open".to_owned());
        }
        proxy.batches += 1;
        let served = self.supply.ask(uid, kind, count, self.now);
        if !served.sockets.is_empty() {
            self.hand(id, uid.clone(), kind, served.sockets);
        }
        let batch = Batch { proxy: id, uid: uid.clone(), kind, cookie, send: usize::from(served.missing) };
        self.make(batch, served.missing + served.ahead);
    }

    pub(super) fn made(&mut self, batch: Batch, result: Result<Vec<OwnedFd>, String>) {
        let Batch { proxy, uid, kind, cookie, send } = batch;
        if let Some(proxy) = self.proxies.get_mut(&proxy) {
            proxy.batches = proxy.batches.saturating_sub(1);
        }
        let mut sockets = match result {
            Ok(sockets) => sockets,
            Err(reason) => {
                tracing::warn!(pod = %uid, %kind, reason, "no sockets made");
                return self.no_sockets(proxy, uid, kind, reason);
            }
        };
        // The pod may have left, and another of its name may have come.
        if self.kept.get(&uid).is_none_or(|kept| kept.netns.cookie != cookie) {
            return self.no_sockets(proxy, uid, kind, "the pod has left".to_owned());
        }
        let ahead = sockets.split_off(send.min(sockets.len()));
        drop(self.supply.put(&uid, kind, ahead));
        if !sockets.is_empty() {
            self.hand(proxy, uid, kind, sockets);
        }
    }

    fn hand(&mut self, id: ProxyId, uid: WorkloadUid, kind: SocketKind, sockets: Vec<OwnedFd>) {
        let count = u64::try_from(sockets.len()).unwrap_or(u64::MAX);
        self.parts.metrics.sockets.with_label_values(&[kind.as_str()]).inc_by(count);
        let sockets = sockets.into_iter().map(Arc::new).collect();
        self.send(id, FromAgent::Sockets { uid, kind, sockets });
    }

    fn no_sockets(&mut self, id: ProxyId, uid: WorkloadUid, kind: SocketKind, reason: String) {
        self.send(id, FromAgent::NoSockets { uid, kind, reason });
    }

    /// Takes the node's listeners back from a proxy, or opens them, and tells every proxy.
    pub(super) fn open_node_tunnel(&mut self) {
        let held = std::mem::take(&mut self.held_node);
        let good = |socket: &OwnedFd| {
            self.parts.enroller.is_nodes_own(socket.as_fd())
                && sockets::check_node_tunnel(socket.as_fd()).is_ok()
        };
        let opened = if !held.is_empty() && held.iter().all(good) {
            Ok(held)
        } else {
            sockets::node_tunnel(&self.parts.node_addresses, self.workers)
        };
        match opened {
            Ok(listeners) => {
                self.node_tunnel = listeners.into_iter().map(Arc::new).collect();
                self.parts.node_tunnel.met();
                let proxies: Vec<_> = self.proxies.keys().copied().collect();
                for id in proxies {
                    self.send(id, FromAgent::NodeTunnel { listeners: self.node_tunnel.clone() });
                }
            }
            Err(error) => self.parts.node_tunnel.unmet(chain(&error)),
        }
    }
}
