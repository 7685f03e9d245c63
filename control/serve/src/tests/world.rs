//! A control plane on a real port with TLS, and clients of it.

use crate::{
    Auth, Batch, CertificateService, Clients, DiscoveryService, Incoming, Instance, Table, WaypointView,
};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Server};
use tonic::{Status, Streaming};
use weft_control_ca::{
    BoundPod, CaDirectory, CaSettings, LocalTokens, NodeProxyAccount, PodPlace, PodView, ServiceAccount,
    TokenSubject,
};
use weft_core::identity::Identity;
use weft_core::names::{GatewayName, NodeName};
use weft_pki::ServingSlot;
use weft_proto::ads::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse, node,
};
use weft_proto::ca::IstioCertificateServiceServer;
use weft_runtime::drain::{Stopper, channel};
use weft_xds::{Client, ClientConfig, ControlSettings, ControlUrl, Model, Node, Role, Subscribe, View};

/// Longer than any test may wait.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it happens in time")
}

/// Pods that the host runs, but for those whose uid is `gone`; `web` is enrolled on `n1`.
#[derive(Debug)]
struct Pods;

impl PodView for Pods {
    fn node_of(&self, pod: &BoundPod) -> PodPlace {
        if &*pod.uid == "gone" { PodPlace::Gone } else { PodPlace::HostManaged }
    }

    fn has_enrolled_pod(&self, node: &NodeName, identity: &Identity) -> bool {
        node.as_str() == "n1" && identity.service_account() == "web"
    }
}

/// Pods `<gateway>-<number>` of namespace `weft-system` are instances, of account `waypoint`; a test may rename the Gateway
/// of all.
#[derive(Debug, Default)]
pub(crate) struct Waypoints(pub(crate) parking_lot::Mutex<Option<&'static str>>);

impl WaypointView for Waypoints {
    fn instance(&self, namespace: &str, pod: &str) -> Option<Instance> {
        let (gateway, _) = pod.rsplit_once('-').filter(|_| namespace == "weft-system")?;
        let gateway = self.0.lock().unwrap_or(gateway);
        Some(Instance {
            gateway: GatewayName::new(namespace, gateway),
            service_account: ServiceAccount::new(namespace, "waypoint"),
        })
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    ca: CaDirectory,
    tokens: LocalTokens,
    pub(crate) table: Table,
    pub(crate) clients: Clients,
    pub(crate) waypoints: Arc<Waypoints>,
    pub(crate) addr: SocketAddr,
    server: Option<(Stopper, JoinSet<()>)>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("ca");
        let ca = CaDirectory::open_or_create(&home, CaSettings::new("cluster.local"), SystemTime::now());
        let mut world = Self {
            ca: ca.unwrap(),
            tokens: LocalTokens::open_or_create(&home).unwrap(),
            folder,
            table: Table::new(),
            clients: Clients::new(),
            waypoints: Arc::default(),
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            server: None,
        };
        std::fs::write(world.roots(), world.ca.authority().roots_pem()).unwrap();
        world.serve().await;
        world
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// Serves, on the same port as before if there was one.
    pub(crate) async fn serve(&mut self) {
        let authority = self.ca.authority();
        let serving = authority.serving_certificate(&["127.0.0.1".into()], SystemTime::now()).unwrap();
        let slot = Arc::new(ServingSlot::new(&serving.chain_pem, &serving.key_pem).unwrap());
        let incoming = Incoming::bind(self.addr, slot).await.unwrap();
        self.addr = incoming.local_addr().unwrap();
        let agent = ServiceAccount::new("weft-system", "weft-agent");
        let auth = Auth::new(Arc::new(self.tokens.clone()), Arc::new(Pods), self.waypoints.clone(), agent);
        let (stopper, stop) = channel();
        let discovery =
            DiscoveryService::new(self.table.view(), auth.clone(), self.clients.clone(), stop.clone());
        let node_proxy = NodeProxyAccount::default_in("cluster.local");
        let (_, authority) = watch::channel(authority);
        let certificates = CertificateService::new(auth, authority, node_proxy);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut stop = stop;
            Server::builder()
                .add_service(discovery)
                .add_service(IstioCertificateServiceServer::new(certificates))
                .serve_with_incoming_shutdown(incoming.connections(), async move { stop.requested().await })
                .await
                .unwrap();
        });
        self.server = Some((stopper, tasks));
    }

    /// Ends the server and all streams.
    pub(crate) async fn stop(&mut self) {
        let (stopper, mut tasks) = self.server.take().unwrap();
        stopper.stop();
        soon(tasks.join_next()).await.unwrap().unwrap();
    }

    pub(crate) fn apply(&mut self, change: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        change(&mut batch);
        self.table.apply(batch);
    }

    pub(crate) fn token(&self, account: &str, node: &str) -> String {
        self.token_of_pod(account, node, "uid", Duration::from_secs(600))
    }

    /// A token of an account of namespace `weft-system` that is bound to this pod.
    pub(crate) fn token_bound(&self, account: &str, pod: &str) -> String {
        let subject = TokenSubject {
            service_account: ServiceAccount::new("weft-system", account),
            pod: Some((pod.into(), "uid".into())),
            node: None,
        };
        self.tokens.issue_token(&subject, &["istio-ca"], Duration::from_secs(600), SystemTime::now()).unwrap()
    }

    pub(crate) fn token_of_pod(&self, account: &str, node: &str, uid: &str, lifetime: Duration) -> String {
        let subject = TokenSubject {
            service_account: ServiceAccount::new("weft-system", account),
            pod: Some((account.into(), uid.into())),
            node: Some(NodeName::new(node)),
        };
        let issued = SystemTime::now() - Duration::from_secs(60);
        let lifetime = lifetime + Duration::from_secs(60);
        self.tokens.issue_token(&subject, &["istio-ca"], lifetime, issued).unwrap()
    }

    /// Settings of a client with this token.
    pub(crate) fn control(&self, token: &str) -> ControlSettings {
        let count = std::fs::read_dir(self.folder.path()).unwrap().count();
        let path = self.folder.path().join(format!("token-{count}"));
        std::fs::write(&path, token).unwrap();
        ControlSettings {
            url: ControlUrl { host: self.addr.ip().to_string(), port: self.addr.port() },
            roots: self.roots(),
            token: path,
            cluster: "Kubernetes".into(),
        }
    }

    pub(crate) fn config(&self, role: Role, node: &str) -> ClientConfig {
        let account = match role {
            Role::NodeProxy => "weft-node-proxy",
            Role::Waypoint => "waypoint",
            Role::Agent => "weft-agent",
        };
        ClientConfig {
            control: self.control(&self.token(account, node)),
            node: Node {
                role,
                ip: [10, 0, 0, 1].into(),
                pod: account.into(),
                namespace: "weft-system".into(),
                node: NodeName::new(node),
            },
            subscribe: Subscribe::All,
            state_file: None,
        }
    }

    pub(crate) async fn raw_channel(&self) -> Channel {
        let roots = std::fs::read_to_string(self.roots()).unwrap();
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)).domain_name("127.0.0.1");
        let endpoint = Endpoint::from_shared(format!("https://{}", self.addr)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    /// A stream whose messages are seen one by one.
    pub(crate) async fn raw(&self, role: &str, token: Option<String>) -> Result<Raw, Status> {
        self.raw_of(role, "p.ns", token).await
    }

    /// The same for a client that says it is `<pod>.<namespace>`.
    pub(crate) async fn raw_of(&self, role: &str, place: &str, token: Option<String>) -> Result<Raw, Status> {
        let (requests, rx) = mpsc::channel(16);
        let rx = futures::stream::unfold(rx, |mut rx| async { Some((rx.recv().await?, rx)) });
        let mut request = tonic::Request::new(rx);
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut client = AggregatedDiscoveryServiceClient::new(self.raw_channel().await);
        let responses = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Raw { node_id: format!("{role}~10.0.0.1~{place}~ns.svc.cluster.local"), requests, responses })
    }
}

