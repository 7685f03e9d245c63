//! The world that all cases share. Namespace `mesh`, all of it behind a waypoint: pods `echo-v1` and `echo-v2`, Service
//! `echo` for both, and one for each. Namespace `consumer`: another pod `echo-v1`, which asks only.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use weft_testkit::{App, Mesh, Pod, Waypoint, World};
use weft_tests::asking::{ask, await_enrolled};
use weft_tests::stage::{await_through, place_waypoint, start_mesh, start_waypoint};
use weft_tests::waiting::{eventually, with_json_lines};

use crate::Case;

/// How long a change may take at most on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Where the manifest of a case is.
const FILE: &str = "case.yaml";

pub(crate) struct Scene {
    pub(crate) v1: Pod,
    pub(crate) v2: Pod,
    pub(crate) consumer: Pod,
    // Dropped in this order.
    pub(crate) waypoint: Waypoint,
    mesh: Mesh,
    world: World,
}

impl Scene {
    pub(crate) fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        world.namespace("mesh", [("weft.dev/mesh", "enabled"), ("istio.io/use-waypoint", "waypoint")])?;
        let echo = |node: usize, namespace: &str, name: &str| {
            let pod = world.node(node).pod(namespace, name).service_account(name);
            pod.labels([("app", "echo"), ("version", name)]).app(App::http(name)).start()
        };
        let (v1, v2) = (echo(1, "mesh", "echo-v1")?, echo(2, "mesh", "echo-v2")?);
        let consumer = echo(1, "consumer", "echo-v1")?;
        let service = |name: &str| {
            let service = world.service("mesh", name).port("http", 80, 8080);
            service.port("http-alt", 8080, 8080).port("grpc", 7070, 8080)
        };
        service("echo").select([("app", "echo")]).apply()?;
        for version in ["echo-v1", "echo-v2"] {
            service(version).select([("version", version)]).apply()?;
        }
        let gate = place_waypoint(&world, 2, "mesh", "waypoint")?;
        let mesh = start_mesh(&world, with_json_lines())?;
        await_enrolled(&mesh, [&v1, &v2, &consumer], PATIENCE)?;
        let waypoint = start_waypoint(&world, &mesh, &gate)?;
        for (pod, name) in [(&v1, "one"), (&v2, "two"), (&consumer, "consumer")] {
            for host in ["echo", "echo-v1", "echo-v2"] {
                let vip = world.service("mesh", host).ips()[0];
                await_through(&waypoint, pod, &format!("http://{vip}/through/{name}/{host}"), PATIENCE)?;
            }
        }
        Ok(Self { v1, v2, consumer, waypoint, mesh, world })
    }

    /// A Service by its address: in a world without a DNS server of the cluster's own, a name that is not found as the
    /// resolver tries it first takes all of its patience.
    pub(crate) fn url_of(&self, service: &str) -> String {
        format!("http://{}/", self.world.service("mesh", service).ips()[0])
    }

    /// Writes a case's manifest, waits until its routes are taken, sees what is so, and takes it away again.
    pub(crate) fn play(&self, case: &Case) -> Result<()> {
        self.world.apply_yaml(FILE, case.manifest)?;
        let routes = case.manifest.lines().filter(|line| line.starts_with("kind: ")).count();
        let held = self.are_taken(routes).and_then(|()| (case.holds)(self));
        self.world.manifests().remove_file(FILE)?;
        eventually("the routes are gone", PATIENCE, || {
            let routes = self.routes()?;
            ensure!(routes.is_empty(), "{routes:#?}");
            Ok(())
        })?;
        held
    }

    /// Waits until so many routes are accepted by each parent, and everything that they name is found.
    fn are_taken(&self, count: usize) -> Result<()> {
        eventually("the routes are taken", PATIENCE, || {
            let routes = self.routes()?;
            ensure!(routes.len() == count, "{} of {count} routes: {routes:#?}", routes.len());
            routes.iter().try_for_each(is_taken)
        })
    }

    /// What the control plane says of each route.
    fn routes(&self) -> Result<Vec<Value>> {
        let status = ask(&self.mesh.control().folder().join("control-admin.sock"), "/status")?;
        let all = status["statuses"].as_array().cloned().context("no statuses")?;
        Ok(all.into_iter().filter(|one| one["kind"] != "Gateway").collect())
    }

    /// The ends of the logs of all that carry requests.
    pub(crate) fn logs(&self) -> Result<String> {
        let processes = [&*self.waypoint, self.mesh.proxy(1), self.mesh.proxy(2), self.mesh.control()];
        let tails = processes.map(|process| process.process().map(|process| process.log_tail()));
        Ok(tails.into_iter().collect::<Result<Vec<_>>>().context("logs")?.join("\n"))
    }
}

fn is_taken(route: &Value) -> Result<()> {
    let parents = route["status"]["parents"].as_array().context("no parents")?;
    ensure!(!parents.is_empty(), "no parents: {route:#}");
    for (parent, condition) in
        parents.iter().flat_map(|parent| ["Accepted", "ResolvedRefs"].map(|one| (parent, one)))
    {
        ensure!(parent["controllerName"] == "weft.dev/waypoint", "{route:#}");
        let mut conditions = parent["conditions"].as_array().into_iter().flatten();
        let found = conditions
            .find(|one| one["type"] == condition)
            .with_context(|| format!("no {condition}: {route:#}"))?;
        ensure!(found["status"] == "True" && found["reason"] == condition, "{route:#}");
    }
    Ok(())
}
