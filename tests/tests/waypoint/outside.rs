//! Backends with TLS of their own, and services outside that are known by name.

use crate::scene::{LOCAL_NAME, OUTSIDE_NAME, PATIENCE, Scene};
use crate::{GATEWAY_API, NETWORKING, on_scene};
use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use weft_tests::waiting::eventually;

/// The name in the vault's certificate.
const VAULT: &str = "vault.example.org";
/// Where it takes anybody, and where only who has a certificate.
const OPEN: u16 = 8443;
const CLOSED: u16 = 8444;

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A server's TLS, which asks clients for certificates of an authority if there is one.
fn server(
    authority: &CertifiedIssuer<'static, KeyPair>,
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Result<Arc<ServerConfig>> {
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![VAULT.to_owned()])?.signed_by(&key, authority)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone())?;
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?
        }
    };
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![leaf.der().clone()];
    Ok(Arc::new(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?))
}

/// Answers requests within TLS, and nothing else.
fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let config = config.clone();
        std::thread::spawn(move || {
            // Whoever speaks no TLS, or leaves, is no concern of the others.
            let _ = answer(stream, config);
        });
    }
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";
            stream.get_mut().write_all(answer)?;
            stream.get_mut().flush()?;
        }
        line.clear();
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_backend_that_speaks_tls() -> Result<()> {
    on_scene(|scene| {
        let (servers, clients) = (authority()?, authority()?);
        let vault = scene.world.node(1).pod("shop", "vault").label("app", "vault").start()?;
        for (port, clients) in [(OPEN, None), (CLOSED, Some(&clients))] {
            let config = server(&servers, clients)?;
            let listener = vault.enter(move || TcpListener::bind(("0.0.0.0", port)))??;
            drop(vault.background(move || serve(&listener, &config))?);
        }
        let service = scene.world.service("shop", "vault").select([("app", "vault")]);
        let service = service.port("http", 80, OPEN).port("http-closed", 81, CLOSED);
        service.label("weft.dev/waypoint", "gate").apply()?;
        let (open, closed) = ("http://vault.shop/", "http://vault.shop:81/");
        scene.await_answer("what speaks TLS only answers nobody", (&scene.client, open), |answer| {
            answer.status == 503
        })?;
        // In the words of Gateway API, for one port.
        let policy = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "vault", "sectionName": "http"}],
            "validation": {
                "hostname": VAULT, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "vault-ca"}],
            },
        });
        scene.apply(GATEWAY_API, "BackendTLSPolicy", "vault", &policy)?;
        let missing = |answer: &weft_testkit::report::Answer| answer.status == 503;
        scene.await_answer("nobody vouches for it", (&scene.client, open), missing)?;
        put(scene, "ConfigMap", "vault-ca", "data", &json!({"ca.crt": servers.pem()}))?;
        let answered = |answer: &weft_testkit::report::Answer| answer.is_ok() && answer.body == "secret";
        scene.await_answer("the policy's authority vouches for it", (&scene.client, open), answered)?;
        let answer = scene.client.get(closed)?;
        ensure!(answer.status == 503, "the other port is not the policy's: {answer:?}");
        // In Istio's words, with a certificate of the waypoint's own.
        let rule = |mode: &str| {
            let tls = json!({"mode": mode, "credentialName": "vault", "sni": VAULT});
            json!({"host": "vault", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 81}, "tls": tls}]}})
        };
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["gate".to_owned()])?.signed_by(&key, &clients)?;
        let (chain, private) = (leaf.pem(), key.serialize_pem());
        let texts = json!({"tls.crt": chain, "tls.key": private, "ca.crt": servers.pem()});
        put(scene, "Secret", "vault", "stringData", &texts)?;
        scene.apply(NETWORKING, "DestinationRule", "vault", &rule("SIMPLE"))?;
        eventually("without a certificate the door stays closed", PATIENCE, || {
            let answer = scene.client.get(closed)?;
            ensure!(answer.status == 503, "{answer:?}");
            ensure!(scene.waypoint.log().contains("CertificateRequired"), "it is not TLS that fails yet");
            Ok(())
        })?;
        scene.apply(NETWORKING, "DestinationRule", "vault", &rule("MUTUAL"))?;
        scene.await_answer("the waypoint's certificate opens it", (&scene.client, closed), answered)?;
        let answer = scene.client.get(open)?;
        ensure!(answered(&answer), "the policy stands: {answer:?}");
        // The key went where it is shown, and nowhere else.
        let secret = private.lines().nth(1).context("a key in PEM")?;
        for process in [&*scene.waypoint, scene.mesh.control(), scene.mesh.proxy(1), scene.mesh.proxy(2)] {
            ensure!(!process.log().contains(secret), "a key is in a log");
        }
        Ok(())
    })
}

/// Writes an object of `shop` that has no spec.
fn put(scene: &Scene, kind: &str, name: &str, field: &str, texts: &Value) -> Result<()> {
    let metadata = json!({"name": name, "namespace": "shop"});
    scene
        .world
        .apply(&json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: texts}))
        .map(drop)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_service_outside_that_is_known_by_name() -> Result<()> {
    on_scene(|scene| {
        let labels = json!({"weft.dev/waypoint": "gate"});
        let entry = |name: &str, host: &str, resolution: &str, labels: &Value| {
            scene.world.apply(&json!({
                "apiVersion": NETWORKING, "kind": "ServiceEntry",
                "metadata": {"name": name, "namespace": "shop", "labels": labels},
                "spec": {
                    "hosts": [host], "resolution": resolution,
                    "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
                },
            }))
        };
        entry("out", OUTSIDE_NAME, "DNS", &labels)?;
        let url = format!("http://{OUTSIDE_NAME}/by-name");
        let from_outside =
            |answer: &weft_testkit::report::Answer| answer.is_ok() && answer.version() == "outside";
        eventually("the waypoint finds it", PATIENCE, || {
            let answer = scene.client.get(&url)?;
            ensure!(from_outside(&answer), "{answer:?}");
            ensure!(
                scene.waypoint.log().contains("/by-name"),
                "the waypoint has not told of the request yet"
            );
            Ok(())
        })?;
        // Its routes hold for it as for any Service.
        let fault = json!({"hosts": [OUTSIDE_NAME], "http": [{
            "directResponse": {"status": 418}, "match": [{"uri": {"prefix": "/tea"}}],
        }, {"route": [{"destination": {"host": OUTSIDE_NAME}}]}]});
        scene.apply(NETWORKING, "VirtualService", "out", &fault)?;
        let tea = format!("http://{OUTSIDE_NAME}/tea");
        scene.await_answer("a route holds", (&scene.client, &tea), |answer| answer.status == 418)?;
        let answer = scene.client.get(&url)?;
        ensure!(from_outside(&answer), "{answer:?}");
        // A name that leads to this machine leads nowhere.
        entry("in", LOCAL_NAME, "DNS_ROUND_ROBIN", &labels)?;
        eventually("the waypoint leaves it out", PATIENCE, || {
            let log = scene.waypoint.log();
            ensure!(log.contains("is of this machine or its link"), "it has not said so yet");
            Ok(())
        })?;
        let answer = scene.client.get(&format!("http://{LOCAL_NAME}/"))?;
        ensure!(answer.status == 503, "{answer:?}");
        Ok(())
    })
}
