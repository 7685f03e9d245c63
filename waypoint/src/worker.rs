//! What the connections and requests of one worker share. Nothing of it is shared between workers but what discovery
//! tells, which nobody locks to read, and what of its targets they hold in common.

use crate::client::Destination;
use crate::commons::Commons;
use crate::config::{Adaptive, Limits};
use crate::dice::Dice;
use crate::dynamic::DynamicNames;
use crate::ending::Ending;
use crate::endpoints::NoEndpoint;
use crate::export::Outbox;
use crate::knowledge::{Moment, WaypointMesh};
use crate::open::Open;
use crate::outside::{self, Asked};
use crate::standing::Standing;
use crate::streams::{StreamPatience, Streams};
use crate::target::{Making, Target};
use crate::targets::{Placed, Targets};
use crate::telemetry::{LogLine, Metrics, Telemetry};
use crate::trace::Tracer;
use crate::tunnels::Tunnels;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use weft_core::balance::Chance;
use weft_core::identity::Identity;
use weft_core::names::WorkloadUid;
use weft_l7::target::ServiceTarget;
use weft_pki::{Fingerprint, TrustView};
use weft_runtime::access::{AccessFormat, AccessLog};
use weft_runtime::outlet::Outlet;
use weft_tunnel::handshakes::{HANDSHAKES_MAX, Handshakes};
use weft_xds::View;
use weft_xds::leaves::Leaves;

/// Waits for a name that nobody has looked up yet, if that is what is missing, and no longer than until `until`.
///
/// # Errors
/// As `place` says, and if nobody has answered in time.
pub(crate) async fn settle(
    place: impl Fn() -> Result<Placed, NoEndpoint>,
    until: Option<Instant>,
) -> Result<Rc<Target>, NoEndpoint> {
    let name = match place()? {
        Placed::Here(target) => return Ok(target),
        Placed::Awaits(name) => name,
    };
    // Boxed: else every request would keep the space of it for as long as it lives.
    let waiting = Box::pin(name.wait());
    match until {
        None => waiting.await,
        Some(until) => {
            // What has come of it is asked for below.
            let _ = tokio::time::timeout_at(until.into(), waiting).await;
        }
    }
    place()?.by_now()
}

/// What all workers know.
#[derive(Clone)]
pub(crate) struct Knowledge {
    /// What discovery has told.
    pub(crate) view: View<WaypointMesh>,
    /// Certificates.
    pub(crate) leaves: Leaves,
    /// Who vouches for peers.
    pub(crate) trust: TrustView,
    /// Who this waypoint is.
    pub(crate) own: Identity,
    /// Its own workload.
    pub(crate) uid: WorkloadUid,
    /// How long things may take.
    pub(crate) limits: Limits,
    /// What workers hold in common of everything that requests go to.
    pub(crate) commons: Commons,
    /// Names that clients ask for.
    pub(crate) names: DynamicNames,
    /// Whether limits of requests at a time find themselves.
    pub(crate) adaptive: Adaptive,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// How lines are written.
    pub(crate) access: AccessFormat,
    /// Where they go.
    pub(crate) lines: Outlet,
    /// Where lines go that a Telemetry sends to a collector.
    pub(crate) logs: Option<Outbox<LogLine>>,
    /// Where spans go, if they go anywhere.
    pub(crate) tracer: Option<Tracer>,
}

/// A moment, as one worker holds it: one more reference within the worker touches nothing that other cores touch.
#[derive(Debug)]
pub(crate) struct Now(Arc<Moment>);

impl Deref for Now {
    type Target = Arc<Moment>;

    fn deref(&self) -> &Arc<Moment> {
        &self.0
    }
}

/// One worker.
pub(crate) struct Worker {
    /// What discovery tells, for who waits for more of it.
    pub(crate) view: View<WaypointMesh>,
    /// Certificates.
    pub(crate) leaves: Leaves,
    /// Who vouches for peers.
    pub(crate) trust: TrustView,
    /// Who this waypoint is.
    pub(crate) own: Identity,
    /// Its own workload.
    pub(crate) uid: WorkloadUid,
    /// How long things may take.
    pub(crate) limits: Limits,
    /// The ways to backends.
    pub(crate) tunnels: Tunnels,
    /// What is told of requests.
    pub(crate) telemetry: Rc<Telemetry>,
    /// Connections of bytes that are open.
    pub(crate) open: Rc<Open>,
    /// Requests of HTTP/2 that are open.
    pub(crate) streams: Rc<Streams>,
    /// Peers that have not proven who they are.
    pub(crate) handshakes: Handshakes,
    /// Whether it ends.
    pub(crate) ending: Ending,
    /// Chance.
    pub(crate) dice: Dice,
    /// Copies of requests that are under way.
    pub(crate) mirrors: Rc<Cell<usize>>,
    /// Which trust bundle is in force, for who has to look again when it is another one.
    pub(crate) trusted: watch::Sender<Fingerprint>,
    targets: Targets,
    commons: Commons,
    names: DynamicNames,
    adaptive: Adaptive,
    /// What discovery has told, as this worker last saw it.
    now: RefCell<Rc<Now>>,
}

