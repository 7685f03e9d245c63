//! What a waypoint learns from discovery: the mesh, as every proxy knows it, what is said of services' traffic, and who
//! may ask for what.

mod telemetries;

use imbl::HashMap;
use std::borrow::Cow;
use std::sync::Arc;
use telemetries::Telemetries;
use weft_core::names::{NetworkAddr, PolicyName, ServiceName};
use weft_core::policy::{Action, Enforcement};
use weft_core::snapshot::Snapshot;
use weft_l7::destination::{ClientIdentity, Settings};
use weft_l7::policy::{Applying, Policy, PolicyScope, Ruleset};
use weft_l7::service::ServiceTraffic;
use weft_l7::telemetry::Telemetry;
use weft_l7::telemetry::effective::Effective;
use weft_l7::traffic::Traffic;
use weft_proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, REQUEST_POLICY_TYPE, TELEMETRY_TYPE, TRAFFIC_TYPE};
use weft_xds::{Effect, Mesh, Model, Resource};

/// The mesh as a waypoint knows it.
#[derive(Debug, Clone, Copy)]
pub enum WaypointMesh {}

/// One moment of it.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Workloads, services and L4 policies.
    pub mesh: Snapshot,
    traffic: HashMap<ServiceName, Arc<ServiceTraffic>>,
    policies: HashMap<PolicyName, Arc<Policy>>,
    /// Those that apply to a service that some of them name; to all others those for the whole waypoint apply.
    applying: HashMap<ServiceName, Arc<Applying>>,
    wide: Arc<Applying>,
    policy_generation: u64,
    telemetries: Telemetries,
    edition: Edition,
}

/// Which of two moments is the newer one, where workers that see them one after the other have something in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// Changes that discovery has told.
    told: u64,
    /// Changes of what names of endpoints stand for.
    names: u64,
    /// Changes of what a name stands for that clients ask for.
    asked: u64,
}

impl Edition {
    /// With the endpoints that a name stands for that clients ask for, so often looked up.
    pub(crate) fn with_asked(self, asked: u64) -> Self {
        Self { asked, ..self }
    }
}

impl Moment {
    /// Which of several it is.
    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// So often names of endpoints have been found to stand for something else.
    pub(crate) fn set_names_edition(&mut self, names: u64) {
        self.edition.names = names;
    }

    /// What is said of a service's traffic; `None` if nothing is.
    pub fn traffic(&self, service: &ServiceName) -> Option<&Arc<ServiceTraffic>> {
        self.traffic.get(service)
    }

    /// The policies that apply to what is asked of a service, or of a workload by its own address.
    pub fn applying(&self, service: Option<&ServiceName>) -> &Arc<Applying> {
        service.and_then(|service| self.applying.get(service)).unwrap_or(&self.wide)
    }

    /// All policies for requests, in no order.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// What Telemetries come to for a service, or for what is asked of none; `None` if none applies.
    pub(crate) fn telemetry(&self, service: Option<&ServiceName>) -> Option<&Arc<Effective>> {
        self.telemetries.of(service)
    }

    /// Grows whenever policies for requests have changed.
    pub fn policy_generation(&self) -> u64 {
        self.policy_generation
    }

    fn insert_policy(&mut self, policy: Policy) {
        let scope = policy.scope.clone();
        let old = self.policies.insert(policy.name.clone(), Arc::new(policy));
        self.policies_changed(old.as_deref().map(|old| &old.scope).into_iter().chain([&scope]));
    }

    fn remove_policy(&mut self, name: &PolicyName) {
        if let Some(old) = self.policies.remove(name) {
            self.policies_changed([&old.scope].into_iter());
        }
    }

