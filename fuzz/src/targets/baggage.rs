//! The `baggage` header.

use http::HeaderValue;
use weft_tunnel::words::Baggage;
use weft_tunnel::words::baggage::BAGGAGE_BYTES_MAX;

pub(super) const WORDS: &[&str] = &[
    "k8s.cluster.name=",
    "k8s.namespace.name=",
    "k8s.deployment.name=",
    "k8s.pod.name=",
    "service.name=",
    "service.version=",
    "cloud.region=",
    ",",
    ";",
    "=",
    "%20",
    "%C3%BC",
    "%ff",
    "%",
    " ",
    "ü",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,service.version=v1",
        " k8s.namespace.name = shop ; p=1 ,other=x, k8s.pod.name=a-1",
        "cloud.region=europe,cloud.availability_zone=%C3%BC,k8s.job.name=j,k8s.cronjob.name=c",
        "service.name=,service.version=v1%2C%20%22new%22%20100%25",
    ])
}

/// What is accepted fits a header when it is written, and comes back as it went.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(baggage) = text.parse::<Baggage>() else {
        return;
    };
    let owner = baggage.owner.as_ref().map(|owner| &owner.name);
    let Baggage { cluster, namespace, owner: _, service, version, region, zone } = &baggage;
    let values = [cluster, namespace, service, version, region, zone].into_iter().flatten().chain(owner);
    for value in values {
        assert!(!value.is_empty(), "an empty value is none");
    }
    let printed = baggage.to_string();
    assert!(HeaderValue::from_str(&printed).is_ok(), "{printed:?} fits no header");
    // Written, a character may take nine bytes for three.
    if printed.len() <= BAGGAGE_BYTES_MAX {
        assert_eq!(printed.parse(), Ok(baggage), "{printed:?}");
    }
}
