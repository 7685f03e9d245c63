//! Endpoints outside that are known by name (ServiceEntries with the resolution DNS): their names are looked up for as long as
//! discovery has them, and what they stand for is laid over what discovery tells. Requests wait for none of it.

use crate::answers::{Answered, Known};
use crate::config::DnsServers;
use crate::knowledge::{Moment, WaypointMesh};
use crate::lookup::{Found, LookupError, look_up};
use crate::outside::{Odd, all_endpoints, is_outside, is_wildcard};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_core::workload::Workload;
use weft_runtime::log::describe;
use weft_xds::View;

/// Names that are looked up. More are a mistake, and a burden to the servers.
const NAMES_MAX: usize = 4_096;
/// Lookups under way at a time.
const LOOKUPS_MAX: usize = 32;
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
            self.known.insert(name, Known::new(now));
        }
        self.publish();
    }

    fn publish(&mut self) {
        let addresses = |name: &str| self.known.get(name).map_or(&[][..], Known::addresses);
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
            if known.due().is_some_and(|due| due <= now) {
                known.begin();
                let (name, servers) = (name.clone(), self.servers.clone());
                self.looking.spawn(async move {
                    let result = look_up(&servers, &name).await;
                    (name, result)
                });
            }
        }
        let due = self.known.values().filter_map(Known::due).min();
        match due {
            // Those that found no room are begun when another one is done.
            Some(due) if self.looking.len() < LOOKUPS_MAX => due,
            Some(_) | None => now + IDLE,
        }
    }

    fn heard(&mut self, name: &Arc<str>, result: Result<Found, LookupError>) {
        let Some(known) = self.known.get_mut(name) else { return };
        match known.heard(result, Instant::now()) {
            Ok(Answered::AsBefore) => {}
            Ok(Answered::Anew) => {
                let addresses = known.addresses();
                tracing::info!(%name, ?addresses, "a name of endpoints stands for something else");
                self.publish();
            }
            Err(error) => {
                let (error, kept) = (describe(&error), known.addresses().len());
                tracing::warn!(%name, %error, kept, "cannot look up a name of endpoints");
            }
        }
    }
}

/// The endpoints that are known by name only.
fn named(moment: &Moment) -> impl Iterator<Item = &Arc<Workload>> {
    let is_one =
        |one: &&Arc<Workload>| is_outside(one) && !one.hostname.is_empty() && !is_wildcard(&one.hostname);
    moment.mesh.workloads_without_address().filter(is_one)
}

/// What is told with what names stand for, and the addresses that are none, by the name.
type Overlaid = (Moment, Vec<(Arc<str>, Odd)>);

/// What is told with the endpoints that names stand for; `None` if nothing has a name. Also why some are none.
fn overlaid<'a>(moment: &Moment, addresses: impl Fn(&str) -> &'a [IpAddr]) -> Option<Overlaid> {
    let mut named = named(moment).peekable();
    named.peek()?;
    let (mut over, mut odd) = (moment.clone(), Vec::new());
    for workload in named {
        let host = &workload.hostname;
        let (found, none) = all_endpoints(&moment.mesh, workload, addresses(host));
        found.into_iter().for_each(|one| over.mesh.insert_endpoint(one));
        odd.extend(none.into_iter().map(|why| (host.clone(), why)));
    }
    Some((over, odd))
}

#[cfg(test)]
mod tests;
