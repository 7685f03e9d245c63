//! TLS to backends: what DestinationRules and BackendTLSPolicies come to, with the Secrets and ConfigMaps that they name.

use super::world::{World, bound, service, waypoint, with};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use std::sync::Arc;
use weft_control_api::gateway_api::status::Status;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_l7::destination::{BackendTls, ClientIdentity, Trust};

/// A certificate that is its own authority, and its key.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["web".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

fn secret(name: &str, texts: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "stringData": texts})
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data})
}

fn rule(policy: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "d", "namespace": "shop"}, "spec": with(json!({"host": "web"}), policy),
    })
}

fn tls(over: Value) -> Value {
    rule(json!({"trafficPolicy": {"tls": with(json!({"mode": "SIMPLE"}), over)}}))
}

/// A policy for Service `web` with authorities of ConfigMap `ca`.
fn policy(name: &str, over: Value) -> Value {
    let spec = json!({
        "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "validation": {
            "hostname": "web.example.org",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
        },
    });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": with(spec, over),
    })
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let two = json!({"spec": {"ports": [
        {"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 81, "targetPort": 8081},
    ]}});
    let base = [waypoint("wp"), with(bound("web", "wp"), two), service("alone", "10.1.0.3")];
    World::of(base.into_iter().chain(objects))
}

/// What the waypoint begins at a port of `web`, or of a part of it.
fn begun(world: &World, port: u16, subset: Option<&str>) -> Option<BackendTls> {
    let traffic = world.traffic_of("wp", "web")?;
    traffic.destination.settings(port, subset).expect("the test names the subset").tls.clone()
}

fn missing(tls: Option<BackendTls>) -> String {
    match tls.map(|tls| tls.trust) {
        Some(Trust::Missing(why)) => why.to_string(),
        other => panic!("not missing: {other:?}"),
    }
}

/// The conditions of a policy at each Service.
fn conditions(world: &World, name: &str) -> Vec<String> {
    match world.0.status(&ObjectKey::new(Kind::BackendTlsPolicy, "shop", name)) {
        Some(Status::Policy(policy)) => {
            let shown = policy.ancestors.iter().map(|ancestor| {
                assert_eq!((&*ancestor.ancestor_ref.kind, &*ancestor.ancestor_ref.group), ("Service", ""));
                let all = ancestor.conditions.iter();
                all.map(|one| format!("{:?} {:?}", one.status, one.reason)).collect::<Vec<_>>().join(", ")
            });
            shown.collect()
        }
        other => panic!("no status of a policy: {other:?}"),
    }
}

#[test]
fn modes_of_a_destination_rule() {
    let names = || vec![Arc::from("spiffe://example.org/api")];
    let begins = |server_name: Option<&str>, subject_alt_names, trust| {
        let server_name = server_name.map(Arc::from);
        Some(BackendTls { server_name, subject_alt_names, trust, client: ClientIdentity::Nobody })
    };
    for (case, over, want) in [
        ("none", json!({"mode": "DISABLE"}), None),
        ("the mesh's own", json!({"mode": "ISTIO_MUTUAL"}), None),
        ("the machine's authorities", json!({}), begins(None, vec![], Trust::System)),
        (
            "by their file",
            json!({"caCertificates": "/etc/ssl/certs/ca-certificates.crt"}),
            begins(None, vec![], Trust::System),
        ),
        (
            "names",
            json!({"sni": "api.example.org", "subjectAltNames": ["spiffe://example.org/api"]}),
            begins(Some("api.example.org"), names(), Trust::System),
        ),
        ("nobody is asked", json!({"insecureSkipVerify": true}), begins(None, vec![], Trust::Unverified)),
    ] {
        let world = world([tls(over)]);
        assert_eq!(begun(&world, 80, None), want, "{case}");
        assert_eq!(world.problems(), [""; 0], "{case}");
    }
}

