//! Names that nobody has written down, and clients ask for (ServiceEntries with the resolution DYNAMIC_DNS): one table for
//! all workers. A name is looked up when a worker first asks for it, again for as long as a worker keeps it, and forgotten
//! when none does.

use crate::answers::{Answered, Known};
use crate::config::DnsServers;
use crate::lookup::{Found, LookupError, look_up};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_runtime::log::describe;

/// Names that clients may make a waypoint keep; the one that was used least recently makes way for another one. Enough for
/// the tenants of a service outside that have names of their own, and each takes some tens of kilobytes of each worker where
/// TLS is begun with it.
pub(crate) const NAMES_MAX: usize = 1_024;
/// Lookups under way at a time: clients choose the names, and must not make the waypoint flood its servers. Others wait.
const LOOKUPS_MAX: usize = 32;
/// A request waits so long for a name that nobody has asked for before. As long as a client's own resolver would.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Without anything to look up, time is looked at so often.
const IDLE: Duration = Duration::from_secs(3_600);

/// All names that clients ask for. Clones are the same table.
#[derive(Debug, Clone)]
pub(crate) struct DynamicNames(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<HashMap<Arc<str>, Entry>>,
    /// Told when a name comes in.
    woken: Notify,
    /// Uses are counted from here.
    since: Instant,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    told: watch::Sender<Told>,
    /// When it was used last, in milliseconds.
    used: Arc<AtomicU64>,
}

/// What workers see of a name.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// Nobody has answered yet.
    Nothing,
    /// It stands for these, perhaps none.
    Addresses(Arc<Addresses>),
    /// Nobody knows, and nobody has ever known.
    Failed(Arc<str>),
}

/// What a name stands for, as it was found.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// In their order.
    pub(crate) all: Vec<IpAddr>,
    /// The higher, the later: of all that was found for any name.
    pub(crate) edition: u64,
}

/// A name, as one worker keeps it. It is looked up again for as long as somebody does.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    host: Arc<str>,
    told: watch::Receiver<Told>,
    used: Arc<AtomicU64>,
    since: Instant,
}

/// The table, and what fills it.
pub(crate) fn dynamic_names(servers: DnsServers) -> (DynamicNames, Lookups) {
    let shared = Shared { table: Mutex::default(), woken: Notify::new(), since: Instant::now() };
    let names = DynamicNames(Arc::new(shared));
    (names.clone(), Lookups { names, servers, editions: 0, looking: JoinSet::new() })
}

impl DynamicNames {
    /// A name, which is looked up soon if it is new.
    pub(crate) fn ask(&self, host: &Arc<str>) -> Name {
        let Shared { woken, since, .. } = &*self.0;
        let mut table = self.lock();
        if table.len() >= NAMES_MAX && !table.contains_key(host) {
            forget_one(&mut table);
        }
        let entry = table.entry(host.clone()).or_insert_with(|| {
            woken.notify_one();
            Entry {
                known: Known::new(Instant::now()),
                told: watch::Sender::new(Told::Nothing),
                used: Arc::default(),
            }
        });
        let name = Name {
            host: host.clone(),
            told: entry.told.subscribe(),
            used: entry.used.clone(),
            since: *since,
        };
        name.touch();
        name
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that was used least recently.
fn forget_one(table: &mut HashMap<Arc<str>, Entry>) {
    let oldest = table.iter().min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed));
    if let Some(host) = oldest.map(|(host, _)| host.clone()) {
        tracing::debug!(%host, max = NAMES_MAX, "a name is forgotten: clients ask for more than are kept");
        table.remove(&host);
    }
}

impl Name {
    /// The name itself.
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// What it stands for now.
    pub(crate) fn now(&self) -> Told {
        self.told.borrow().clone()
    }

    /// It is used: others make way first.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// Whether it had to make way, so that nobody looks it up again.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.told.has_changed().is_err()
    }

    /// Waits until somebody has answered or failed, or for long enough. Cancel-safe.
    pub(crate) async fn wait(&self) {
        let mut told = self.told.clone();
        let heard = told.wait_for(|told| !matches!(told, Told::Nothing));
        // How it ended is what the name says then.
        let _ = tokio::time::timeout(WAIT_MAX, heard).await;
    }
}

/// Looks up what workers ask for.
pub(crate) struct Lookups {
    names: DynamicNames,
    servers: DnsServers,
    /// How often something was found.
    editions: u64,
    looking: JoinSet<(Arc<str>, Result<Found, LookupError>)>,
}

