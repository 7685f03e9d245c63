//! The server over TCP and over a unix socket, asked by hand.

use super::*;
use crate::drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn routes() -> Routes {
    Routes::new()
        .get("/hello", |request| {
            let name = request.parameter("name").unwrap_or("nobody").to_owned();
            Answer::text(StatusCode::OK, format!("hello {name}"))
        })
        .route(Method::POST, "/echo", |request: Request| async move { Answer::json(request.body) })
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn answers_over_tcp_and_unix() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("admin.sock");
    let tcp = Server::bind(&Listen::Tcp("127.0.0.1:0".parse().expect("address"))).await.expect("bound");
    let addr = tcp.local_addr().expect("an address");
    let unix = Server::bind(&Listen::Unix(path.clone())).await.expect("bound");
    let (stopper, stop) = drain::channel();
    let mut servers = JoinSet::new();
    servers.spawn(tcp.serve(routes(), stop.clone()));
    servers.spawn(unix.serve(routes(), stop));

    let request = "GET /hello?x=1&name=weft HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = ask(tokio::net::TcpStream::connect(addr).await.expect("tcp"), request).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello weft"), "{answer}");
    let answer = ask(tokio::net::UnixStream::connect(&path).await.expect("unix"), request).await;
    assert!(answer.ends_with("hello weft"), "{answer}");

    stopper.stop();
    assert_eq!(drain::drain(&mut servers, Duration::from_secs(5)).await, drain::Drained::All);
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_not_served_is_said() {
    let request = |method: Method, path: &str| Request {
        method,
        path: path.to_owned(),
        query: String::new(),
        accept: String::new(),
        body: Bytes::from_static(b"{}"),
    };
    for (case, method, path, status) in [
        ("the list", Method::GET, "/", StatusCode::OK),
        ("no such path", Method::GET, "/nothing", StatusCode::NOT_FOUND),
        ("another method", Method::GET, "/echo", StatusCode::METHOD_NOT_ALLOWED),
        ("head for get", Method::HEAD, "/hello", StatusCode::OK),
        ("a body", Method::POST, "/echo", StatusCode::OK),
    ] {
        assert_eq!(routes().answer(request(method, path)).await.status, status, "{case}");
    }
    let answer = routes().answer(request(Method::GET, "/")).await;
    assert_eq!(answer.body, "/echo\n/hello\n");
}