#[test]
fn ports_and_subsets_say_it_for_themselves() {
    let world = world([rule(json!({
        "trafficPolicy": {
            "tls": {"mode": "SIMPLE", "sni": "all"},
            "portLevelSettings": [{"port": {"number": 81}, "tls": {"mode": "DISABLE"}}],
        },
        "subsets": [
            {"name": "same", "labels": {"v": "1"}},
            {"name": "own", "labels": {"v": "2"}, "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "own"}}},
        ],
    }))]);
    let name = |port, subset| {
        begun(&world, port, subset).map(|tls| tls.server_name.expect("it is written").to_string())
    };
    assert_eq!(name(80, None).as_deref(), Some("all"));
    assert_eq!(name(81, None), None);
    assert_eq!(name(80, Some("same")).as_deref(), Some("all"));
    assert_eq!(name(80, Some("own")).as_deref(), Some("own"));
    assert_eq!(name(81, Some("same")), None);
    assert_eq!(name(81, Some("own")).as_deref(), Some("own"), "a subset has the last word");
}

#[test]
fn certificates_come_from_secrets_of_the_waypoints_namespace() {
    let (pem, key) = certificate();
    let (other, _) = certificate();
    let mutual = || tls(json!({"mode": "MUTUAL", "credentialName": "c"}));
    let shown = ClientIdentity::Certificate { chain: pem.as_str().into(), key: key.as_str().into() };
    let opaque = || secret("c", json!({"cert": pem, "key": key, "cacert": other}));
    let for_tls = secret("c", json!({"tls.crt": pem, "tls.key": key, "ca.crt": other}));
    let bare = secret("c", json!({"cert": pem, "key": key}));
    let apart = secret("c-cacert", json!({"cacert": other}));
    let map = config_map("c", json!({"ca.crt": other}));
    for (case, objects, client) in [
        ("opaque", vec![mutual(), opaque()], shown.clone()),
        ("for TLS", vec![mutual(), for_tls], shown.clone()),
        ("authorities apart", vec![mutual(), bare.clone(), apart.clone()], shown),
        ("only authorities", vec![tls(json!({"credentialName": "c"})), apart], ClientIdentity::Nobody),
        (
            "a ConfigMap",
            vec![tls(json!({"credentialName": "configmap://c"})), map.clone()],
            ClientIdentity::Nobody,
        ),
        (
            "by its namespace",
            vec![tls(json!({"credentialName": "configmap://shop/c"})), map],
            ClientIdentity::Nobody,
        ),
    ] {
        let world = world(objects);
        let tls = begun(&world, 80, None).expect(case);
        assert_eq!((tls.trust, tls.client), (Trust::Roots(other.as_str().into()), client), "{case}");
        assert_eq!(world.problems(), [""; 0], "{case}");
    }
    let (apart_again, map_again) =
        (secret("c-cacert", json!({"cacert": other})), config_map("c", json!({"ca.crt": other})));
    for (case, objects, want) in [
        ("no Secret", vec![mutual()], "there is no Secret c in the waypoint's namespace shop"),
        (
            "no ConfigMap",
            vec![tls(json!({"credentialName": "configmap://c"})), apart_again],
            "there is no ConfigMap c in the waypoint's namespace shop",
        ),
        (
            "a ConfigMap of another namespace",
            vec![tls(json!({"credentialName": "configmap://mall/c"})), map_again],
            "there is no ConfigMap c in the waypoint's namespace shop",
        ),
        ("no authorities", vec![mutual(), bare], "Secret shop/c: has no ca.crt or cacert"),
        (
            "no certificate",
            vec![mutual(), secret("c", json!({"cacert": other}))],
            "Secret shop/c: has no tls.crt or cert",
        ),
        (
            "a key that is none",
            vec![mutual(), secret("c", json!({"cert": pem, "key": "hidden", "cacert": other}))],
            "Secret shop/c: key is no private key in PEM",
        ),
        (
            "revoked ones",
            vec![mutual(), with(opaque(), json!({"stringData": {"crl": "x"}}))],
            "Secret shop/c: crl revokes certificates, which is not supported",
        ),
    ] {
        let world = world(objects);
        assert_eq!(missing(begun(&world, 80, None)), want, "{case}");
        let problem = format!(
            "warning test: DestinationRule shop/d: spec.trafficPolicy.tls.credentialName: {want}: what waypoint shop/wp sends \
             there gets 503"
        );
        assert_eq!(world.problems(), [problem], "{case}");
    }
    // The rule stands, and the Secret comes, changes and goes.
    let mut world = world([mutual()]);
    world.put(opaque());
    assert!(matches!(begun(&world, 80, None), Some(BackendTls { trust: Trust::Roots(_), .. })));
    assert_eq!(world.problems(), [""; 0]);
    world.delete(Kind::Secret, "shop", "c");
    missing(begun(&world, 80, None));
    world.put(tls(json!({"credentialName": "configmap://shop/c"})));
    missing(begun(&world, 80, None));
    world.put(config_map("c", json!({"ca.crt": other})));
    assert!(matches!(begun(&world, 80, None), Some(BackendTls { trust: Trust::Roots(_), .. })));
}

#[test]
fn files_are_refused_by_name() {
    for (over, field) in [
        (json!({"caCertificates": "/etc/certs/root.pem"}), "caCertificates"),
        (
            json!({"mode": "MUTUAL", "clientCertificate": "/c.pem", "privateKey": "/k.pem"}),
            "clientCertificate",
        ),
        (json!({"caCrl": "/revoked.pem"}), "caCrl"),
    ] {
        let world = world([tls(over)]);
        let problems = world.problems();
        let want = format!("error test: DestinationRule shop/d: spec.trafficPolicy.tls.{field}: is ");
        assert!(problems.iter().any(|one| one.starts_with(&want)), "{problems:?}");
        assert_eq!(begun(&world, 80, None), None, "{field}");
    }
}

#[test]
fn a_policy_of_gateway_api_counts_for_its_ports() {
    let (pem, _) = certificate();
    let admin = policy(
        "admin",
        json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "web", "sectionName": "admin"}],
            "validation": {
                "hostname": "admin.example.org",
                "caCertificateRefs": null, "wellKnownCACertificates": "System",
                "subjectAltNames": [{"type": "Hostname", "hostname": "*.example.org"}],
            },
        }),
    );
    let subsets = rule(json!({
        "trafficPolicy": {"tls": {"mode": "SIMPLE"}}, "subsets": [{"name": "v1", "labels": {"v": "1"}}],
    }));
    let world = world([config_map("ca", json!({"ca.crt": pem})), policy("whole", json!({})), admin, subsets]);
    for subset in [None, Some("v1")] {
        let whole = begun(&world, 80, subset).expect("the policy for the whole");
        assert_eq!(whole.server_name.as_deref(), Some("web.example.org"));
        assert_eq!(whole.trust, Trust::Roots(format!("{pem}\n").into()));
        let admin = begun(&world, 81, subset).expect("the policy for the port");
        assert_eq!(admin.server_name.as_deref(), Some("admin.example.org"));
        assert_eq!((admin.trust, admin.subject_alt_names), (Trust::System, vec![Arc::from("*.example.org")]));
    }
    for name in ["whole", "admin"] {
        assert_eq!(conditions(&world, name), ["True Accepted, True ResolvedRefs"], "{name}");
    }
    let problems = world.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("what it says of TLS stands instead of this"), "{problems:?}");
}

