//! Endpoints outside that are known by name (ServiceEntries with the resolution DNS): their names are looked up for as long as
//! discovery has them, and what they stand for is laid over what discovery tells. Requests wait for none of it.

use crate::config::DnsServers;
use crate::knowledge::{Moment, WaypointMesh};
use crate::lookup::{Found, LookupError, look_up};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_core::balance::endpoint_port;
use weft_core::names::{NetworkAddr, WorkloadUid};
use weft_core::service::Service;
use weft_core::snapshot::Target;
use weft_core::workload::{PortPair, TunnelProtocol, Workload};
use weft_runtime::log::describe;
use weft_xds::View;

/// An answer counts so long at least, whatever it says: a server is not asked all the time.
const TTL_MIN: Duration = Duration::from_secs(5);
/// And so long at most: a server that is away a day after it has said so is not to be noticed then.
const TTL_MAX: Duration = Duration::from_secs(300);
/// After a failure the name is looked up again, later each time.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Names that are looked up. More are a mistake, and a burden to the servers.
const NAMES_MAX: usize = 4_096;
/// Lookups under way at a time.
const LOOKUPS_MAX: usize = 32;
/// Addresses of a name. More are no endpoints that somebody counts on.
const ADDRESSES_MAX: usize = 64;
/// Without anything to look up, time is looked at so often.
const IDLE: Duration = Duration::from_secs(3_600);

/// Looks names up.
pub(crate) struct Names {
    told: View<WaypointMesh>,
    writer: watch::Sender<Arc<Moment>>,
    servers: DnsServers,
    moment: Arc<Moment>,
    known: BTreeMap<Arc<str>, Known>,
    /// How often something was told on.
    editions: u64,
    /// Addresses that are no endpoints, as the log was told.
    left_out: BTreeSet<(Arc<str>, String)>,
    looking: JoinSet<(Arc<str>, Result<Found, LookupError>)>,
}

/// What is known of a name.
#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    /// When it is looked up again; `None` while it is.
    due: Option<Instant>,
    /// Failures since the last answer.
    failures: u32,
}

impl Names {
    /// Also gives what readers see: what is told, with what names stand for.
    pub(crate) fn new(told: View<WaypointMesh>, servers: DnsServers) -> (Self, View<WaypointMesh>) {
        let moment = told.now();
        let (writer, reader) = watch::channel(moment.clone());
        let view = told.over(reader);
        let (known, left_out, looking) = (BTreeMap::new(), BTreeSet::new(), JoinSet::new());
        (Self { told, writer, servers, moment, known, editions: 0, left_out, looking }, view)
    }

