//! Keeps the certificates of this node's pods: gets one for every identity that is needed, renews it at half its
//! life, keeps the old one while the authority is away, and hands all of them to the next process.

use crate::certificates::CaClient;
use crate::leaves::LeafWriter;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use weft_core::identity::Identity;
use weft_pki::{CertificateRequest, Leaf, TrustBundle, TrustWriter, Usage, renew_at};
use weft_runtime::log::describe;
use weft_runtime::ready::Condition;

/// Requests to the authority under way at a time: a node that starts with 200 service accounts must not flood it.
const SIGNING_MAX: usize = 8;
/// The first pause after a failure; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest sleep. A certificate's life is counted by the wall clock, and timers by one that stands still while the machine
/// is suspended and knows nothing of a clock that is set.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long a certificate is kept that nobody needs.
const UNNEEDED_FOR: Duration = Duration::from_secs(60);
/// How often the file with the roots is looked at. Kubernetes takes up to a minute to change it; tests are faster.
const ROOTS_EVERY: Duration = Duration::from_millis(500);

/// The identities that pods of this node have now.
pub type Wanted = watch::Receiver<Arc<HashSet<Identity>>>;

/// What a previous process left.
#[derive(Debug)]
pub struct Inherited {
    /// Its leaves.
    pub leaves: Vec<Leaf>,
    /// Told once they can be presented: before that no listener is served, or a peer would be sent away.
    pub taken: oneshot::Sender<()>,
}

/// The certificate keeper.
pub struct Keeper {
    ca: Arc<CaClient>,
    lifetime: Duration,
    writer: LeafWriter,
    wanted: Wanted,
    /// What a previous process left.
    inherited: mpsc::Receiver<Inherited>,
    /// Who vouches for leaves now.
    roots: watch::Receiver<Arc<TrustBundle>>,
    /// Told of every change, for the next process.
    keep: watch::Sender<Vec<Leaf>>,
    condition: Condition,
    due: HashMap<Identity, Due>,
    unneeded_since: HashMap<Identity, Instant>,
    signing: Signing,
}

/// When an identity's certificate is asked for next.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: At,
    pause: Duration,
    under_way: bool,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// Because of what stands in a certificate.
    Wall(SystemTime),
    /// After a pause.
    Paused(Instant),
}

/// Requests that are under way. Every one ends with an answer, also one that panics: its identity would never be asked
/// for again.
#[derive(Default)]
struct Signing {
    tasks: JoinSet<Result<Leaf, String>>,
    whose: HashMap<Id, Identity>,
}

impl Signing {
    fn room(&self) -> usize {
        SIGNING_MAX.saturating_sub(self.tasks.len())
    }

    fn begin(
        &mut self,
        identity: Identity,
        work: impl Future<Output = Result<Leaf, String>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(work).id();
        self.whose.insert(id, identity);
    }

    /// The next one to end; nothing if none is under way. Cancel-safe.
    async fn next(&mut self) -> Option<(Identity, Result<Leaf, String>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(format!("the request failed badly: {error}"))),
        };
        self.whose.remove(&id).map(|identity| (identity, result))
    }
}

/// What a keeper is made of.
pub struct KeeperParts {
    /// The authority.
    pub ca: Arc<CaClient>,
    /// How long certificates are asked for.
    pub lifetime: Duration,
    /// Where they go.
    pub writer: LeafWriter,
    /// Who needs one.
    pub wanted: Wanted,
    /// What a previous process left.
    pub inherited: mpsc::Receiver<Inherited>,
    /// The trust bundle, as [`follow_roots`] reads it.
    pub roots: watch::Receiver<Arc<TrustBundle>>,
    /// Who keeps them for the next process.
    pub keep: watch::Sender<Vec<Leaf>>,
    /// Readiness.
    pub condition: Condition,
}

impl Keeper {
    /// Puts a keeper together.
    pub fn new(parts: KeeperParts) -> Self {
        let KeeperParts { ca, lifetime, writer, wanted, inherited, roots, keep, condition } = parts;
        Self {
            ca,
            lifetime,
            writer,
            wanted,
            inherited,
            roots,
            keep,
            condition,
            due: HashMap::new(),
            unneeded_since: HashMap::new(),
            signing: Signing::default(),
        }
    }

