//! One stream of discovery: requests and changes in, pushes out, one at a time.
//!
//! A push is made when the last one has been taken, from the table as it is then: a slow reader finds all
//! that happened meanwhile in one push, and nothing piles up.

use crate::auth::{Auth, Caller, Token};
use crate::clients::{Clients, Entered, Role, StreamStatus};
use crate::state::{Audience, Kind, State};
use crate::subscription::{Delta, Sight, Subscription, TooManyNames, Wants};
use crate::table::TableView;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Code, Status, Streaming};
use weft_proto::ads::{self, DeltaDiscoveryRequest, Push};
use weft_runtime::drain::Stop;

/// How often the token of an open stream is reviewed again: a pod that is gone is told nothing for longer.
const REVIEW_EVERY: Duration = Duration::from_secs(600);

/// What a stream needs of the server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) table: TableView,
    pub(crate) clients: Clients,
    pub(crate) auth: Auth,
    pub(crate) stop: Stop,
}

/// A stream.
pub(crate) struct Session {
    server: Server,
    requests: Streaming<DeltaDiscoveryRequest>,
    token: Token,
    review: Interval,
    /// Once the first request has said who this is.
    client: Option<Client>,
    outgoing: VecDeque<Push>,
    nonce: u64,
    over: bool,
}

/// A stream whose client is known.
struct Client {
    role: Role,
    /// The node or waypoint for which it speaks; empty for nobody in particular.
    scope: Arc<str>,
    waypoint: Option<Waypoint>,
    entered: Entered,
    subscriptions: BTreeMap<Kind, Subscription>,
}

/// The pod that a waypoint's instance says it is.
struct Waypoint {
    caller: Caller,
    namespace: String,
    pod: String,
}

#[expect(clippy::large_enum_variant, reason = "lives for a moment, on the stack")]
enum Event {
    Request(Result<Option<DeltaDiscoveryRequest>, Status>),
    Changed(Option<Arc<State>>),
    Review,
    Stop,
}