impl Lookups {
    /// Looks names up, for ever.
    pub(crate) async fn run(mut self) {
        let names = self.names.clone();
        loop {
            let due = self.begin();
            tokio::select! {
                () = names.0.woken.notified() => {}
                Some(Ok((host, result))) = self.looking.join_next() => self.heard(&host, result),
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Begins what is due, the longest due first, forgets what nobody keeps, and says when something is due next.
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        let idle = now + IDLE;
        let mut room = LOOKUPS_MAX.saturating_sub(self.looking.len());
        if room == 0 {
            // Those that find no room are begun when another one is done.
            return idle;
        }
        let mut table = self.names.lock();
        // Until it is due again, what is known of it is still good for who comes next.
        table.retain(|_, entry| {
            entry.told.receiver_count() > 0 || entry.known.due().is_none_or(|due| due > now)
        });
        let mut due: Vec<(Instant, &Arc<str>, &mut Entry)> = Vec::new();
        let mut next = idle;
        for (host, entry) in table.iter_mut() {
            match entry.known.due() {
                Some(at) if at <= now => due.push((at, host, entry)),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        due.sort_unstable_by_key(|(at, ..)| *at);
        for (_, host, entry) in due {
            if room == 0 {
                break;
            }
            room -= 1;
            entry.known.begin();
            let (host, servers) = (host.clone(), self.servers.clone());
            self.looking.spawn(async move {
                let result = look_up(&servers, &host).await;
                (host, result)
            });
        }
        if room == 0 { idle } else { next }
    }

    fn heard(&mut self, host: &Arc<str>, result: Result<Found, LookupError>) {
        let mut table = self.names.lock();
        // It may have made way meanwhile.
        let Some(entry) = table.get_mut(host) else { return };
        match entry.known.heard(result, Instant::now()) {
            Ok(answered) => {
                let known = matches!(*entry.told.borrow(), Told::Addresses(_));
                if answered == Answered::Anew || !known {
                    let all = entry.known.addresses().to_vec();
                    tracing::debug!(%host, addresses = ?all, "a name that clients ask for stands for something else");
                    self.editions += 1;
                    let found = Addresses { all, edition: self.editions };
                    entry.told.send_replace(Told::Addresses(Arc::new(found)));
                }
            }
            Err(error) => {
                let error = describe(&error);
                let kept = entry.known.addresses().len();
                tracing::debug!(%host, %error, kept, "cannot look up a name that a client asks for");
                entry.told.send_if_modified(|told| match told {
                    // What was known stays.
                    Told::Addresses(_) => false,
                    Told::Nothing | Told::Failed(_) => {
                        *told = Told::Failed(error.as_str().into());
                        true
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// A table of which nothing is looked up but what a test says.
    fn table() -> (DynamicNames, Lookups) {
        dynamic_names(DnsServers::One((Ipv4Addr::LOCALHOST, 1).into()))
    }

    fn host(text: &str) -> Arc<str> {
        text.into()
    }

    fn found(last: &[u8]) -> Result<Found, LookupError> {
        let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
        Ok(Found { addresses, ttl: Duration::from_secs(60) })
    }

    fn count(name: &Name) -> Option<usize> {
        match name.now() {
            Told::Addresses(addresses) => Some(addresses.all.len()),
            Told::Nothing | Told::Failed(_) => None,
        }
    }

    fn edition(name: &Name) -> Option<u64> {
        match name.now() {
            Told::Addresses(addresses) => Some(addresses.edition),
            Told::Nothing | Told::Failed(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_and_what_was_known_stays() {
        let (names, mut lookups) = table();
        let name = names.ask(&host("a.example.org"));
        assert!(matches!(name.now(), Told::Nothing));
        // Nobody answers: it is waited for so long, and no longer.
        let begun = Instant::now();
        name.wait().await;
        let waited = begun.elapsed();
        assert!((WAIT_MAX..2 * WAIT_MAX).contains(&waited), "{waited:?}");
        lookups.heard(name.host(), Err(LookupError::NoServer));
        name.wait().await;
        assert!(matches!(name.now(), Told::Failed(why) if why.contains("resolv.conf")));
        assert_eq!(begun.elapsed(), waited, "nobody waits for what has failed");
        lookups.heard(name.host(), found(&[1, 2]));
        assert_eq!(count(&name), Some(2));
        lookups.heard(name.host(), Err(LookupError::NoServer));
        assert_eq!(count(&name), Some(2), "what was known stays");
        assert_eq!(count(&names.ask(name.host())), Some(2), "and another worker sees the same");
        let before = edition(&name);
        lookups.heard(name.host(), found(&[]));
        assert_eq!(count(&name), Some(0), "a name that is gone stands for nothing");
        assert!(edition(&name) > before && before.is_some(), "which workers tell from what was before");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_keeps_is_forgotten_when_it_is_due() {
        let (names, mut lookups) = table();
        let (kept, left) = (names.ask(&host("kept.example.org")), names.ask(&host("left.example.org")));
        lookups.begin();
        assert_eq!(lookups.looking.len(), 2);
        // What comes of it is said below.
        lookups.looking.shutdown().await;
        lookups.heard(kept.host(), found(&[1]));
        lookups.heard(left.host(), found(&[1]));
        drop(left);
        let due = lookups.begin();
        assert_eq!(due.duration_since(Instant::now()), Duration::from_secs(60));
        assert_eq!(names.lock().len(), 2, "it is good until then");
        tokio::time::advance(Duration::from_secs(60)).await;
        lookups.begin();
        assert_eq!(names.lock().keys().cloned().collect::<Vec<_>>(), [kept.host().clone()]);
        assert_eq!(lookups.looking.len(), 1, "the other one is looked up again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_used_least_recently_makes_way() {
        let (names, mut lookups) = table();
        let all: Vec<Name> =
            (0..NAMES_MAX).map(|number| names.ask(&format!("{number}.example.org").into())).collect();
        tokio::time::advance(Duration::from_secs(1)).await;
        all.iter().filter(|name| &**name.host() != "7.example.org").for_each(Name::touch);
        assert!(all.iter().all(|name| !name.is_forgotten()));
        let new = names.ask(&host("new.example.org"));
        assert_eq!(names.lock().len(), NAMES_MAX);
        let gone: Vec<&str> =
            all.iter().filter(|name| name.is_forgotten()).map(|name| &**name.host()).collect();
        assert_eq!(gone, ["7.example.org"]);
        assert!(!new.is_forgotten());
        // Not all are looked up at a time.
        lookups.begin();
        assert_eq!(lookups.looking.len(), LOOKUPS_MAX);
        lookups.looking.shutdown().await;
    }
}