    /// Runs until nobody needs certificates any more.
    pub async fn run(mut self) {
        self.on_wanted();
        loop {
            let (now, wall) = (Instant::now(), SystemTime::now());
            let next = self.due.values().filter(|due| !due.under_way).map(|due| due.left(now, wall)).min();
            let wait = next.map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY));
            let room = self.signing.room() > 0;
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.on_wanted(),
                    Err(_) => return,
                },
                Some(inherited) = self.inherited.recv() => self.on_inherited(inherited),
                Ok(()) = self.roots.changed() => self.on_roots(),
                Some((identity, result)) = self.signing.next() => self.on_signed(&identity, result),
                () = tokio::time::sleep(wait), if room => self.on_due(),
            }
            self.forget_unneeded();
            self.tell();
        }
    }

    fn on_wanted(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.due.retain(|identity, _| wanted.contains(identity));
        let table = self.writer.table();
        for identity in wanted.iter().filter(|identity| !self.due.contains_key(identity)).collect::<Vec<_>>()
        {
            let due = table.get(identity).map_or_else(Due::now, Due::renewal);
            self.due.insert(identity.clone(), due);
        }
    }

    /// Lets go of certificates that nobody has needed for a while. Not at once: after a start the pods come one by
    /// one, and what was inherited is for pods that are yet to come.
    fn forget_unneeded(&mut self) {
        let (table, now) = (self.writer.table(), Instant::now());
        let unneeded = |identity: &Identity| !self.due.contains_key(identity);
        self.unneeded_since.retain(|identity, _| unneeded(identity) && table.get(identity).is_some());
        for identity in table.iter().map(Leaf::identity).filter(|identity| unneeded(identity)) {
            self.unneeded_since.entry(identity.clone()).or_insert(now);
        }
        let old = |since: &Instant| now.duration_since(*since) > UNNEEDED_FOR;
        let gone: Vec<Identity> =
            self.unneeded_since.iter().filter(|(_, since)| old(since)).map(|(one, _)| one.clone()).collect();
        if !gone.is_empty() {
            self.writer.change(|table| gone.iter().for_each(|identity| table.remove(identity)));
            self.hand_on();
        }
    }

    fn on_inherited(&mut self, Inherited { leaves, taken }: Inherited) {
        let now = SystemTime::now();
        for leaf in leaves.into_iter().filter(|leaf| leaf.not_after() > now) {
            let identity = leaf.identity().clone();
            if self.writer.table().get(&identity).is_some_and(|own| own.not_after() >= leaf.not_after()) {
                continue;
            }
            if let Some(due) = self.due.get_mut(&identity).filter(|due| !due.under_way) {
                *due = Due::renewal(&leaf);
            }
            self.writer.change(|table| table.insert(leaf));
        }
        // The link may have ended meanwhile.
        let _ = taken.send(());
    }

    /// A leaf whose root has left the bundle is worth nothing any more: another one is asked for at once, and not
    /// at half the life of the old one.
    fn on_roots(&mut self) {
        let (trust, now) = (self.roots.borrow_and_update().clone(), SystemTime::now());
        for leaf in self.writer.table().iter() {
            let vouched_for = trust.verify_peer(leaf.chain(), Usage::Client, now).is_ok();
            if let Some(due) = self.due.get_mut(leaf.identity()).filter(|due| !vouched_for && !due.under_way)
            {
                *due = Due::now();
            }
        }
    }

    fn on_due(&mut self) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let due = self.due.iter_mut().filter(|(_, due)| !due.under_way && due.left(now, wall).is_zero());
        for (identity, due) in due.take(self.signing.room()) {
            due.under_way = true;
            let (ca, whose, lifetime) = (self.ca.clone(), identity.clone(), self.lifetime);
            self.signing.begin(identity.clone(), async move { sign(&ca, &whose, lifetime).await });
        }
    }

    fn on_signed(&mut self, identity: &Identity, result: Result<Leaf, String>) {
        let Some(due) = self.due.get_mut(identity) else {
            return; // Nobody needs it any more.
        };
        match result {
            Ok(leaf) => {
                *due = Due::signed(Due::renewal(&leaf), due.pause, (Instant::now(), SystemTime::now()));
                match due.at {
                    At::Wall(_) => tracing::info!(%identity, "certificate renewed"),
                    At::Paused(_) => tracing::warn!(
                        %identity,
                        "a new certificate is to be renewed already: is this machine's clock right, and the control plane's?"
                    ),
                }
                self.writer.change(|table| table.insert(leaf));
                self.hand_on();
            }
            Err(error) => {
                tracing::warn!(%identity, error, retry_in = ?due.pause, "no certificate; the old one stays");
                *due = Due::after(due.pause, Instant::now());
            }
        }
    }

    fn hand_on(&self) {
        let leaves = self.writer.table().iter().cloned().collect();
        self.keep.send_replace(leaves);
    }

    fn tell(&self) {
        let table = self.writer.table();
        let now = SystemTime::now();
        let valid = |identity: &Identity| table.get(identity).is_some_and(|leaf| leaf.not_after() > now);
        match self.due.keys().find(|identity| !valid(identity)) {
            Some(identity) => self.condition.unmet(format!("no certificate for {identity}")),
            None => self.condition.met(),
        }
    }
}

impl Due {
    fn now() -> Self {
        Self { at: At::Paused(Instant::now()), pause: RETRY_MIN, under_way: false }
    }

