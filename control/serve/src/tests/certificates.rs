//! Certificates for those who may have them.

use super::world::*;
use std::time::Duration;
use tonic::Code;
use weft_core::identity::Identity;
use weft_pki::CertificateRequest;
use weft_xds::{CaClient, SignError};

#[tokio::test]
async fn a_node_proxy_gets_certificates_for_its_nodes_pods() {
    let world = World::start().await;
    let identity = |account: &str| Identity::new("cluster.local", "default", account).unwrap();
    let own = Identity::new("cluster.local", "weft-system", "weft-node-proxy").unwrap();
    for (case, account, node, wanted, want) in [
        ("a pod on its node", "weft-node-proxy", "n1", identity("web"), Ok(())),
        ("its own", "weft-node-proxy", "n2", own, Ok(())),
        (
            "a pod on another node",
            "weft-node-proxy",
            "n2",
            identity("web"),
            Err((Code::FailedPrecondition, true)),
        ),
        ("somebody else", "web", "n1", identity("web"), Err((Code::PermissionDenied, false))),
    ] {
        let client = CaClient::new(world.control(&world.token(account, node)));
        let request = CertificateRequest::generate(&wanted).unwrap();
        let signed = client.sign(request.csr_pem(), &wanted, Duration::from_secs(600)).await;
        let got = match &signed {
            Ok(_) => Ok(()),
            Err(error @ SignError::Refused { code, .. }) => Err((*code, error.may_pass_later())),
            Err(error) => panic!("{case}: {error}"),
        };
        assert_eq!(got, want, "{case}");
        if let Ok(chain) = signed {
            let leaf = request.complete(&chain).unwrap();
            assert_eq!(*leaf.identity(), wanted, "{case}");
        }
    }
}

#[tokio::test]
async fn the_token_is_read_again_after_a_refusal() {
    let world = World::start().await;
    let control = world.control("not a token");
    let client = CaClient::new(control.clone());
    let own = Identity::new("cluster.local", "weft-system", "weft-node-proxy").unwrap();
    let request = CertificateRequest::generate(&own).unwrap();
    let refused = client.sign(request.csr_pem(), &own, Duration::ZERO).await;
    assert!(matches!(refused, Err(SignError::Refused { code: Code::Unauthenticated, .. })), "{refused:?}");
    std::fs::write(&control.token, world.token("weft-node-proxy", "n1")).unwrap();
    client.sign(request.csr_pem(), &own, Duration::ZERO).await.unwrap();
}
