//! Connections of each kind, and what is to be told of them.

use crate::Stage;
use crate::told::{Told, Trip};
use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use weft_testkit::Pod;
use weft_tests::talk::Talk;

/// Where the servers answer, and the Services' port that leads there.
pub(crate) const OPEN: u16 = 7000;
pub(crate) const SERVICE: u16 = 80;
/// Where a policy on trial would deny.
pub(crate) const TRIAL: u16 = 7200;
/// Where a policy denies.
const CLOSED: u16 = 7100;
/// Where nobody listens.
const NOBODY: u16 = 7300;
/// One of the mesh's own.
const OWN: u16 = 15_001;
const TUNNEL: u16 = 15_008;

pub(crate) const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {ports: ['7100']}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: trial, namespace: shop, annotations: {istio.io/dry-run: 'true'}}
spec: {action: DENY, rules: [{to: [{operation: {ports: ['7200']}}]}]}
";

/// Bytes of a [`Talk`]'s word.
pub(crate) const WORD: u64 = 14;
const PATIENCE: Duration = Duration::from_secs(5);
/// How much later than the client a proxy may learn that a connection has ended.
const LATE: Duration = Duration::from_secs(5);

/// Connections to the server of this node and from its client, over both families.
pub(crate) fn make(stage: &Stage, node: usize) -> Result<Vec<Told<'_>>> {
    let mut told = Vec::new();
    for family in [0, 1] {
        let ways = Ways { stage, node, family };
        told.extend(ways.across().context("through the nodes' tunnel")?);
        told.extend(ways.near().context("on one node")?);
        told.extend(ways.plain().context("into the mesh and out of it")?);
    }
    Ok(told)
}

struct Ways<'a> {
    stage: &'a Stage,
    node: usize,
    family: usize,
}

impl<'a> Ways<'a> {
    fn client(&self) -> &'a Pod {
        &self.stage.clients[self.node - 1]
    }

    fn near_server(&self) -> &'a Pod {
        &self.stage.servers[self.node - 1]
    }

    fn far_server(&self) -> &'a Pod {
        &self.stage.servers[2 - self.node]
    }

    fn at(&self, pod: &Pod, port: u16) -> SocketAddr {
        SocketAddr::new(pod.ips()[self.family], port)
    }

    /// What is told of a connection to somebody in the mesh that carries two words each way and ends in order.
    fn told(
        &self,
        case: &'static str,
        direction: &'static str,
        trip: &Trip,
        to: &'a Pod,
        port: u16,
    ) -> Told<'a> {
        Told {
            case,
            node: self.node,
            direction,
            trip: trip.clone(),
            target: self.at(to, port),
            source: self.client(),
            destination: Some(to),
            service: None,
            served: (direction != "outbound" && port == OPEN).then(|| to.name().to_owned()),
            tunnel: None,
            bytes: 2 * WORD,
            end: "closed",
            failed: None,
            dry_run: None,
        }
    }

    /// To the other node: its proxy judges and tells as well.
    fn across(&self) -> Result<Vec<Told<'a>>> {
        let (from, to) = (self.client(), self.far_server());
        let far = to.node();
        // Nodes are reached by the first of their addresses.
        let tunnel = Some(SocketAddr::new(self.stage.world.node(far).ip(), TUNNEL));
        let both = |case, trip: &Trip, port| {
            let here = Told { tunnel, ..self.told(case, "outbound", trip, to, port) };
            let there = Told { node: far, ..self.told(case, "inbound", trip, to, port) };
            (here, there)
        };
        let mut told = Vec::new();

        let vip: IpAddr = self.stage.world.service(crate::told::SHOP, to.name()).ips()[self.family];
        let vip = SocketAddr::new(vip, SERVICE);
        let (here, there) = both("to a Service on the other node", &carried(from, vip)?, OPEN);
        told.extend([Told { target: vip, service: Some(to.name().to_owned()), ..here }, there]);

        let (here, there) = both("a policy on trial", &carried(from, self.at(to, TRIAL))?, TRIAL);
        told.extend([here, Told { dry_run: Some("would be denied by policy shop/trial"), ..there }]);

        let (here, there) = both("reset by the client", &reset(from, self.at(to, OPEN))?, OPEN);
        let bytes = WORD;
        told.extend([Told { bytes, end: "app_reset", ..here }, Told { bytes, end: "peer_reset", ..there }]);

        let (here, there) = both("denied by the other node", &refused(from, self.at(to, CLOSED))?, CLOSED);
        told.extend([Told { bytes: 0, end: "refused_policy", ..here }, there.denied()]);

        let (here, there) =
            both("nobody listens on the other node", &refused(from, self.at(to, NOBODY))?, NOBODY);
        told.extend([Told { bytes: 0, end: "refused_app_unreachable", ..here }, there.unanswered()]);

        let target = self.at(to, OWN);
        let one = self.told("a port of the mesh itself", "outbound", &refused(from, target)?, to, OWN);
        let why = format!("port {OWN} belongs to the mesh itself");
        told.push(Told { destination: None, ..one.refused("unknown_party", why) });
        Ok(told)
    }

    /// To a pod of the same node.
    fn near(&self) -> Result<Vec<Told<'a>>> {
        let (from, to) = (self.client(), self.near_server());
        let told = |case, trip: &Trip, port| self.told(case, "same_node", trip, to, port);
        let to = |port| self.at(to, port);
        let trial = told("a policy on trial, on one node", &carried(from, to(TRIAL))?, TRIAL);
        Ok(vec![
            told("on one node", &carried(from, to(OPEN))?, OPEN),
            Told { dry_run: Some("would be denied by policy shop/trial"), ..trial },
            told("denied on one node", &refused(from, to(CLOSED))?, CLOSED).denied(),
            told("nobody listens on one node", &refused(from, to(NOBODY))?, NOBODY).unanswered(),
        ])
    }

    /// In plain text, from outside to this node's server and from its client to the outside.
    fn plain(&self) -> Result<Vec<Told<'a>>> {
        let (stranger, server) = (&self.stage.stranger, self.near_server());
        let told = |case, trip: &Trip, port| Told {
            source: stranger,
            ..self.told(case, "inbound", trip, server, port)
        };
        let to = |port| self.at(server, port);
        let out = carried(self.client(), self.at(stranger, OPEN))?;
        Ok(vec![
            told("from outside", &carried(stranger, to(OPEN))?, OPEN),
            told("denied to those outside", &refused(stranger, to(CLOSED))?, CLOSED).denied(),
            told("nobody listens for those outside", &refused(stranger, to(NOBODY))?, NOBODY).unanswered(),
            self.told("out of the mesh", "outbound", &out, stranger, OPEN),
        ])
    }
}