    fn after(pause: Duration, now: Instant) -> Self {
        Self { at: At::Paused(now + pause), pause: (pause * 2).min(RETRY_MAX), under_way: false }
    }

    fn renewal(leaf: &Leaf) -> Self {
        Self { at: At::Wall(renew_at(leaf, spread(leaf))), pause: RETRY_MIN, under_way: false }
    }

    /// When a certificate has come: at its renewal, but not at once. Where a clock is wrong the next one would be as late,
    /// and the authority would have nothing else to do.
    fn signed(renewal: Self, pause: Duration, (now, wall): (Instant, SystemTime)) -> Self {
        if renewal.left(now, wall).is_zero() { Self::after(pause, now) } else { renewal }
    }

    /// How long until it is due; nothing once it is.
    fn left(&self, now: Instant, wall: SystemTime) -> Duration {
        match self.at {
            At::Wall(at) => at.duration_since(wall).unwrap_or_default(),
            At::Paused(at) => at.saturating_duration_since(now),
        }
    }
}

/// Between 0 and 1, different for every leaf: its fingerprint is as random as anything.
fn spread(leaf: &Leaf) -> f64 {
    f64::from(leaf.fingerprint().as_bytes()[0]) / 255.0
}

async fn sign(ca: &CaClient, identity: &Identity, lifetime: Duration) -> Result<Leaf, String> {
    let request = CertificateRequest::generate(identity).map_err(|error| describe(&error))?;
    let chain = ca.sign(request.csr_pem(), identity, lifetime).await.map_err(|error| describe(&error))?;
    request.complete(&chain).map_err(|error| describe(&error))
}

/// Follows the file with the roots.
pub async fn follow_roots(
    path: PathBuf,
    trust_domain: String,
    (mut writer, read): (TrustWriter, watch::Sender<Arc<TrustBundle>>),
    condition: Condition,
) {
    let mut last = Vec::new();
    loop {
        match tokio::fs::read(&path).await {
            Ok(bytes) if bytes == last => {}
            Ok(bytes) => {
                match TrustBundle::from_pem(&trust_domain, &[String::from_utf8_lossy(&bytes)]) {
                    Ok(bundle) => {
                        tracing::info!(path = %path.display(), "trust bundle read");
                        writer.replace(bundle);
                        read.send_replace(writer.view().now());
                        condition.met();
                    }
                    Err(error) => {
                        let error = describe(&error);
                        tracing::warn!(path = %path.display(), error, "bad trust bundle; the last one stays");
                    }
                }
                last = bytes;
            }
            Err(error) if last.is_empty() => {
                condition.unmet(format!("cannot read {}: {error}", path.display()));
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot read the trust bundle"),
        }
        tokio::time::sleep(ROOTS_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn renewal_follows_the_wall_clock_and_a_pause_does_not() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let hour = Duration::from_secs(3600);
        let due = |at| Due { at, pause: RETRY_MIN, under_way: false };
        for (case, at, now, wall, want) in [
            ("in an hour", At::Wall(wall + hour), now, wall, hour),
            ("the machine was suspended", At::Wall(wall + hour), now, wall + hour * 2, Duration::ZERO),
            ("the clock is set back", At::Wall(wall + hour), now, wall - hour, hour * 2),
            ("a pause, and the clock is set back", At::Paused(now + hour), now, wall - hour, hour),
            ("a pause that is over", At::Paused(now), now + hour, wall, Duration::ZERO),
        ] {
            assert_eq!(due(at).left(now, wall), want, "{case}");
        }
    }

    #[tokio::test]
    async fn what_is_late_as_soon_as_it_is_there_is_not_asked_for_again_at_once() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let renewal = |at| Due { at: At::Wall(at), pause: RETRY_MIN, under_way: false };
        let fresh = Due::signed(renewal(wall + RETRY_MIN), RETRY_MAX, (now, wall));
        assert_eq!((fresh.left(now, wall), fresh.pause), (RETRY_MIN, RETRY_MIN));
        let late = Due::signed(renewal(wall), RETRY_MIN, (now, wall));
        assert_eq!((late.left(now, wall), late.pause), (RETRY_MIN, RETRY_MIN * 2));
        let again = Due::signed(renewal(wall - RETRY_MAX), RETRY_MAX, (now, wall));
        assert_eq!((again.left(now, wall), again.pause), (RETRY_MAX, RETRY_MAX));
    }

    #[tokio::test]
    async fn a_request_that_panics_is_answered_too() {
        let identity = Identity::new("cluster.local", "shop", "web").expect("an identity");
        let mut signing = Signing::default();
        signing.begin(identity.clone(), async { panic!("a bug") });
        let (whose, result) = signing.next().await.expect("one is under way");
        assert!(whose == identity && result.is_err_and(|reason| reason.contains("badly")));
        assert_eq!(signing.room(), SIGNING_MAX);
        assert!(signing.next().await.is_none());
    }
}