impl Worker {
    pub(crate) fn new(knowledge: Knowledge, index: usize) -> Rc<Self> {
        let Knowledge {
            view,
            leaves,
            trust,
            own,
            uid,
            limits,
            commons,
            names,
            adaptive,
            metrics,
            access,
            lines,
            ..
        } = knowledge;
        let telemetry =
            Telemetry::new(metrics, AccessLog::new(access, lines), knowledge.logs, knowledge.tracer);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Rc::new(Self {
            tunnels: Tunnels::new(own.clone(), leaves.clone(), trust.clone(), limits),
            telemetry: Rc::new(telemetry),
            open: Rc::default(),
            streams: Rc::default(),
            handshakes: Handshakes::new(HANDSHAKES_MAX),
            ending: Ending::default(),
            // Only so that workers and waypoints do not choose alike.
            dice: Dice::new(since.as_nanos() as u64 ^ (index as u64) << 48),
            mirrors: Rc::default(),
            trusted: watch::Sender::new(trust.now().fingerprint()),
            targets: Targets::default(),
            commons,
            names,
            now: RefCell::new(Rc::new(Now(view.now()))),
            view,
            leaves,
            trust,
            own,
            uid,
            limits,
            adaptive,
        })
    }

    /// What is known now. A request that has begun keeps the one that it began with.
    pub(crate) fn now(&self) -> Rc<Now> {
        self.now.borrow().clone()
    }

    /// Takes over what discovery tells, for as long as it does.
    pub(crate) async fn follow(&self) {
        let mut view = self.view.clone();
        *self.now.borrow_mut() = Rc::new(Now(view.seen()));
        while let Some(moment) = view.changed().await {
            *self.now.borrow_mut() = Rc::new(Now(moment.clone()));
            self.open.judge_again(&moment);
        }
    }

    /// Chance, as decisions take it.
    pub(crate) fn chance(&self) -> impl Chance {
        |bound| self.dice.below(bound)
    }

    /// A part of a service, as it is at this moment.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn service(
        &self,
        target: &ServiceTarget,
        moment: &Arc<Moment>,
    ) -> Result<Rc<Target>, NoEndpoint> {
        self.targets.service(target, self.making(moment)?, &mut self.chance())
    }

    /// Where of a part of a service a request goes that asks for this: of a service that stands for many names, to what the
    /// name stands for.
    ///
    /// # Errors
    /// If there is no such service, or the name is none of its names or stands for nothing.
    pub(crate) fn place(
        &self,
        target: &ServiceTarget,
        asked: Asked<'_>,
        moment: &Arc<Moment>,
    ) -> Result<Placed, NoEndpoint> {
        if outside::pattern(&moment.mesh, &target.service).is_none() {
            return self.service(target, moment).map(Placed::Here);
        }
        let name = outside::name_of(&moment.mesh, &target.service, asked)?;
        self.targets.named((target, name), &self.names, self.making(moment)?, &mut self.chance())
    }

    /// The same of what a client asked for itself.
    ///
    /// # Errors
    /// If it is not there any more, or as [`Self::place`] says.
    pub(crate) fn destination(
        &self,
        destination: &Destination,
        asked: Asked<'_>,
        moment: &Arc<Moment>,
    ) -> Result<Placed, NoEndpoint> {
        match destination {
            Destination::Service { own, .. } => self.place(own, asked, moment),
            Destination::Workload { own, .. } => {
                let target = self.targets.workload(own, self.making(moment)?, &mut self.chance());
                target.map(Placed::Here)
            }
        }
    }

    fn making<'a>(&'a self, moment: &'a Arc<Moment>) -> Result<Making<'a>, NoEndpoint> {
        // Without itself it could not tell which endpoints are near, and streams are refused until it can.
        let near = moment.mesh.workload(&self.uid).ok_or(NoEndpoint::Nobody)?;
        let adaptive = match self.adaptive {
            Adaptive::On => Some(weft_l7::adaptive::Adaptive::default()),
            Adaptive::Off => None,
        };
        Ok(Making { moment, near, commons: &self.commons, adaptive })
    }

    /// How all endpoints stand that it has sent requests to.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        self.targets.standings(Instant::now())
    }

    /// What is due from time to time.
    pub(crate) fn tick(&self) {
        self.targets.tick(Instant::now());
        self.open.tick(Instant::now());
        let Limits { body_idle: sending, taking, .. } = self.limits;
        self.streams.tick(Instant::now(), StreamPatience { sending, taking });
        let trusted = self.trust.now().fingerprint();
        self.trusted.send_if_modified(|known| std::mem::replace(known, trusted) != trusted);
        self.tunnels.close_idle();
        self.telemetry.flush();
    }
}
