//! Connections to a pod of this node that came outside a tunnel: the client is in no mesh, or is not who it
//! looks like. Nobody has proven an identity; policy (STRICT is one) decides.

use super::Worker;
use super::carry::{Attempt, Cause, Failure};
use super::deliver::{Came, DeliverError, deliver};
use super::dial::watch_stranger;
use super::pods::{HasLeft, Pod};
use super::registry::{Direction, Judged};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use weft_core::admit::{NotPermitted, judge};
use weft_core::names::{NetworkAddr, WorkloadUid, canonical};
use weft_core::policy::{Connection, Permit};
use weft_core::ports::is_mesh_port;
use weft_core::route::seen_by;
use weft_core::workload::Workload;
use weft_tunnel::join::join;
use weft_tunnel::socket::Socket;

/// Why a plain connection is refused.
#[derive(Debug, thiserror::Error)]
enum InboundError {
    #[error("discovery does not know this pod ({0}) yet; is weft-control reachable?")]
    UnknownPod(WorkloadUid),
    #[error(transparent)]
    HasLeft(#[from] HasLeft),
    #[error("port {0} belongs to the mesh itself")]
    MeshPort(u16),
    #[error("{0}")]
    NotPermitted(NotPermitted),
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

impl Failure for InboundError {
    fn cause(&self) -> Cause {
        match self {
            Self::UnknownPod(_) | Self::MeshPort(_) => Cause::Unknown,
            Self::HasLeft(error) => error.cause(),
            Self::NotPermitted(error) => error.cause(),
            Self::Deliver(error) => error.cause(),
        }
    }
}

impl Worker {
    pub(super) async fn serve_inbound(self: Rc<Self>, pod: Rc<Pod>, listener: OwnedFd) {
        let serve = move |worker: Rc<Self>, socket, client| worker.inbound(pod.clone(), socket, client);
        self.accept_all(listener, "inbound", serve).await;
    }

    async fn inbound(self: Rc<Self>, pod: Rc<Pod>, socket: Socket, client: SocketAddr) {
        let Ok(target) = socket.local_addr().map(canonical) else {
            return; // Reset before it was looked at.
        };
        if let Err(error) = watch_stranger(&socket2::SockRef::from(&socket)) {
            tracing::debug!(%client, %error, "cannot set a client's time limits");
        }
        let mut attempt = Attempt::new(&self, Direction::Inbound, client, target);
        match self.try_inbound(&pod, &mut attempt).await {
            Err(error) => {
                socket.reset_on_close();
                attempt.refuse(&self, &error);
            }
            Ok((app, judged)) => {
                let ongoing = attempt.open(&self, vec![pod.uid.clone()], Some(judged));
                let end = join(&app, &socket, ongoing.carried()).await;
                ongoing.finish(end);
            }
        }
    }

    async fn try_inbound(&self, pod: &Pod, attempt: &mut Attempt) -> Result<(Socket, Judged), InboundError> {
        let (client, target) = (attempt.client, attempt.target);
        let workload = pod.unless_left(|| self.await_workload(&pod.uid)).await?;
        let workload = workload.ok_or_else(|| InboundError::UnknownPod(pod.uid.clone()))?;
        attempt.parties.destination = Some(workload.clone());
        // Only for telemetry: the address proves nothing.
        let addr = NetworkAddr { network: workload.network.clone(), ip: client.ip() };
        attempt.parties.source = self.knowledge.view.now().workload_at(&addr).cloned();
        if is_mesh_port(target.port()) {
            return Err(InboundError::MeshPort(target.port()));
        }
        let connection = Connection {
            source_ip: client.ip(),
            source: None,
            destination_ip: target.ip(),
            destination_port: target.port(),
        };
        let permit = self.judge(attempt, &connection, None, &workload).map_err(InboundError::NotPermitted)?;
        let app =
            deliver(pod, &permit, (client, Came::IntoThePod), target, self.knowledge.limits.connect).await?;
        Ok((app, Judged { connection, source: None, workload: workload.uid.clone() }))
    }

    /// A client as the application at `target` shall see it.
    pub(super) fn seen(&self, workload: &Workload, client: SocketAddr, target: SocketAddr) -> SocketAddr {
        seen_by(&self.knowledge.view.now(), &workload.network, client, target.ip())
    }

    /// Asks waypoints and policy, on one snapshot, and notes what dry-run policies would have said, and which service it
    /// is about. `source` is who connects, where that is proven.
    pub(super) fn judge(
        &self,
        attempt: &mut Attempt,
        connection: &Connection,
        source: Option<&Workload>,
        workload: &Arc<Workload>,
    ) -> Result<Permit, NotPermitted> {
        let snapshot = self.knowledge.view.now();
        // The newest word on the workload: its list of policies may have changed since it was routed to.
        let workload = snapshot.workload(&workload.uid).unwrap_or(workload);
        attempt.parties.served = snapshot.only_service(workload, connection.destination_port).cloned();
        attempt.judged_by = Some(snapshot.policy_generation());
        let judgement = judge(&snapshot, source, workload, connection).map_err(NotPermitted::PastWaypoint)?;
        if let Some(verdict) = &judgement.dry_run {
            attempt.dry_run = describe_dry_run(verdict);
        }
        judgement.permit().map_err(NotPermitted::Denied)
    }
}

fn describe_dry_run(verdict: &weft_core::policy::Verdict) -> String {
    use weft_core::policy::Verdict;
    match verdict {
        Verdict::Allowed(Some(policy)) => format!("would be allowed by {policy}"),
        Verdict::Allowed(None) => "would be allowed".to_owned(),
        Verdict::Denied(denial) => format!("would be {denial}"),
    }
}
