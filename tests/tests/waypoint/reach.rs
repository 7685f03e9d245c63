//! What a waypoint stands before, as labels of Services, pods and service accounts say, and what it takes of it.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use weft_testkit::Pod;
use weft_tests::stage::{start_waypoint, waypoint_pod};
use weft_tests::waiting::{access_lines, eventually};

use crate::scene::{PATIENCE, Scene};

/// A waypoint of another namespace, and of Istio's class: Gateway `far` of `infra`.
fn gateway(takes: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: far, namespace: infra, labels: {{istio.io/waypoint-for: {takes}}}}}
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - {{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {{from: All}}}}}}
"
    )
}

/// Services and pods ask for it by Istio's labels and by Weft's own; it takes what it is for, and leaves the rest alone.
pub(crate) fn is_what_labels_say(scene: &Scene) -> Result<()> {
    scene.world.apply_yaml("far.yaml", &gateway("all"))?;
    let far = waypoint_pod(scene.world.node(1).pod("infra", "far"), "far")?;
    let far = start_waypoint(&scene.world, &scene.mesh, &far)?;
    let asks = [("istio.io/use-waypoint", "far"), ("istio.io/use-waypoint-namespace", "infra")];
    let service = scene.world.service("shop", "plain").select([("app", "reviews")]).port("http", 80, 8080);
    asks.iter().fold(service, |service, (label, value)| service.label(label, value)).apply()?;
    let labels = BTreeMap::from(asks);
    scene.world.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "reviews", "namespace": "shop", "labels": labels},
    }))?;
    let vip = scene.world.service("shop", "plain").ips()[0];
    let urls = [format!("http://{vip}"), pod_url(&scene.v1), pod_url(&scene.v2)];
    let mut round = 0;
    let mut takes = |what: &str, want: [bool; 3]| {
        for client in [&scene.client, &scene.teller] {
            eventually(&format!("{what}: {} meets it", client.name()), PATIENCE, || {
                for (url, want) in urls.iter().zip(want) {
                    round += 1;
                    let path = format!("/reach/{round}");
                    let answer = client.get(&format!("{url}{path}"))?;
                    ensure!(answer.is_ok(), "{url}: {answer:?}");
                    // Of all that stand on the way only a waypoint reads requests.
                    let hello = answer.hello().context("not by a server")?;
                    let read = hello.headers.contains_key("x-forwarded-proto");
                    ensure!(read == want, "{url}: read by a waypoint: {read}");
                    if read {
                        eventually("its line", PATIENCE, || {
                            ensure!(access_lines(&far, &path).len() == 1, "the other waypoint has it");
                            Ok(())
                        })?;
                    }
                }
                Ok(())
            })?;
        }
        Ok::<_, anyhow::Error>(())
    };
    takes("by the Service's and the service account's labels", [true, true, true])?;
    // A pod's own label comes before its account's.
    scene.v1.set_label("weft.dev/waypoint", Some("none"))?;
    takes("but for one pod", [true, false, true])?;
    scene.v1.set_label("weft.dev/waypoint", None)?;
    for (what, want) in [
        ("service", [true, false, false]),
        ("workload", [false, true, true]),
        ("none", [false, false, false]),
        ("all", [true, true, true]),
    ] {
        scene.world.apply_yaml("far.yaml", &gateway(what))?;
        takes(what, want)?;
    }
    Ok(())
}

fn pod_url(pod: &Pod) -> String {
    format!("http://{}", pod.addr(8080))
}
