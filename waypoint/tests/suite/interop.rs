//! Calls of gRPC between a client and a server that others have written, with a waypoint between them.

use crate::words::{PORT, workload};
use crate::world::{World, all_to, run};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;
use tonic::metadata::MetadataValue;
use tonic::server::{NamedService, StreamingService};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use weft_core::service::AppProtocol;
use weft_core::workload::TunnelProtocol;

/// More than any window of HTTP/2 on the way, and less than what tonic takes.
const LARGE: usize = 3 << 20;

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
    /// How many answers are wanted, or how many notes came.
    #[prost(uint32, tag = "2")]
    count: u32,
}

fn note(payload: impl Into<Vec<u8>>, count: u32) -> Note {
    Note { payload: payload.into(), count }
}

/// The server. Every kind of call is a stream each way to it.
#[derive(Clone)]
struct Notes {
    /// What becomes of a call that is never answered.
    fate: Sender<&'static str>,
}

impl NamedService for Notes {
    const NAME: &'static str = "test.Notes";
}

impl Service<http::Request<Body>> for Notes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let one = Call { method, fate: self.fate.clone() };
        Box::pin(async move {
            let grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default());
            let grpc = grpc.accept_compressed(CompressionEncoding::Gzip);
            Ok(grpc.send_compressed(CompressionEncoding::Gzip).streaming(one, request).await)
        })
    }
}

struct Call {
    method: String,
    fate: Sender<&'static str>,
}

type Answers = BoxStream<'static, Result<Note, Status>>;

impl StreamingService<Note> for Call {
    type Response = Note;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answers>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        let (method, fate) = (self.method.clone(), self.fate.clone());
        Box::pin(async move {
            let (metadata, _, mut notes) = request.into_parts();
            let answers: Answers = match method.as_str() {
                "Echo" => notes.boxed(),
                "Fan" => {
                    let wanted = notes.message().await?.unwrap_or_default();
                    let numbered = move |count| Ok(note(wanted.payload.clone(), count));
                    futures::stream::iter((0..wanted.count).map(numbered)).boxed()
                }
                "Collect" => {
                    let all: Vec<Note> = notes.map(|one| one.unwrap_or_default()).collect().await;
                    let bytes: usize = all.iter().map(|one| one.payload.len()).sum();
                    futures::stream::iter([Ok(note(bytes.to_string(), all.len() as u32))]).boxed()
                }
                "Refuse" => {
                    return Err(Status::with_details(
                        Code::FailedPrecondition,
                        "zu früh: 50%",
                        DETAILS.into(),
                    ));
                }
                "Stall" => {
                    let _told = Told(fate);
                    std::future::pending::<()>().await;
                    unreachable!("it waits for ever")
                }
                other => return Err(Status::unimplemented(other)),
            };
            let mut response = Response::new(answers);
            if let Some(value) = metadata.get_bin("note-bin") {
                response.metadata_mut().insert_bin("note-bin", value.clone());
            }
            if let Some(value) = metadata.get("grpc-encoding") {
                response.metadata_mut().insert("came-as", value.clone());
            }
            Ok(response)
        })
    }
}

const DETAILS: &[u8] = b"\0details\xff";

/// Says when the server gives a call up.
struct Told(Sender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.try_send("given up");
    }
}

/// The client's connection, through the waypoint.
struct Through(SendRequest<Body>);

impl Service<http::Request<Body>> for Through {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.send_request(request).boxed()
    }
}

type Client = tonic::client::Grpc<Through>;

/// A client and a server on both sides of a waypoint, and what the server says of calls that it gives up.
async fn client(world: &World) -> (Client, Receiver<&'static str>) {
    let (fate, fates) = channel(16);
    world.put_service("grpc", AppProtocol::Grpc);
    world.put_workload(&workload("grpc-10", world.ip(10), "grpc", TunnelProtocol::Plain));
    let listener = TcpListener::bind((world.ip(10), PORT)).await.unwrap();
    let server = Server::builder().add_service(Notes { fate });
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    world.routes("grpc", &all_to("grpc")).await;
    let through = Through(world.client().await.http2("grpc").await);
    let mut client = Client::with_origin(through, http::Uri::from_static("http://grpc"));
    client.ready().await.unwrap();
    (client, fates)
}

fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

fn method(name: &str) -> PathAndQuery {
    format!("/test.Notes/{name}").parse().unwrap()
}

#[test]
fn calls_of_all_four_kinds() {
    run(async {
        let world = World::start().await;
        let (mut client, _) = client(&world).await;
        let one = client.unary(Request::new(note("a", 1)), method("Echo"), codec()).await.unwrap();
        assert_eq!(one.into_inner(), note("a", 1));

        let many = futures::stream::iter((0..100).map(|number| note(vec![b'x'; number], 0)));
        let one = client.client_streaming(Request::new(many), method("Collect"), codec()).await.unwrap();
        assert_eq!(one.into_inner(), note("4950", 100));

        let fan =
            client.server_streaming(Request::new(note("b", 100)), method("Fan"), codec()).await.unwrap();
        let got: Vec<Note> = fan.into_inner().map(Result::unwrap).collect().await;
        assert_eq!(got, (0..100).map(|count| note("b", count)).collect::<Vec<_>>());

        let (tx, rx) = channel(1);
        let notes = tokio_stream::wrappers::ReceiverStream::new(rx);
        let chat = client.streaming(Request::new(notes), method("Echo"), codec()).await.unwrap();
        let mut chat = chat.into_inner();
        for count in 0..10 {
            // The next one only after the answer to the last: nothing is gathered on the way.
            tx.send(note("c", count)).await.unwrap();
            assert_eq!(chat.message().await.unwrap(), Some(note("c", count)));
        }
        drop(tx);
        assert_eq!(
            chat.message().await.unwrap(),
            None,
            "the client's end is handed on, and so is the server's"
        );
    });
}

#[test]
fn what_a_call_carries_arrives_as_it_was() {
    run(async {
        let world = World::start().await;
        let (client, _) = client(&world).await;
        let gzip = CompressionEncoding::Gzip;
        let mut client = client.send_compressed(gzip).accept_compressed(gzip);
        let payload: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
        let mut request = Request::new(note(payload.clone(), 7));
        let value = MetadataValue::from_bytes(&[0, 255, 10, 13, 128]);
        request.metadata_mut().insert_bin("note-bin", value.clone());
        let response = client.unary(request, method("Echo"), codec()).await.unwrap();
        assert_eq!(response.metadata().get_bin("note-bin"), Some(&value));
        assert_eq!(response.metadata().get("came-as").map(MetadataValue::as_bytes), Some(&b"gzip"[..]));
        assert_eq!(response.into_inner(), note(payload, 7));

        let refused = client.unary(Request::new(note("d", 0)), method("Refuse"), codec()).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message(), refused.details()),
            (Code::FailedPrecondition, "zu früh: 50%", DETAILS)
        );
        let unknown = client.unary(Request::new(note("e", 0)), method("Nothing"), codec()).await.unwrap_err();
        assert_eq!((unknown.code(), unknown.message()), (Code::Unimplemented, "Nothing"));
    });
}

#[test]
fn a_call_that_is_over_for_its_client_is_over_for_its_server() {
    run(async {
        let world = World::start().await;
        let (mut client, mut fates) = client(&world).await;
        let mut late = Request::new(note("f", 0));
        late.set_timeout(Duration::from_millis(200));
        // This client has no clock of its own: it is the waypoint, or the server, that ends the call.
        let late = client.unary(late, method("Stall"), codec()).await.unwrap_err();
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
        assert_eq!(fates.recv().await, Some("given up"));

        let cancelled = client.unary(Request::new(note("g", 0)), method("Stall"), codec());
        let waited = tokio::time::timeout(Duration::from_millis(300), cancelled).await;
        assert!(waited.is_err(), "nobody answers");
        assert_eq!(fates.recv().await, Some("given up"));
        client.ready().await.unwrap();
        let next = client.unary(Request::new(note("h", 1)), method("Echo"), codec()).await.unwrap();
        assert_eq!(next.into_inner(), note("h", 1), "the connection goes on");
    });
}