    /// Looks names up until discovery's client is gone.
    pub(crate) async fn run(mut self) {
        let first = self.told.seen();
        self.tell(first);
        loop {
            let due = self.begin();
            tokio::select! {
                moment = self.told.changed() => match moment {
                    Some(moment) => self.tell(moment),
                    None => return,
                },
                Some(Ok((name, result))) = self.looking.join_next() => self.heard(&name, result),
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Takes what is told, and tells it on.
    fn tell(&mut self, moment: Arc<Moment>) {
        self.moment = moment;
        let wanted: BTreeSet<Arc<str>> = named(&self.moment).map(|one| one.hostname.clone()).collect();
        self.known.retain(|name, _| wanted.contains(name));
        let now = Instant::now();
        for name in wanted {
            if self.known.contains_key(&name) {
                continue;
            }
            if self.known.len() >= NAMES_MAX {
                tracing::warn!(%name, max = NAMES_MAX, "too many names of endpoints: some are not looked up");
                break;
            }
            self.known.insert(name, Known { addresses: Vec::new(), due: Some(now), failures: 0 });
        }
        self.publish();
    }

    fn publish(&mut self) {
        let addresses = |name: &str| self.known.get(name).map_or(&[][..], |known| &known.addresses);
        let now = match overlaid(&self.moment, addresses) {
            Some((mut moment, odd)) => {
                self.editions += 1;
                moment.set_names_edition(self.editions);
                let odd: BTreeSet<_> = odd.into_iter().map(|(name, odd)| (name, odd.to_string())).collect();
                for (name, why) in odd.difference(&self.left_out) {
                    tracing::warn!(%name, %why, "an address of a name is left out");
                }
                self.left_out = odd;
                Arc::new(moment)
            }
            None => self.moment.clone(),
        };
        self.writer.send_replace(now);
    }

    /// Begins what is due, and says when something is due next.
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        for (name, known) in &mut self.known {
            if self.looking.len() >= LOOKUPS_MAX {
                break;
            }
            if known.due.is_some_and(|due| due <= now) {
                known.due = None;
                let (name, servers) = (name.clone(), self.servers.clone());
                self.looking.spawn(async move {
                    let result = look_up(&servers, &name).await;
                    (name, result)
                });
            }
        }
        let due = self.known.values().filter_map(|known| known.due).min();
        match due {
            // Those that found no room are begun when another one is done.
            Some(due) if self.looking.len() < LOOKUPS_MAX => due,
            Some(_) | None => now + IDLE,
        }
    }

    fn heard(&mut self, name: &Arc<str>, result: Result<Found, LookupError>) {
        let Some(known) = self.known.get_mut(name) else { return };
        let now = Instant::now();
        match result {
            Ok(Found { mut addresses, ttl }) => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                (known.due, known.failures) = (Some(now + ttl.clamp(TTL_MIN, TTL_MAX)), 0);
                if addresses == known.addresses {
                    return;
                }
                tracing::info!(%name, ?addresses, "a name of endpoints stands for something else");
                known.addresses = addresses;
                self.publish();
            }
            Err(error) => {
                let wait = AGAIN_MIN.saturating_mul(1 << known.failures.min(16)).min(AGAIN_MAX);
                known.due = Some(now + wait);
                known.failures += 1;
                let (error, kept) = (describe(&error), known.addresses.len());
                tracing::warn!(%name, %error, kept, "cannot look up a name of endpoints");
            }
        }
    }
}

/// The endpoints that are known by name only.
fn named(moment: &Moment) -> impl Iterator<Item = &Arc<Workload>> {
    moment.mesh.workloads_without_address().filter(|one| is_outside(one) && !one.hostname.is_empty())
}

/// Whether it is reached in plain text.
fn is_outside(workload: &Workload) -> bool {
    workload.protocol == TunnelProtocol::Plain
}

/// Why an address that a name stands for is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Odd {
    /// Of this machine, of this link, or of nobody: whoever answers for the name must not reach into here (SSRF).
    Local(IpAddr),
    /// It leads back to the service itself.
    Circle(IpAddr),
    /// It is of the mesh, and has a waypoint, whose policy nobody would ask.
    Guarded { ip: IpAddr, who: Arc<str> },
    /// It is a service's of the mesh, which has no such port.
    NoPort { ip: IpAddr, who: Arc<str> },
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(ip) => write!(f, "{ip} is of this machine or its link, and no endpoint outside"),
            Self::Circle(ip) => write!(f, "{ip} is the service's own address in the mesh"),
            Self::Guarded { ip, who } => {
                write!(f, "{ip} is {who} of the mesh, which has a waypoint: route to it by its own name")
            }
            Self::NoPort { ip, who } => write!(f, "{ip} is {who} of the mesh, which has no such port"),
        }
    }
}

/// What is told with what names stand for, and the addresses that are none, by the name.
type Overlaid = (Moment, Vec<(Arc<str>, Odd)>);

