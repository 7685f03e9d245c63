//! Endpoints follow from Services and pods.

use super::*;

fn pod(name: &str, slot: usize, http: u16) -> PodRecord {
    let plan = Plan::new(0);
    PodRecord {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        node: 1,
        ips: [plan.pod4(1, slot).into(), plan.pod6(1, slot).into()],
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: Pairs::new(),
        service_account: "default".to_owned(),
        dns: None,
        ports: vec![("http".to_owned(), http)],
        ready: true,
        terminating: false,
    }
}

fn service() -> ServiceRecord {
    ServiceRecord {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        labels: Pairs::new(),
        annotations: Pairs::new(),
        selector: Some([("app".to_owned(), "web".to_owned())].into()),
        ports: vec![PortRecord { name: "http".to_owned(), port: 80, target: json!("http"), protocol: "TCP" }],
        spec: Map::new(),
        headless: false,
        external_name: false,
        publish_not_ready: false,
        ips: Plan::new(0).service(1),
    }
}

#[test]
fn slices_follow_pods_and_files_follow_slices() {
    let folder = std::env::temp_dir().join(format!("weft-testkit-cluster-{}", std::process::id()));
    let manifests = Manifests::create(&folder).expect("a folder");
    let mut cluster = Cluster::new(Plan::new(0), manifests.clone());
    let files = || {
        let entries = std::fs::read_dir(manifests.folder()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.starts_with("endpointslice")).collect::<BTreeSet<_>>()
    };
    cluster.apply_pods(vec![pod("a", 1, 8080)]).expect("written");
    cluster.apply_service(service()).expect("written");
    assert_eq!(files().len(), 2, "one for each family");
    cluster.apply_pods(vec![pod("b", 2, 9090)]).expect("written");
    assert_eq!(files().len(), 4, "the name stands for two numbers");
    let key = ("default".to_owned(), "b".to_owned());
    cluster.change_pod(&key, |pod| pod.terminating = true).expect("written");
    let slices = cluster.slices_of(&cluster.services[&("default".to_owned(), "web".to_owned())]);
    let conditions = &slices["web-ipv4-1"]["endpoints"][0]["conditions"];
    assert_eq!(*conditions, json!({"ready": false, "serving": true, "terminating": true}));
    assert_eq!(slices["web-ipv4-1"]["ports"][0]["port"], 9090);
    cluster.remove_pod(&key).expect("removed");
    assert_eq!(files().len(), 2);
    cluster.remove_service("default", "web").expect("removed");
    assert_eq!(files().len(), 0);
    std::fs::remove_dir_all(folder).expect("removed");
}