impl Told<'_> {
    fn refused(self, cause: &'static str, error: String) -> Self {
        Told { bytes: 0, end: "refused", failed: Some((cause, error)), ..self }
    }

    fn denied(self) -> Self {
        self.refused("denied", "denied by policy shop/closed".to_owned())
    }

    fn unanswered(self) -> Self {
        let error = format!("cannot connect to {}: Connection refused (os error 111)", self.target);
        self.refused("connect_failed", error)
    }
}

/// Two words each way, and an orderly end.
fn carried(from: &Pod, to: SocketAddr) -> Result<Trip> {
    travel(from, to, |mut talk| {
        talk.go_on()?;
        let heard = Instant::now();
        talk.go_on()?;
        let open = heard.elapsed();
        talk.finish()?;
        Ok(open)
    })
}

/// One word each way, and then the client resets the connection.
fn reset(from: &Pod, to: SocketAddr) -> Result<Trip> {
    travel(from, to, |mut talk| {
        talk.go_on()?;
        let linger = socket2::SockRef::from(talk.stream()).set_linger(Some(Duration::ZERO));
        linger.context("resetting at its end")?;
        Ok(Duration::ZERO)
    })
}

/// Not a word, and a reset by the mesh: before the connection is there for the client, or at once.
fn refused(from: &Pod, to: SocketAddr) -> Result<Trip> {
    let begun = Instant::now();
    let own = if to.is_ipv4() { from.addr(0) } else { from.addr6(0) };
    let (client, heard) = from.enter(|| -> Result<_> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).context("a socket")?;
        socket.bind(&own.into()).context("taking a port")?;
        let client = socket.local_addr()?.as_socket().context("an address")?;
        let connected = socket.connect_timeout(&to.into(), PATIENCE);
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok((client, connected.and_then(|()| (&socket).read(&mut [0; 1]))))
    })??;
    let reset = heard.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    ensure!(reset, "{} to {to} hears {heard:?}", from.name());
    Ok(Trip { client, at_least: Duration::ZERO, at_most: begun.elapsed() + LATE })
}

/// Opens a connection; `talk` says for how long it was open for certain: the proxy may take it some time after the
/// kernel has done so.
fn travel(from: &Pod, to: SocketAddr, talk: impl FnOnce(Talk) -> Result<Duration>) -> Result<Trip> {
    let begun = Instant::now();
    let travelled = Talk::open(from, to).and_then(|open| {
        let client = open.flow()?.client;
        Ok((client, talk(open)?))
    });
    let (client, at_least) = travelled.with_context(|| format!("{} to {to}", from.name()))?;
    Ok(Trip { client, at_least, at_most: begun.elapsed() + LATE })
}
