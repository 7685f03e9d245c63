//! Workloads and services of discovery.

use super::samples;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::names::NetworkAddr;
use weft_core::service::{Service, Vip, VipKind};
use weft_core::snapshot::Snapshot;
use weft_core::workload::Workload;
use weft_proto::{Address, decode_address, encode_address};

pub(super) const WORDS: &[&str] =
    &["\0", "shop/", "/", "\x08\x01", "\x12\x04", "type.googleapis.com/", "weft.dev/service"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let web = "web.shop.svc.cluster.local";
    [
        Address::Workload(samples::workload("web-1", &["10.0.0.1"], web)),
        Address::Workload(samples::full_workload()),
        Address::Service(samples::service(web, &["10.96.0.1/32"])),
        Address::Service(samples::full_service()),
    ]
    .iter()
    .map(encode_address)
    .collect()
}

/// What is decoded comes back as it went, keeps to what its types promise, and can be put into the tables of a
/// node and taken out of them without a trace.
pub(super) fn run(bytes: &[u8]) {
    let Ok(address) = decode_address(bytes) else {
        return;
    };
    assert!(!address.resource_name().is_empty());
    match &address {
        Address::Workload(workload) => check_workload(workload),
        Address::Service(service) => check_service(service),
    }
    assert_eq!(decode_address(&encode_address(&address)).as_ref(), Ok(&address));
}

fn check_workload(workload: &Workload) {
    assert_eq!(workload.identity.to_string().parse::<Identity>().as_ref(), Ok(&workload.identity));
    let mut snapshot = Snapshot::default();
    let uid = &workload.uid;
    // Twice: the second replaces the first.
    for _ in 0..2 {
        snapshot.insert_workload(Arc::new(workload.clone()));
    }
    let addrs: Vec<_> = workload
        .addresses
        .iter()
        .map(|ip| NetworkAddr { network: workload.network.clone(), ip: *ip })
        .collect();
    for addr in &addrs {
        assert_eq!(addr.ip, addr.ip.to_canonical(), "mapped");
        assert!(snapshot.workloads_at(addr).iter().any(|found| found.uid == *uid), "{addr}");
    }
    for (service, _) in &workload.services {
        assert_eq!(snapshot.endpoints(service).count(), 1, "{service}");
    }
    snapshot.remove_workload(uid);
    assert_eq!(snapshot.workloads().len(), 0);
    assert!(addrs.iter().all(|addr| snapshot.workloads_at(addr).is_empty()));
    assert!(workload.services.iter().all(|(service, _)| snapshot.endpoints(service).count() == 0));
    assert_eq!(snapshot.workloads_named(&workload.hostname).count(), 0);
}

fn check_service(service: &Service) {
    let mut snapshot = Snapshot::default();
    let at = |snapshot: &Snapshot, vip: &Vip| {
        let addr = NetworkAddr { network: vip.network.clone(), ip: vip.range.addr() };
        match vip.kind {
            // Nodes give their pods addresses from it.
            VipKind::Cluster if vip.ip().is_none() => {
                snapshot.is_for_pods(&addr).then(|| service.name.clone())
            }
            VipKind::Cluster | VipKind::External => {
                snapshot.services_at(&addr).next().map(|found| found.name.clone())
            }
        }
    };
    for _ in 0..2 {
        snapshot.insert_service(Arc::new(service.clone()));
    }
    for vip in &service.vips {
        assert_eq!(at(&snapshot, vip).as_ref(), Some(&service.name), "{}", vip.range);
    }
    assert!(snapshot.service_named(&service.name.hostname, "").is_some());
    snapshot.remove_service(&service.name);
    assert_eq!(snapshot.services().len(), 0);
    assert!(service.vips.iter().all(|vip| at(&snapshot, vip).is_none()));
    assert!(snapshot.service_named(&service.name.hostname, "").is_none());
}