impl Session {
    pub(crate) fn new(server: Server, token: Token, requests: Streaming<DeltaDiscoveryRequest>) -> Self {
        let mut review = tokio::time::interval_at(Instant::now() + REVIEW_EVERY, REVIEW_EVERY);
        review.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            server,
            requests,
            token,
            review,
            client: None,
            outgoing: VecDeque::new(),
            nonce: 0,
            over: false,
        }
    }

    /// The next push; `None` when the stream is over.
    pub(crate) async fn next(&mut self) -> Option<Result<Push, Status>> {
        if self.over {
            return None;
        }
        match self.step().await {
            Ok(Some(push)) => Some(Ok(push)),
            Ok(None) => None,
            Err(status) => {
                self.over = true;
                Some(Err(status))
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Push>, Status> {
        if self.server.table.first().await.is_none() {
            return Ok(None);
        }
        loop {
            if let Some(push) = self.outgoing.pop_front() {
                return Ok(Some(push));
            }
            let event = tokio::select! {
                request = self.requests.message() => Event::Request(request),
                changed = self.server.table.changed() => Event::Changed(changed),
                _ = self.review.tick() => Event::Review,
                () = self.server.stop.requested() => Event::Stop,
            };
            match event {
                Event::Request(Ok(Some(request))) => self.on_request(request).await?,
                Event::Request(Ok(None)) | Event::Changed(None) => return Ok(None),
                Event::Request(Err(status)) => return Err(status),
                Event::Changed(Some(state)) => self.on_change(&state)?,
                Event::Review => self.review_again().await?,
                Event::Stop => return Err(Status::unavailable("this replica of the control plane ends")),
            }
        }
    }

    async fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if self.client.is_none() {
            self.client = Some(self.introduce(request.node.as_ref()).await?);
        }
        let state = self.server.table.now();
        // What changed before this goes out before the answer, so that order is kept.
        self.on_change(&state)?;
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        let kind = client.role.kinds().iter().find(|kind| kind.type_url() == request.type_url).copied();
        let kind = kind.ok_or_else(|| {
            Status::invalid_argument(format!("{} is not served to this role", request.type_url))
        })?;
        client.on_answer(kind, &request);
        let wants = Wants {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            has: request.initial_resource_versions.into_iter().collect(),
        };
        let many = |TooManyNames| Status::resource_exhausted("too many names are subscribed to");
        let delta = match client.subscriptions.get_mut(&kind) {
            Some(subscription) => subscription.change(wants, &state).map_err(many)?,
            None => {
                let sight = client.sight(kind);
                let (subscription, delta) = Subscription::begin(sight, wants, &state).map_err(many)?;
                client.subscriptions.insert(kind, subscription);
                Some(delta)
            }
        };
        if let Some(delta) = delta {
            self.push(kind, delta, &state);
        }
        Ok(())
    }

    async fn introduce(&self, node: Option<&ads::Node>) -> Result<Client, Status> {
        let node = node.ok_or_else(|| Status::invalid_argument("the first request names no node"))?;
        let role = Role::of_node_id(&node.id)
            .ok_or_else(|| Status::invalid_argument("the node's id begins with no role that is served"))?;
        let caller = self.server.auth.caller(&self.token).await?;
        let own_node = || Arc::from(ads::metadata(node, "NODE_NAME").unwrap_or_default());
        let mut waypoint = None;
        let (scope, node_name) = match role {
            Role::Agent => {
                let node = self.server.auth.agent_node(&caller)?;
                (Arc::from(node.as_str()), Arc::from(node.as_str()))
            }
            Role::NodeProxy => (Arc::from(""), own_node()),
            Role::Waypoint => {
                let (namespace, pod) = pod_of(&node.id)?;
                let gateway = self.server.auth.waypoint(&caller, &namespace, &pod)?;
                waypoint = Some(Waypoint { caller: caller.clone(), namespace, pod });
                (Arc::from(gateway.to_string()), own_node())
            }
        };
        tracing::info!(role = role.word(), node = %node_name, account = %caller.service_account, "a client connected");
        let entered = self.server.clients.enter(StreamStatus {
            role,
            node_id: node.id.as_str().into(),
            node: node_name,
            caller,
            since: SystemTime::now(),
            types: BTreeMap::new(),
            nacks: VecDeque::new(),
        });
        Ok(Client { role, scope, waypoint, entered, subscriptions: BTreeMap::new() })
    }

    /// A review that cannot be made at present changes nothing for a stream that is open.
    async fn review_again(&self) -> Result<(), Status> {
        match self.server.auth.caller(&self.token).await {
            Err(status) if status.code() != Code::Unavailable => Err(status),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Policies and routes come before the workloads and services that need them, and go after them; so does what a policy
    /// was for all, when it becomes one for those alone that name it.
    fn on_change(&mut self, state: &State) -> Result<(), Status> {
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        client.check_waypoint(&self.server.auth)?;
        let mut later = Vec::new();
        let mut now = Vec::new();
        for (kind, subscription) in &mut client.subscriptions {
            let mut delta = subscription.advance(state).map_err(|_| {
                Status::aborted("this stream is too far behind; connect again with the versions you have")
            })?;
            let protects = matches!(kind, Kind::Authorization | Kind::RequestPolicy | Kind::Traffic);
            if protects {
                let (removed, resources) =
                    (std::mem::take(&mut delta.removed), std::mem::take(&mut delta.narrowed));
                later.push((*kind, Delta { resources, removed, ..Delta::default() }));
            }
            now.push((*kind, delta));
        }
        for (kind, delta) in now.into_iter().chain(later) {
            if !delta.is_empty() {
                self.push(kind, delta, state);
            }
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind, delta: Delta, state: &State) {
        self.nonce += 1;
        if let Some(client) = &mut self.client {
            client.entered.sent(kind, self.nonce);
        }
        self.outgoing.push_back(Push {
            system_version_info: state.generation().to_string(),
            resources: delta.resources,
            type_url: kind.type_url().to_owned(),
            nonce: self.nonce.to_string(),
            removed_resources: delta.removed,
        });
    }
}

/// The namespace and the pod in the id of a node, `<role>~<ip>~<pod>.<namespace>~…`.
fn pod_of(id: &str) -> Result<(String, String), Status> {
    let place = id.split('~').nth(2).and_then(|place| place.rsplit_once('.'));
    let (pod, namespace) =
        place.ok_or_else(|| Status::invalid_argument("the node's id names no pod and namespace"))?;
    Ok((namespace.to_owned(), pod.to_owned()))
}

impl Client {
    fn sight(&self, kind: Kind) -> Sight {
        let scope = match kind {
            Kind::Authorization | Kind::Address => "".into(),
            Kind::RequestPolicy | Kind::Traffic | Kind::Telemetry | Kind::AgentPod => self.scope.clone(),
        };
        let audience = match self.role {
            Role::Waypoint => Audience::Waypoint,
            Role::NodeProxy | Role::Agent => Audience::Other,
        };
        Sight { kind, scope, audience }
    }

    /// An instance of another waypoint than before begins anew, and one of none waits until it is one.
    fn check_waypoint(&self, auth: &Auth) -> Result<(), Status> {
        let Some(Waypoint { caller, namespace, pod }) = &self.waypoint else {
            return Ok(());
        };
        let now = auth.waypoint(caller, namespace, pod)?;
        if *now.to_string() == *self.scope {
            Ok(())
        } else {
            Err(Status::aborted(format!("{namespace}/{pod} is an instance of Gateway {now} now")))
        }
    }

    fn on_answer(&self, kind: Kind, request: &DeltaDiscoveryRequest) {
        if let Ok(nonce) = request.response_nonce.parse::<u64>() {
            self.entered.answered(kind, nonce);
        }
        if let Some(error) = &request.error_detail {
            tracing::warn!(
                role = self.role.word(),
                kind = kind.word(),
                message = error.message,
                "a client rejects resources"
            );
            self.entered.rejected(kind, &error.message, SystemTime::now());
        }
    }
}
