//! What a resource says that waypoints cannot do yet. It is refused by name: half of what was meant may be worse than what
//! was there before.

use super::virtual_service::is_within_mesh;
use super::{annotations, origination, paths, tls_policy};
use weft_control_api::gateway_api::backend_tls_policy::BackendTlsPolicySpec;
use weft_control_api::gateway_api::backend_traffic_policy::BackendTrafficPolicySpec;
use weft_control_api::istio::destination_rule::tls::ClientTlsSettings;
use weft_control_api::istio::destination_rule::{DestinationRuleSpec, TrafficPolicy};
use weft_control_api::istio::virtual_service::VirtualServiceSpec;
use weft_control_api::istio::virtual_service::fault::{Delay, Failure, HttpFaultInjection, Wait};
use weft_control_api::istio::virtual_service::http::HttpRoute;
use weft_control_api::object::Object;
use weft_control_api::problem::Note;

/// Notes what of an object is not supported; an error refuses it.
pub(crate) fn unsupported(object: &Object, cluster_domain: &str, notes: &mut Vec<Note>) {
    match object {
        Object::HttpRoute(one) => paths::check_http_route(&one.spec, notes),
        Object::VirtualService(one) => virtual_service(&one.spec, cluster_domain, notes),
        Object::DestinationRule(one) => {
            destination_rule(&one.spec, cluster_domain, notes);
            let (has_outlier, has_subsets) =
                (super::destination_rule::has_outlier(&one.spec), !one.spec.subsets.is_empty());
            annotations::check(&one.metadata, has_outlier, has_subsets, notes);
        }
        Object::BackendTrafficPolicy(one) => backend_traffic_policy(&one.spec, notes),
        Object::BackendTlsPolicy(one) => backend_tls_policy(&one.spec, notes),
        _ => {}
    }
}

/// Whether a host stands for several Services, as `*.local` does. One with a star that a ServiceEntry can have stands for that
/// alone.
fn stands_for_several(host: &str, cluster_domain: &str) -> bool {
    let Some(end) = host.strip_prefix('*') else {
        return false;
    };
    let services = format!(".svc.{cluster_domain}");
    !end.starts_with('.') || end.ends_with(".svc") || end.ends_with(&services) || services.ends_with(end)
}

fn virtual_service(spec: &VirtualServiceSpec, cluster_domain: &str, notes: &mut Vec<Note>) {
    if is_within_mesh(&spec.gateways) {
        let several = |(_, host): &(usize, &String)| stands_for_several(host, cluster_domain);
        for (place, host) in spec.hosts.iter().enumerate().filter(several) {
            let reason = format!("{host} stands for several hosts, which is not supported: name each");
            notes.push(Note::error(format!("spec.hosts[{place}]"), reason));
        }
    } else {
        // Of Gateways a star is nothing unusual: what is in the way is that there are none.
        let reason = "has Gateways only, and Weft runs none: without mesh the object has no use here";
        notes.push(Note::error("spec.gateways", reason));
    }
    for (number, route) in spec.http.iter().enumerate() {
        http_route(&format!("spec.http[{number}]"), route, notes);
    }
    for (number, route) in spec.tcp.iter().enumerate() {
        for (place, _) in route.matches.iter().enumerate().filter(|(_, one)| one.source_subnet.is_some()) {
            let field = format!("spec.tcp[{number}].match[{place}].sourceSubnet");
            notes.push(Note::error(field, "is not supported: sourceNamespace and sourceLabels are"));
        }
    }
}

fn http_route(at: &str, route: &HttpRoute, notes: &mut Vec<Note>) {
    for (place, _) in route.matches.iter().enumerate().filter(|(_, one)| one.stat_prefix.is_some()) {
        let reason = "has no effect: metrics have no names of their own for matches";
        notes.push(Note::warning(format!("{at}.match[{place}].statPrefix"), reason));
    }
    for (place, one) in route.matches.iter().enumerate() {
        for (key, headers) in [("headers", &one.headers), ("withoutHeaders", &one.without_headers)] {
            for name in headers.keys().filter(|name| name.starts_with(CLAIM)) {
                let reason = "is a claim of a token, which is not supported: no waypoint reads tokens yet";
                notes.push(Note::error(format!("{at}.match[{place}].{key}.{name}"), reason));
            }
            for name in headers.keys().filter(|name| BESIDE_HEADERS.contains(&name.as_str())) {
                let reason = "is not looked at among headers, as Istio documents: write the match's own field of that name";
                notes.push(Note::error(format!("{at}.match[{place}].{key}.{name}"), reason));
            }
        }
    }
    paths::check_uris(at, route, notes);
    if let Some(fault) = &route.fault {
        http_fault(&format!("{at}.fault"), fault, notes);
    }
}

/// What a match has fields of its own for; among headers it has no effect (Istio, `HTTPMatchRequest.headers`), and a route would
/// take more requests than its author thinks.
const BESIDE_HEADERS: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// How a claim of a token is written where a header stands (Istio, "JWT claim based routing").
const CLAIM: &str = "@request.auth.claims";