/// A client that runs until dropped.
pub(crate) fn run<M: Model>(config: ClientConfig) -> (View<M>, JoinSet<()>)
where
    Client<M>: Send,
{
    let (client, view) = Client::<M>::new(config);
    let mut tasks = JoinSet::new();
    tasks.spawn(client.run());
    (view, tasks)
}

/// Waits until what the view shows is as wanted.
pub(crate) async fn until<M: Model>(view: &mut View<M>, wanted: impl Fn(&M::Snapshot) -> bool) {
    soon(async {
        while !wanted(&view.now()) {
            view.changed().await.expect("the client lives");
        }
    })
    .await;
}

pub(crate) struct Raw {
    node_id: String,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Raw {
    pub(crate) async fn send(&self, mut request: DeltaDiscoveryRequest) {
        request.node = Some(node(&self.node_id, []));
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<Seen, Status> {
        let response = soon(self.responses.message()).await?.expect("the stream is open");
        let mut names: Vec<_> = response.resources.iter().map(|one| one.name.clone()).collect();
        names.sort_unstable();
        let bodies = response.resources.iter().filter_map(|one| one.resource.as_ref());
        let bodies = bodies.map(|any| any.value.to_vec()).collect();
        let versions = response.resources.into_iter().map(|one| (one.name, one.version)).collect();
        let mut removed = response.removed_resources;
        removed.sort_unstable();
        Ok(Seen { type_url: response.type_url, names, removed, versions, bodies, nonce: response.nonce })
    }
}

/// What a response said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) type_url: String,
    pub(crate) names: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) versions: std::collections::HashMap<String, String>,
    /// In the order in which they came.
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) nonce: String,
}

pub(crate) async fn exists(path: &Path) {
    soon(async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