#[test]
fn what_becomes_of_a_policy() {
    let (pem, _) = certificate();
    let good = || config_map("ca", json!({"ca.crt": pem}));
    let target = |over: Value| {
        let target = with(json!({"group": "", "kind": "Service", "name": "web"}), over);
        policy("p", json!({ "targetRefs": [target] }))
    };
    let two = |other: Value| {
        let first = json!({"group": "", "kind": "ConfigMap", "name": "ca"});
        let other = with(first.clone(), other);
        policy("p", json!({"validation": {"caCertificateRefs": [first, other]}}))
    };
    let old =
        with(policy("old", json!({})), json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}));
    for (case, objects, want) in [
        ("in force", vec![good(), policy("p", json!({}))], "True Accepted, True ResolvedRefs"),
        (
            "of a Secret",
            vec![
                secret("s", json!({"ca.crt": pem})),
                policy(
                    "p",
                    json!({"validation": {
                        "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "s"}],
                    }}),
                ),
            ],
            "True Accepted, True ResolvedRefs",
        ),
        (
            "no authorities",
            vec![policy("p", json!({}))],
            "False NoValidCaCertificate, False InvalidCaCertificateRef",
        ),
        (
            "none in it",
            vec![config_map("ca", json!({"ca.crt": "nonsense"})), policy("p", json!({}))],
            "False NoValidCaCertificate, False InvalidCaCertificateRef",
        ),
        (
            "one of two",
            vec![good(), two(json!({"name": "none"}))],
            "True Accepted, False InvalidCaCertificateRef",
        ),
        ("another kind", vec![good(), two(json!({"kind": "Bundle"}))], "True Accepted, False InvalidKind"),
        (
            "well known to nobody",
            vec![policy(
                "p",
                json!({"validation": {"caCertificateRefs": null, "wellKnownCACertificates": "Ours"}}),
            )],
            "False Invalid, True ResolvedRefs",
        ),
        (
            "no Service",
            vec![good(), target(json!({"name": "none"}))],
            "False TargetNotFound, True ResolvedRefs",
        ),
        (
            "no port",
            vec![good(), target(json!({"sectionName": "x"}))],
            "False TargetNotFound, True ResolvedRefs",
        ),
        (
            "no waypoint",
            vec![good(), target(json!({"name": "alone"}))],
            "False NoWaypoint, True ResolvedRefs",
        ),
        ("an older one", vec![good(), old, policy("p", json!({}))], "False Conflicted, True ResolvedRefs"),
    ] {
        let world = world(objects);
        assert_eq!(conditions(&world, "p"), [want], "{case}: {:?}", world.problems());
        assert_eq!(world.problems().is_empty(), want == "True Accepted, True ResolvedRefs", "{case}");
    }
    // Without authorities nothing is sent in plain text.
    let mut world = world([policy("p", json!({}))]);
    assert_eq!(missing(begun(&world, 80, None)), "there is no ConfigMap ca");
    world.put(good());
    assert!(matches!(begun(&world, 80, None), Some(BackendTls { trust: Trust::Roots(_), .. })));
    assert_eq!(conditions(&world, "p"), ["True Accepted, True ResolvedRefs"]);
    world.delete(Kind::BackendTlsPolicy, "shop", "p");
    assert_eq!(begun(&world, 80, None), None);
}