fn http_fault(at: &str, fault: &HttpFaultInjection, notes: &mut Vec<Note>) {
    let delays_nobody = |delay: &Delay| {
        delay.percentage.is_none() && delay.percent.is_none() && matches!(delay.wait, Wait::Fixed(_))
    };
    if fault.delay.as_ref().is_some_and(delays_nobody) {
        let reason = "is not written, so no request is delayed, as in Istio: write 100 for all";
        notes.push(Note::warning(format!("{at}.delay.percentage"), reason));
    }
    let mut refuse = |field: &str, reason: &str| notes.push(Note::error(format!("{at}.{field}"), reason));
    if fault.delay.as_ref().is_some_and(|delay| matches!(delay.wait, Wait::Exponential(_))) {
        refuse("delay.exponentialDelay", "is not supported: fixedDelay is");
    }
    let Some(abort) = &fault.abort else {
        return;
    };
    match &abort.failure {
        Failure::Http2(_) => {
            refuse("abort.http2Error", "is not supported: httpStatus and grpcStatus are");
        }
        Failure::Grpc(status) if super::virtual_service::grpc_status(status).is_none() => {
            refuse("abort.grpcStatus", "is no status of gRPC: UNAVAILABLE and 14 are");
        }
        Failure::Grpc(_) | Failure::Http(_) if abort.percentage.is_none() => {
            let reason = "is not written, so no request is aborted, as in Istio: write 100 for all";
            notes.push(Note::warning(format!("{at}.abort.percentage"), reason));
        }
        Failure::Grpc(_) | Failure::Http(_) => {}
    }
}

fn destination_rule(spec: &DestinationRuleSpec, cluster_domain: &str, notes: &mut Vec<Note>) {
    let mut refuse = |field: &str, reason: &str| notes.push(Note::error(field, reason));
    if stands_for_several(&spec.host, cluster_domain) {
        refuse("spec.host", "stands for several hosts, which is not supported: write a rule for each");
    }
    if spec.workload_selector.is_some() {
        refuse("spec.workloadSelector", "is not supported: a rule is for all clients");
    }
    if spec.export_to.iter().any(|one| one != "*") {
        refuse("spec.exportTo", "is not supported but for *: a rule is for all namespaces");
    }
    policy("spec.trafficPolicy", spec.traffic_policy.as_ref(), notes);
    for (number, subset) in spec.subsets.iter().enumerate() {
        policy(&format!("spec.subsets[{number}].trafficPolicy"), subset.traffic_policy.as_ref(), notes);
    }
}

fn policy(at: &str, policy: Option<&TrafficPolicy>, notes: &mut Vec<Note>) {
    let Some(policy) = policy else {
        return;
    };
    tls(at, policy.tls.as_ref(), notes);
    for (number, port) in policy.port_level_settings.iter().enumerate() {
        tls(&format!("{at}.portLevelSettings[{number}]"), port.tls.as_ref(), notes);
    }
    let tunnel = "is not supported: waypoints open connections of their own to endpoints only";
    for (field, written, reason) in [
        ("tunnel", policy.tunnel.is_some(), tunnel),
        ("proxyProtocol", policy.proxy_protocol.is_some(), "is not supported"),
    ] {
        if written {
            notes.push(Note::error(format!("{at}.{field}"), reason));
        }
    }
}

/// Files are a sidecar's: waypoints have none but the machine's own authorities.
fn tls(at: &str, settings: Option<&ClientTlsSettings>, notes: &mut Vec<Note>) {
    let Some(settings) = settings.filter(|settings| origination::is_begun(settings)) else {
        return;
    };
    let mut refuse = |field: &str, reason: &str| notes.push(Note::error(format!("{at}.tls.{field}"), reason));
    let file =
        "is a file, which waypoints do not have: put it into a Secret, and name that in credentialName";
    let authorities = settings.ca_certificates.as_deref().filter(|file| !origination::is_system(file));
    for (field, written) in [
        ("clientCertificate", settings.client_certificate.is_some()),
        ("privateKey", settings.private_key.is_some()),
        ("caCertificates", authorities.is_some()),
    ] {
        if written {
            refuse(field, file);
        }
    }
    if settings.ca_crl.is_some() {
        refuse("caCrl", "is not supported: certificates that were revoked are not looked for");
    }
}

/// What is no Service is somebody else's way of saying where TLS is spoken.
fn backend_tls_policy(spec: &BackendTlsPolicySpec, notes: &mut Vec<Note>) {
    for (number, one) in spec.target_refs.iter().enumerate().filter(|(_, one)| !tls_policy::is_service(one)) {
        let reason = format!("{} {} is no Service", one.kind, one.name);
        notes.push(Note::error(format!("spec.targetRefs[{number}]"), reason));
    }
    for option in spec.options.keys() {
        notes.push(Note::warning(format!("spec.options.{option}"), "means nothing here: it has no effect"));
    }
}

fn backend_traffic_policy(spec: &BackendTrafficPolicySpec, notes: &mut Vec<Note>) {
    for (number, one) in spec.target_refs.iter().enumerate() {
        if !one.group.is_empty() || one.kind != "Service" {
            let reason = format!("{} {} is no Service", one.kind, one.name);
            notes.push(Note::error(format!("spec.targetRefs[{number}]"), reason));
        }
    }
    if spec.session_persistence.is_some() {
        let reason = "is not supported here: write it in the rules of routes";
        notes.push(Note::error("spec.sessionPersistence", reason));
    }
}