    /// What applies is made anew where a policy of one of these scopes may count: its own services, or all that any
    /// policy names.
    fn policies_changed<'a>(&mut self, scopes: impl Iterator<Item = &'a PolicyScope>) {
        self.policy_generation += 1;
        let all: Vec<Arc<Policy>> = self.policies.values().cloned().collect();
        for scope in scopes {
            match scope {
                PolicyScope::Services(services) => {
                    services.iter().for_each(|service| self.apply_to(service, &all));
                }
                PolicyScope::Waypoint => {
                    self.wide = Arc::new(Applying::to(None, &all));
                    let named: Vec<ServiceName> = self.applying.keys().cloned().collect();
                    named.iter().for_each(|service| self.apply_to(service, &all));
                }
            }
        }
    }

    fn apply_to(&mut self, service: &ServiceName, all: &[Arc<Policy>]) {
        let named = |policy: &Arc<Policy>| match &policy.scope {
            PolicyScope::Services(services) => services.contains(service),
            PolicyScope::Waypoint => false,
        };
        if all.iter().any(named) {
            self.applying.insert(service.clone(), Arc::new(Applying::to(Some(service), all)));
        } else {
            self.applying.remove(service);
        }
    }
}

impl Model for WaypointMesh {
    type Snapshot = Moment;

    // What is said of a service comes before the service: a request must not meet the one without the other.
    const TYPES: &'static [&'static str] =
        &[AUTHORIZATION_TYPE, REQUEST_POLICY_TYPE, TRAFFIC_TYPE, TELEMETRY_TYPE, ADDRESS_TYPE];

    fn insert(
        moment: &mut Moment,
        type_url: &'static str,
        name: &str,
        body: &[u8],
    ) -> Result<(), (Effect, Arc<str>)> {
        moment.edition.told += 1;
        match type_url {
            REQUEST_POLICY_TYPE => {
                let (policy, complaint) = read_policy(name, body);
                moment.insert_policy(policy);
                complaint.map_or(Ok(()), |why| Err((Effect::Denies, why)))
            }
            TRAFFIC_TYPE => {
                let traffic = read_traffic(name, body).map_err(|reason| (Effect::Kept, reason))?;
                moment.traffic.insert(traffic.said().service.clone(), Arc::new(traffic));
                Ok(())
            }
            TELEMETRY_TYPE => {
                let telemetry = read_telemetry(name, body).map_err(|reason| (Effect::Kept, reason))?;
                moment.telemetries.insert(telemetry);
                Ok(())
            }
            _ => Mesh::insert(&mut moment.mesh, type_url, name, body),
        }
    }

    fn remove(moment: &mut Moment, type_url: &'static str, name: &str) {
        moment.edition.told += 1;
        match type_url {
            REQUEST_POLICY_TYPE => moment.remove_policy(&policy_name(name)),
            TRAFFIC_TYPE => {
                if let Some(name) = ServiceName::parse(name) {
                    moment.traffic.remove(&name);
                }
            }
            TELEMETRY_TYPE => moment.telemetries.remove(&policy_name(name)),
            _ => Mesh::remove(&mut moment.mesh, type_url, name),
        }
    }

    fn resources(moment: &Moment) -> Vec<Resource> {
        let policies = moment.policies.values().filter_map(|policy| {
            let json = serde_json::to_vec(&**policy).ok()?;
            let (name, body) = (policy.name.to_string(), weft_proto::encode_request_policy(json));
            Some(Resource { type_url: REQUEST_POLICY_TYPE, name, body })
        });
        let traffic = moment.traffic.values().filter_map(|traffic| {
            // It came as JSON, so it goes as JSON; what is on disk may be read, so keys are left out.
            let json = serde_json::to_vec(&withheld(traffic.said())).ok()?;
            let name = traffic.said().service.to_string();
            Some(Resource { type_url: TRAFFIC_TYPE, name, body: weft_proto::encode_traffic(json) })
        });
        let telemetries = moment.telemetries.all().filter_map(|telemetry| {
            let json = serde_json::to_vec(&**telemetry).ok()?;
            let (name, body) = (telemetry.name.to_string(), weft_proto::encode_telemetry(json));
            Some(Resource { type_url: TELEMETRY_TYPE, name, body })
        });
        let own = policies.chain(traffic).chain(telemetries);
        Mesh::resources(&moment.mesh).into_iter().chain(own).collect()
    }

    fn is_kept_whole(moment: &Moment, type_url: &'static str, name: &str) -> bool {
        let service = ServiceName::parse(name).filter(|_| type_url == TRAFFIC_TYPE);
        let said = service.and_then(|service| moment.traffic(&service));
        said.is_none_or(|said| matches!(withheld(said.said()), Cow::Borrowed(_)))
    }

    fn knows(moment: &Moment, addr: &NetworkAddr) -> bool {
        Mesh::knows(&moment.mesh, addr)
    }
}