/// What is told with the endpoints that names stand for; `None` if nothing has a name. Also why some are none.
fn overlaid<'a>(moment: &Moment, addresses: impl Fn(&str) -> &'a [IpAddr]) -> Option<Overlaid> {
    let mut named = named(moment).peekable();
    named.peek()?;
    let (mut over, mut odd) = (moment.clone(), Vec::new());
    for workload in named {
        for ip in addresses(&workload.hostname) {
            match endpoints(moment, workload, *ip) {
                Ok(found) => found.into_iter().for_each(|one| over.mesh.insert_endpoint(Arc::new(one))),
                Err(why) => odd.push((workload.hostname.clone(), why)),
            }
        }
    }
    Some((over, odd))
}

/// The endpoints at an address that a workload's name stands for.
fn endpoints(moment: &Moment, workload: &Arc<Workload>, ip: IpAddr) -> Result<Vec<Workload>, Odd> {
    if is_local(ip) {
        return Err(Odd::Local(ip));
    }
    let addr = NetworkAddr { network: workload.network.clone(), ip };
    // At the ports that the name's service means: others may share the address at other ones.
    let mut ports = workload.services.iter().flat_map(|(_, pairs)| pairs).map(|pair| pair.target_port);
    let service = ports.find_map(|port| match moment.mesh.target_at(&addr, port, &workload.namespace) {
        Some(Target::Service(service)) => Some(service),
        Some(Target::Workload(_)) | None => None,
    });
    if let Some(service) = service {
        return of_service(moment, workload, service, ip);
    }
    let own = |base: &Workload| Workload {
        uid: WorkloadUid::new(format!("{}/{ip}", workload.uid)),
        addresses: vec![ip],
        services: workload.services.clone(),
        labels: workload.labels.clone(),
        locality: workload.locality.clone(),
        weight: workload.weight,
        ..base.clone()
    };
    match moment.mesh.workload_at(&addr).filter(|one| !is_outside(one)) {
        // Through the mesh, as itself: its own node judges who comes.
        Some(pod) if !is_guarded(moment, pod) => Ok(vec![own(pod)]),
        Some(pod) => Err(Odd::Guarded { ip, who: format!("{}/{}", pod.namespace, pod.name).into() }),
        None => Ok(vec![own(workload)]),
    }
}

/// The endpoints of a service of the mesh, at the ports that the name's service means.
fn of_service(
    moment: &Moment,
    workload: &Arc<Workload>,
    service: &Arc<Service>,
    ip: IpAddr,
) -> Result<Vec<Workload>, Odd> {
    let who: Arc<str> = service.name.hostname.clone();
    if workload.services.iter().any(|(name, _)| *name == service.name) {
        return Err(Odd::Circle(ip));
    }
    if service.waypoint.is_some() {
        return Err(Odd::Guarded { ip, who });
    }
    let mut found = Vec::new();
    for endpoint in moment.mesh.endpoints(&service.name).filter(|one| !is_guarded(moment, one)) {
        let port = |pair: &PortPair| {
            let target_port = endpoint_port(&service.name, service, pair.target_port, endpoint)?;
            Some(PortPair { target_port, ..*pair })
        };
        let services = workload.services.iter();
        let services = services.map(|(name, pairs)| {
            Some((name.clone(), pairs.iter().map(port).collect::<Option<Vec<PortPair>>>()?))
        });
        if let Some(services) = services.collect::<Option<Vec<_>>>() {
            let uid = WorkloadUid::new(format!("{}/{ip}/{}", workload.uid, endpoint.uid));
            found.push(Workload { uid, services, ..(**endpoint).clone() });
        }
    }
    if found.is_empty() { Err(Odd::NoPort { ip, who }) } else { Ok(found) }
}

/// Whether a waypoint decides who may reach a pod.
fn is_guarded(moment: &Moment, pod: &Workload) -> bool {
    let bound = |service: &Arc<Service>| service.waypoint.is_some();
    let mut services = pod.services.iter().filter_map(|(name, _)| moment.mesh.service(name));
    pod.waypoint.is_some() || services.any(bound)
}

/// Addresses that mean something else to each machine, or to nobody (RFC 6890).
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests;
