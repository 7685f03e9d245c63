//! TLS of a backend's own: with whom it is begun, and that nothing goes in plain text instead.

use crate::backend::Backend;
use crate::words::{PORT, forward, to, workload};
use crate::world::{OK, World, run};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;
use weft_core::service::AppProtocol;
use weft_core::workload::TunnelProtocol;

/// A backend that speaks nothing but TLS, with a certificate for these names.
pub(crate) struct Secured {
    pub(crate) roots: String,
    /// What came that was no TLS, or for which the handshake failed.
    failed: Rc<Cell<usize>>,
    /// The names that were asked for.
    pub(crate) asked: Rc<std::cell::RefCell<Vec<Option<String>>>>,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) async fn secured(world: &World, alpn: &[&[u8]], backend: Backend) -> Secured {
    secured_from(world, alpn, backend, None).await
}

/// One that takes only clients whose certificates come from this authority.
async fn secured_from(
    world: &World,
    alpn: &[&[u8]],
    backend: Backend,
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Secured {
    world.put_workload(&workload("web-10", world.ip(10), "web", TunnelProtocol::Plain));
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["api.example.org".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://example.org/api".try_into().unwrap()));
    let leaf = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, |clients| {
        let mut roots = RootCertStore::empty();
        roots.add(clients.der().clone()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap()
    });
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_client_cert_verifier(verifier);
    let mut config = builder.with_single_cert(vec![leaf.der().clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((world.ip(10), PORT)).await.unwrap();
    let (failed, asked) = (Rc::new(Cell::new(0)), Rc::default());
    let made = Secured { roots: authority.pem(), failed: failed.clone(), asked: Rc::clone(&asked) };
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                failed.set(failed.get() + 1);
                continue;
            };
            asked.borrow_mut().push(stream.get_ref().1.server_name().map(str::to_owned));
            spawn_local(backend.clone().serve(TokioIo::new(stream)));
        }
    });
    made
}

fn tls(server_name: Option<&str>, names: &[&str], trust: &Value) -> Value {
    let tls = json!({"serverName": server_name, "subjectAltNames": names, "trust": trust});
    json!({"settings": {"tls": tls}})
}

#[test]
fn the_backend_proves_who_it_is_or_gets_nothing() {
    run(async {
        let world = World::start().await;
        let backend = Backend::named("secured");
        let secured = secured(&world, &[b"http/1.1"], backend.clone()).await;
        let roots = json!({"roots": secured.roots});
        let client = world.client().await;
        let rules = [(json!({}), forward(&[to("web", 1)], json!({})))];
        let api = Some("api.example.org");
        for (case, how, want) in [
            ("by its name", tls(api, &[], &roots), Ok(())),
            (
                "by another one of its names",
                tls(Some("other.org"), &["spiffe://example.org/api"], &roots),
                Ok(()),
            ),
            ("whoever it is", tls(Some("other.org"), &[], &json!("unverified")), Ok(())),
            ("not by that name", tls(Some("other.org"), &[], &roots), Err("NotValidForName")),
            ("not by these names", tls(api, &["spiffe://example.org/else"], &roots), Err("NotValidForName")),
            ("not by the service's name", tls(None, &[], &roots), Err("NotValidForName")),
            ("without an authority", tls(api, &[], &json!({"roots": ""})), Err("names no authority")),
            ("in plain text", json!({"settings": {}}), Err("")),
        ] {
            world.traffic("web", &rules, &how).await;
            let path = format!("/{}", case.replace([' ', '\''], "-"));
            let before = (secured.asked.borrow().len(), backend.hits());
            let answer = client.get("web", &path).await;
            let line = world.line(&path).await;
            match want {
                Ok(()) => {
                    assert_eq!((answer.status, &*answer.text()), (OK, "secured"), "{case}: {line}");
                    let asked = secured.asked.borrow().last().cloned().flatten();
                    assert_eq!(asked.as_deref(), how["settings"]["tls"]["serverName"].as_str(), "{case}");
                }
                Err(why) => {
                    assert_eq!(answer.status, 503, "{case}: {line}");
                    assert!(line["why"].as_str().unwrap_or_default().contains(why), "{case}: {line}");
                    assert_eq!(backend.hits(), before.1, "{case}: nothing got through");
                }
            }
        }
        assert!(secured.failed.get() > 0);
    });
}

#[test]
fn the_waypoint_shows_the_certificate_that_it_was_given() {
    run(async {
        let world = World::start().await;
        let (clients, others) = (authority(), authority());
        let backend = Backend::named("secured");
        let secured = secured_from(&world, &[b"http/1.1"], backend.clone(), Some(&clients)).await;
        let given = |authority: &CertifiedIssuer<'static, KeyPair>| {
            let key = KeyPair::generate().unwrap();
            let leaf =
                CertificateParams::new(vec!["gate".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
            json!({"certificate": {"chain": leaf.pem(), "key": key.serialize_pem()}})
        };
        let client = world.client().await;
        let rules = [(json!({}), forward(&[to("web", 1)], json!({})))];
        for (case, shown, want) in [
            ("a good one", given(&clients), OK),
            ("another one", given(&others), StatusCode::SERVICE_UNAVAILABLE),
            ("none", json!("nobody"), StatusCode::SERVICE_UNAVAILABLE),
            ("one that was not kept", json!("withheld"), StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let mut how = tls(Some("api.example.org"), &[], &json!({"roots": secured.roots}));
            how["settings"]["tls"]["client"] = shown;
            world.traffic("web", &rules, &how).await;
            let path = format!("/{}", case.replace(' ', "-"));
            let before = backend.hits();
            let answer = client.get("web", &path).await;
            assert_eq!(answer.status, want, "{case}: {}", world.line(&path).await);
            assert_eq!(backend.hits() - before, usize::from(want == OK), "{case}");
        }
    });
}

#[test]
fn http2_is_agreed_on_within_tls() {
    run(async {
        for (alpn, want) in [(&b"h2"[..], OK), (b"http/1.1", StatusCode::SERVICE_UNAVAILABLE)] {
            let world = World::start().await;
            world.put_service("web", AppProtocol::Http2);
            let backend = Backend::replying(|_| crate::backend::reply(200, "secured")).by_http2();
            let secured = secured(&world, &[alpn], backend.clone()).await;
            let rules = [(json!({}), forward(&[to("web", 1)], json!({})))];
            let how = tls(Some("api.example.org"), &[], &json!({"roots": secured.roots}));
            world.traffic("web", &rules, &how).await;
            let mut sender = world.client().await.http2("web").await;
            // Whatever the client calls it.
            for (scheme, said, proto) in
                [("http", None, "http"), ("https", None, "http"), ("http", Some("https"), "https")]
            {
                let mut request = http::Request::post(format!("{scheme}://web/"));
                if let Some(said) = said {
                    request = request.header("x-forwarded-proto", said);
                }
                let request = request.body(http_body_util::Full::<bytes::Bytes>::default());
                let answer = sender.send_request(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), want, "{:?}", String::from_utf8_lossy(alpn));
                if want == OK {
                    let seen = backend.seen();
                    let (head, _) = seen.last().unwrap();
                    let told = head.headers.get("x-forwarded-proto").map(|value| value.to_str().unwrap());
                    assert_eq!(
                        (head.uri.scheme_str(), told),
                        (Some("https"), Some(proto)),
                        "{scheme} {said:?}"
                    );
                }
            }
        }
    });
}
