//! HBONE with another end that is not ours: h2 over tokio-rustls.

use crate::support::{configs, hbone, name, run, socket, tcp_pair};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use weft_tunnel::accept::{Tunnel, accept};
use weft_tunnel::end::{Broken, Refused};
use weft_tunnel::hbone::{ALPN, Incoming};
use weft_tunnel::io::TunnelIo;
use weft_tunnel::stream::Stream;
use weft_tunnel::words::Authority;

/// A client's stream, and what a strange server makes of the connection.
async fn to_stranger<F: Future<Output = ()> + 'static>(
    serve: impl FnOnce(h2::server::Connection<tokio_rustls::server::TlsStream<tokio::net::TcpStream>, Bytes>) -> F
    + 'static,
) -> TunnelIo {
    let (client_config, server_config) = configs(&[ALPN]);
    let (near, far) = tcp_pair().await;
    spawn_local(async move {
        let tls = tokio_rustls::TlsAcceptor::from(server_config).accept(far).await.unwrap();
        serve(h2::server::handshake(tls).await.unwrap()).await;
    });
    let client = hbone(socket(near), client_config, name()).await.unwrap();
    let authority: Authority = "10.0.0.1:80".parse().unwrap();
    Stream::from(client.open(&authority.into()).unwrap()).into_io()
}

#[test]
fn a_strange_server_is_talked_to() {
    run(async {
        let mut io = to_stranger(|mut server| async move {
            let (request, mut answer) = server.accept().await.unwrap().unwrap();
            spawn_local(async move { while server.accept().await.is_some() {} });
            let mut sending = answer.send_response(Response::new(()), false).unwrap();
            let mut body = request.into_body();
            while let Some(bytes) = body.data().await {
                let bytes = bytes.unwrap();
                body.flow_control().release_capacity(bytes.len()).unwrap();
                sending.send_data(bytes, false).unwrap();
            }
            sending.send_data(Bytes::from_static(b"bye"), true).unwrap();
        })
        .await;
        // Several times its window, which is 65 535 bytes.
        let sent = vec![7; 500_000];
        let (mut read, mut write) = tokio::io::split(&mut io);
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, count) = tokio::join!(send, read.read_to_end(&mut got));
        assert_eq!(count.unwrap(), 500_003);
        assert!(got.ends_with(b"\x07bye"));
    });
}

#[test]
fn a_strange_server_that_refuses_and_resets_nothing_stops_a_writer() {
    run(async {
        let mut io = to_stranger(|mut server| async move {
            let (request, mut answer) = server.accept().await.unwrap().unwrap();
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::FORBIDDEN;
            let _sending = answer.send_response(response, true).unwrap();
            while server.accept().await.is_some() {}
            drop(request);
        })
        .await;
        let block = vec![7; 65_536];
        let error = loop {
            if let Err(error) = io.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(Broken::find(&error), Some(Broken::Refused(Refused::Policy)));
    });
}

#[test]
fn a_strange_client_is_served() {
    run(async {
        let (client_config, server_config) = configs(&[ALPN]);
        let (near, far) = tcp_pair().await;
        let server = spawn_local(async move {
            let Tunnel::Hbone(_, driver) = accept(socket(far), server_config).await.unwrap().into_tunnel()
            else {
                panic!("the client chose h2");
            };
            let driven = driver.run(|incoming| match incoming {
                Incoming::Bad(bad) => panic!("{bad}"),
                Incoming::Connect(_, stream) => {
                    spawn_local(async move {
                        let (mut read, mut write) = tokio::io::split(Stream::from(stream).into_io());
                        tokio::io::copy(&mut read, &mut write).await.unwrap();
                        write.shutdown().await.unwrap();
                    });
                }
            });
            driven.await
        });
        let tls = tokio_rustls::TlsConnector::from(client_config).connect(name(), near).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
        spawn_local(connection);
        let connect = Request::connect("web.shop:80").body(()).unwrap();
        let (answer, mut sending) = requests.send_request(connect, false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        sending.send_data(Bytes::from(vec![7; 500_000]), true).unwrap();
        let mut body = answer.into_body();
        let mut got = 0;
        while let Some(bytes) = body.data().await {
            let bytes = bytes.unwrap();
            body.flow_control().release_capacity(bytes.len()).unwrap();
            got += bytes.len();
        }
        assert_eq!(got, 500_000);
        drop((requests, sending, body));
        server.await.unwrap().unwrap();
    });
}