/// What is said without the certificates that this waypoint shows to backends.
fn withheld(said: &Traffic) -> Cow<'_, Traffic> {
    let is_shown = |settings: &Settings| settings.tls.as_ref().is_some_and(|tls| !tls.client.is_nobody());
    if !said.destination.all_settings().any(is_shown) {
        return Cow::Borrowed(said);
    }
    let mut kept = said.clone();
    let all = kept.destination.all_settings_mut().filter_map(|settings| settings.tls.as_mut());
    for tls in all.filter(|tls| !tls.client.is_nobody()) {
        tls.client = ClientIdentity::Withheld;
    }
    Cow::Owned(kept)
}

fn read_traffic(name: &str, body: &[u8]) -> Result<ServiceTraffic, Arc<str>> {
    let json = weft_proto::decode_traffic(body).map_err(|error| error.to_string())?;
    let said: Traffic = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    if said.service.to_string() != name {
        return Err(format!("it is about {}", said.service).into());
    }
    ServiceTraffic::new(said).map_err(|error| error.to_string().into())
}

fn read_telemetry(name: &str, body: &[u8]) -> Result<Telemetry, Arc<str>> {
    let json = weft_proto::decode_telemetry(body).map_err(|error| error.to_string())?;
    let telemetry: Telemetry = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    if telemetry.name.to_string() != name {
        return Err(format!("it calls itself {}", telemetry.name).into());
    }
    Ok(telemetry)
}

/// What cannot be understood denies: everything at this waypoint, for it might have been about anything there.
fn read_policy(name: &str, body: &[u8]) -> (Policy, Option<Arc<str>>) {
    let read = || -> Result<Policy, Arc<str>> {
        let json = weft_proto::decode_request_policy(body).map_err(|error| error.to_string())?;
        let policy: Policy = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        if policy.name.to_string() != name {
            return Err(format!("it calls itself {}", policy.name).into());
        }
        Ok(policy)
    };
    match read() {
        Ok(policy) => (policy, None),
        Err(why) => {
            let denies = Policy {
                name: policy_name(name),
                scope: PolicyScope::Waypoint,
                action: Action::Deny,
                enforcement: Enforcement::Enforced,
                ruleset: Ruleset::Unusable(why.clone()),
            };
            (denies, Some(why))
        }
    }
}

