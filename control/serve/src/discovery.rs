//! The gRPC service of discovery.
//!
//! Written by hand because what it sends is [`Push`], whose resources are encoded once for all streams; a
//! generated service would encode every resource for every stream.

use crate::auth::{Auth, Token};
use crate::clients::Clients;
use crate::session::{Server, Session};
use crate::table::TableView;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::convert::Infallible;
use std::future::Ready;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use weft_proto::ads::{DELTA_PATH, DeltaDiscoveryRequest, Push, SERVICE_NAME};
use weft_runtime::drain::Stop;

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`, delta only.
#[derive(Clone)]
pub struct DiscoveryService(Server);

impl DiscoveryService {
    /// Serves a table to callers that `auth` knows, and lists them in `clients`, until `stop`.
    pub fn new(table: TableView, auth: Auth, clients: Clients, stop: Stop) -> Self {
        Self(Server { table, clients, auth, stop })
    }
}

impl NamedService for DiscoveryService {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for DiscoveryService
where
    B: HttpBody<Data: Send> + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = Delta(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != DELTA_PATH {
                return Ok(Status::unimplemented("only delta discovery is served").into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::<Push, DeltaDiscoveryRequest>::default());
            Ok(grpc.streaming(method, request).await)
        })
    }
}

/// The one method.
struct Delta(Server);

impl StreamingService<DeltaDiscoveryRequest> for Delta {
    type Response = Push;
    type ResponseStream = BoxStream<'static, Result<Push, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let token = Token::of(request.metadata());
        std::future::ready(token.map(|token| {
            let session = Session::new(self.0.clone(), token, request.into_inner());
            let pushes = stream::unfold(session, |mut session| async move {
                let push = session.next().await?;
                Some((push, session))
            });
            Response::new(pushes.boxed())
        }))
    }
}
