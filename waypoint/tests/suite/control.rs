//! A control plane that says what a test tells it to: discovery as the protocol has it, and certificates for whoever asks.

use envoy_types::pb::envoy::service::discovery::v3 as ads;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use futures::Stream;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};
use weft_control_ca::{CaDirectory, CaSettings, Granted};
use weft_control_serve::Incoming;
use weft_core::identity::Identity;
use weft_pki::{CertificateRequest, Leaf, ServingSlot, TrustBundle};
use weft_proto::ads::Any;
use weft_proto::ca::{
    IstioCertificateRequest, IstioCertificateResponse, IstioCertificateService, IstioCertificateServiceServer,
};

/// By type and name.
type Resources = BTreeMap<(String, String), Vec<u8>>;

pub(crate) struct Control {
    ca: CaDirectory,
    resources: watch::Sender<Arc<Resources>>,
    pub(crate) addr: SocketAddr,
}

impl Control {
    /// Serves from now on. The waypoint that asks for a certificate is `own`.
    pub(crate) async fn start(folder: &Path, own: Identity) -> Self {
        let now = SystemTime::now();
        let ca =
            CaDirectory::open_or_create(&folder.join("ca"), CaSettings::new("cluster.local"), now).unwrap();
        let authority = ca.authority();
        std::fs::write(folder.join("roots.pem"), authority.roots_pem()).unwrap();
        let serving = authority.serving_certificate(&["127.0.0.1".into()], now).unwrap();
        let slot = Arc::new(ServingSlot::new(&serving.chain_pem, &serving.key_pem).unwrap());
        let incoming = Incoming::bind((Ipv4Addr::LOCALHOST, 0).into(), slot).await.unwrap();
        let addr = incoming.local_addr().unwrap();
        let resources = watch::Sender::new(Arc::default());
        let discovery = Discovery(resources.subscribe());
        let certificates = Certificates { authority, own };
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(AggregatedDiscoveryServiceServer::new(discovery))
                .add_service(IstioCertificateServiceServer::new(certificates))
                .serve_with_incoming(incoming.connections()),
        );
        Self { ca, resources, addr }
    }

    /// Says something else from now on. Nothing takes a resource away.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Resources)) {
        self.resources.send_modify(|resources| change(Arc::make_mut(resources)));
    }

    pub(crate) fn leaf(&self, identity: &Identity) -> Leaf {
        self.leaf_for(identity, Duration::from_secs(3600))
    }

    /// One that lives so long.
    pub(crate) fn leaf_for(&self, identity: &Identity, lifetime: Duration) -> Leaf {
        let request = CertificateRequest::generate(identity).unwrap();
        let granted = Granted::without_a_caller(identity.clone());
        let chain = self.ca.authority().sign(request.csr_pem(), &granted, Some(lifetime), SystemTime::now());
        request.complete(&chain.unwrap()).unwrap()
    }

    pub(crate) fn trust(&self) -> TrustBundle {
        self.ca.authority().trust().clone()
    }
}

struct Certificates {
    authority: weft_control_ca::Authority,
    own: Identity,
}

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let granted = Granted::without_a_caller(self.own.clone());
        let signed = self.authority.sign(&request.get_ref().csr, &granted, None, SystemTime::now());
        let cert_chain = signed.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

struct Discovery(watch::Receiver<Arc<Resources>>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Responses<ads::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<ads::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<ads::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only delta discovery is served"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<ads::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (tx, rx) = mpsc::channel(64);
        tokio::spawn(tell(self.0.clone(), request.into_inner(), tx));
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(rx))))
    }
}

/// Sends each type when it is first asked for, and what changes of it after.
async fn tell(
    mut all: watch::Receiver<Arc<Resources>>,
    mut requests: Streaming<ads::DeltaDiscoveryRequest>,
    tx: mpsc::Sender<Result<ads::DeltaDiscoveryResponse, Status>>,
) {
    let mut told: Vec<(String, Arc<Resources>)> = Vec::new();
    loop {
        let (type_url, nothing) = tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) if told.iter().all(|(type_url, _)| *type_url != request.type_url) => {
                    told.push((request.type_url.clone(), Arc::default()));
                    (Some(request.type_url), true)
                }
                Ok(Some(request)) => {
                    assert!(request.error_detail.is_none(), "the waypoint refused: {:?}", request.error_detail);
                    continue;
                }
                Ok(None) | Err(_) => return,
            },
            changed = all.changed() => match changed {
                Ok(()) => (None, false),
                Err(_) => return,
            },
        };
        let now = all.borrow_and_update().clone();
        for (of, before) in &mut told {
            if type_url.as_ref().is_some_and(|one| one != of) {
                continue;
            }
            let resources: Vec<ads::Resource> = now
                .iter()
                .filter(|(key, body)| key.0 == *of && before.get(*key) != Some(*body))
                .map(|((type_url, name), body)| ads::Resource {
                    name: name.clone(),
                    version: "1".to_owned(),
                    resource: Some(Any { type_url: type_url.clone(), value: body.clone() }),
                    ..ads::Resource::default()
                })
                .collect();
            let gone = before.keys().filter(|key| key.0 == *of && !now.contains_key(*key));
            let removed_resources: Vec<String> = gone.map(|(_, name)| name.clone()).collect();
            *before = now.clone();
            if resources.is_empty() && removed_resources.is_empty() && !nothing {
                continue;
            }
            let response = ads::DeltaDiscoveryResponse {
                resources,
                removed_resources,
                type_url: of.clone(),
                nonce: "n".to_owned(),
                ..ads::DeltaDiscoveryResponse::default()
            };
            if tx.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}