fn policy_name(name: &str) -> PolicyName {
    PolicyName::parse(name).unwrap_or_else(|| PolicyName::new("", name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::IpAddr;
    use weft_core::policy::Verdict;
    use weft_l7::policy::{Request, decide};

    fn policy(name: &str, scope: &str, path: &str) -> (String, Vec<u8>) {
        let name = format!("shop/{name}");
        let rules = format!(r#"{{"rules": [{{"to": [{{"paths": ["{path}"]}}]}}]}}"#);
        let json = format!(
            r#"{{"name": "{name}", "scope": {scope}, "action": "deny", "enforcement": "enforced", "ruleset": {rules}}}"#
        );
        (name, weft_proto::encode_request_policy(json.into_bytes()))
    }

    fn insert(moment: &mut Moment, (name, body): (String, Vec<u8>)) -> Result<(), (Effect, Arc<str>)> {
        WaypointMesh::insert(moment, REQUEST_POLICY_TYPE, &name, &body)
    }

    /// Which of the paths a service's clients may ask for.
    fn allowed(moment: &Moment, service: Option<&str>, paths: &[&str]) -> Vec<String> {
        let service = service.map(|name| ServiceName::new("shop", name));
        let ip = IpAddr::from([10, 0, 0, 1]);
        let may = |path: &&&str| {
            let request = Request {
                peer: None,
                source_ip: ip,
                remote_ip: ip,
                port: 80,
                authority: "web",
                method: "GET",
                path,
            };
            matches!(decide(moment.applying(service.as_ref()), &request).verdict, Verdict::Allowed(_))
        };
        paths.iter().filter(may).map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn policies_apply_where_they_say_and_no_longer_than_they_are_there() {
        let all = ["/wide", "/web", "/other"];
        let mut moment = Moment::default();
        insert(&mut moment, policy("web", r#"{"services": ["shop/web"]}"#, "/web")).expect("a policy");
        assert_eq!(allowed(&moment, Some("web"), &all), ["/wide", "/other"]);
        assert_eq!(allowed(&moment, Some("db"), &all), all);
        insert(&mut moment, policy("wide", r#""waypoint""#, "/wide")).expect("a policy");
        assert_eq!(allowed(&moment, Some("web"), &all), ["/other"]);
        assert_eq!(allowed(&moment, Some("db"), &all), ["/web", "/other"]);
        assert_eq!(allowed(&moment, None, &all), ["/web", "/other"]);
        // It names another service now.
        insert(&mut moment, policy("web", r#"{"services": ["shop/db"]}"#, "/web")).expect("a policy");
        assert_eq!(allowed(&moment, Some("web"), &all), ["/web", "/other"]);
        assert_eq!(allowed(&moment, Some("db"), &all), ["/other"]);
        // What is kept on disk says the same.
        let mut again = Moment::default();
        for Resource { type_url, name, body } in WaypointMesh::resources(&moment) {
            WaypointMesh::insert(&mut again, type_url, &name, &body).expect("what we wrote");
        }
        assert_eq!(allowed(&again, Some("db"), &all), ["/other"]);
        WaypointMesh::remove(&mut moment, REQUEST_POLICY_TYPE, "shop/wide");
        WaypointMesh::remove(&mut moment, REQUEST_POLICY_TYPE, "shop/web");
        assert_eq!(allowed(&moment, Some("db"), &all), all);
    }

    #[test]
    fn a_key_that_discovery_has_told_is_not_kept() {
        let mut moment = Moment::default();
        let client = json!({"certificate": {"chain": "shown", "key": "hidden"}});
        let settings = json!({"tls": {"serverName": null, "trust": "system", "client": client}});
        let subset = json!({"labels": {}, "settings": settings});
        let destination = json!({"settings": settings, "ports": {"80": settings}, "subsets": {"v1": subset}});
        let said = json!({"service": "shop/web", "destination": destination}).to_string();
        let body = weft_proto::encode_traffic(said.into_bytes());
        WaypointMesh::insert(&mut moment, TRAFFIC_TYPE, "shop/web", &body).expect("what is said");
        assert!(!format!("{moment:?}").contains("hidden"));
        let mut again = Moment::default();
        for Resource { type_url, name, body } in WaypointMesh::resources(&moment) {
            assert!(!String::from_utf8_lossy(&body).contains("hidden"), "{name}");
            assert!(!WaypointMesh::is_kept_whole(&moment, type_url, &name), "it is asked for again");
            WaypointMesh::insert(&mut again, type_url, &name, &body).expect("what we wrote");
        }
        let kept = again.traffic(&ServiceName::new("shop", "web")).expect("what is said");
        let clients: Vec<_> =
            kept.said().destination.all_settings().filter_map(|one| one.tls.as_ref()).collect();
        assert_eq!(clients.len(), 3);
        assert!(clients.iter().all(|tls| tls.client == ClientIdentity::Withheld), "{clients:?}");
    }

    #[test]
    fn a_policy_that_cannot_be_understood_denies_everything() {
        let mut moment = Moment::default();
        let body = weft_proto::encode_request_policy(br#"{"unheard": "of"}"#.to_vec());
        let result = insert(&mut moment, ("shop/odd".to_owned(), body));
        assert!(matches!(result, Err((Effect::Denies, _))), "{result:?}");
        assert!(allowed(&moment, Some("web"), &["/"]).is_empty());
        assert!(allowed(&moment, None, &["/"]).is_empty());
    }
}
