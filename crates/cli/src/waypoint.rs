//! `weft waypoint`: which waypoints there are and how they are, and the manifest of one.

use crate::answers::Extent;
use crate::ask::{self, AskError};
use crate::table;
use crate::words::{cell, chain};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A waypoint that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its namespace.
    pub namespace: String,
    /// Its Gateway's name.
    pub name: String,
    /// What it takes: `service`, `workload`, `all` or `none`.
    pub takes: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WaypointError {
    /// The control plane is not here.
    #[error("no control plane has its socket here")]
    NoControl,
    /// It does not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is no such waypoint.
    #[error("there is no waypoint {name}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A word that is no name of Kubernetes'.
    #[error("{text:?} is no name: lower-case letters, digits and dashes")]
    Name {
        /// What was typed.
        text: String,
    },
    /// Where its manifest is was not said.
    #[error("in which folder is its manifest?")]
    NoFolder,
    /// The manifest cannot be written.
    #[error("writing {}", .file.display())]
    Write {
        /// Where to.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nor removed.
    #[error("removing {}", .file.display())]
    Remove {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WaypointError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoControl => "run it where weft-control runs, and say where its socket is with --world DIR",
            Self::Ask(error) => error.advice(),
            Self::Unknown { .. } => "`weft waypoint list` lists all",
            Self::Name { .. } => "for example: weft waypoint apply --namespace shop --name waypoint",
            Self::NoFolder => "say it with --manifests DIR: what weft-control has as WEFT_DIRECTORY",
            Self::Write { .. } => "the folder of manifests is what weft-control has as WEFT_DIRECTORY",
            Self::Remove { .. } => {
                "`weft waypoint delete` removes what `weft waypoint apply` has written; another file you change yourself"
            }
        }
    }
}

/// What the control plane says of its waypoints; of one alone if it is named.
///
/// # Errors
/// Without an answer, or if there is no such waypoint.
pub async fn gather(control: Option<&Path>, name: Option<&str>) -> Result<Value, WaypointError> {
    let all = ask::get(control.ok_or(WaypointError::NoControl)?, "/waypoints").await?;
    let Some(name) = name else { return Ok(all) };
    let is_it = |row: &&Value| name == full_name(row) || row["name"] == name;
    let found: Vec<Value> = all.as_array().into_iter().flatten().filter(is_it).cloned().collect();
    if found.is_empty() {
        return Err(WaypointError::Unknown { name: name.to_owned() });
    }
    Ok(Value::Array(found))
}

/// What the instances that run here say of themselves, beside what the control plane says. One that does not answer is
/// part of the answer.
pub async fn status(waypoints: Value, sockets: &[PathBuf]) -> Value {
    let mut here = Vec::new();
    for socket in sockets {
        here.push(match ask::get(socket, "/status").await {
            Ok(status) => status,
            Err(error) => json!({
                "pod": socket.display().to_string(), "error": chain(&error), "advice": error.advice(),
            }),
        });
    }
    json!({ "waypoints": waypoints, "here": here })
}

/// Whether every waypoint has an instance that is ready and knows all, and everyone here answers.
pub fn extent(status: &Value) -> Extent {
    let rows = |name: &str| status[name].as_array().into_iter().flatten();
    let serves = |row: &Value| {
        row["instances"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["ready"] == true && one["in_sync"] == true)
    };
    let well = rows("waypoints").all(serves) && rows("here").all(|one| one["error"].is_null());
    if well { Extent::Whole } else { Extent::Part }
}

fn full_name(row: &Value) -> String {
    format!("{}/{}", cell(&row["namespace"]), cell(&row["name"]))
}

/// The list for people.
pub fn render(all: &Value) -> String {
    let titles = ["NAMESPACE", "NAME", "FOR", "INSTANCES", "IN SYNC", "SERVICES", "WORKLOADS"];
    let row = |one: &Value| {
        let instances = one["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
        let count = |field: &str| instances.iter().filter(|instance| instance[field] == true).count();
        let length = |field: &str| one[field].as_array().map_or(0, Vec::len).to_string();
        vec![
            cell(&one["namespace"]),
            cell(&one["name"]),
            cell(&one["for"]),
            format!("{}/{} ready", count("ready"), instances.len()),
            format!("{}/{}", count("in_sync"), instances.len()),
            length("services"),
            length("workloads"),
        ]
    };
    let rows: Vec<_> = all.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() { "there are none\n".to_owned() } else { table::render(&titles, &rows) }
}

/// The status for people.
pub fn render_status(status: &Value) -> String {
    let mut out = String::new();
    let rows = |name: &str| status[name].as_array().into_iter().flatten();
    for one in rows("waypoints") {
        let _never =
            writeln!(out, "{} ({}, for: {})", full_name(one), cell(&one["class"]), cell(&one["for"]));
        line(&mut out, "services", &cell(&one["services"]));
        line(&mut out, "workloads", &cell(&one["workloads"]));
        for telemetry in one["telemetries"].as_array().into_iter().flatten() {
            line(&mut out, "telemetry", &telemetry_words(telemetry));
        }
        let instances = one["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
        if instances.is_empty() {
            line(&mut out, "instances", "NONE: what has to go through it is refused");
        }
        for instance in instances {
            line(&mut out, "instance", &instance_words(instance));
        }
    }
    for one in rows("here") {
        let _never = writeln!(out, "{}, on this machine", cell(&one["pod"]));
        match one["error"].as_str() {
            Some(error) => {
                line(&mut out, "", &format!("does not answer: {error}"));
                line(&mut out, "", &cell(&one["advice"]));
            }
            None => {
                line(&mut out, "before", &cell(&one["services"]));
                line(&mut out, "policies", &cell(&one["policies"]));
                let sync = if one["discovery"]["in_sync"] == true { "in sync" } else { "NOT in sync" };
                line(&mut out, "discovery", sync);
                for refused in one["discovery"]["types"].as_array().into_iter().flatten() {
                    for rejected in refused["rejected"].as_array().into_iter().flatten() {
                        line(&mut out, "", &format!("refused: {}", cell(rejected)));
                    }
                }
            }
        }
    }
    if out.is_empty() { "there are none\n".to_owned() } else { out }
}

fn line(out: &mut String, name: &str, text: &str) {
    let _never = writeln!(out, "  {name:<10} {text}");
}

/// One without services is for all requests.
fn telemetry_words(one: &Value) -> String {
    match cell(&one["services"]) {
        none if none == "-" => cell(&one["name"]),
        services => format!("{}, for {services}", cell(&one["name"])),
    }
}

fn instance_words(one: &Value) -> String {
    let ready = if one["ready"] == true { "ready" } else { "NOT ready" };
    let sync = match &one["in_sync"] {
        Value::Bool(true) => "in sync",
        Value::Bool(false) => "NOT in sync",
        _ => "NOT connected to the control plane",
    };
    let node = match cell(&one["node"]) {
        none if none == "-" => String::new(),
        node => format!(" on {node}"),
    };
    let refused = match one["rejections"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => format!(", refused {count} pushes"),
    };
    format!("{}{node} {}: {ready}, {sync}{refused}", cell(&one["name"]), cell(&one["addresses"]))
}

impl Wanted {
    /// Sees that its names are some.
    ///
    /// # Errors
    /// [`WaypointError::Name`].
    pub fn check(&self) -> Result<(), WaypointError> {
        let is_name = |text: &str| {
            let clean = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-';
            !text.is_empty()
                && text.len() <= 63
                && text.chars().all(clean)
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        match [&self.namespace, &self.name].into_iter().find(|text| !is_name(text)) {
            Some(text) => Err(WaypointError::Name { text: text.clone() }),
            None => Ok(()),
        }
    }

    /// Its Gateway.
    pub fn manifest(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "namespace": self.namespace });
        if self.takes != "service" {
            metadata["labels"] = json!({ "weft.dev/waypoint-for": self.takes });
        }
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": metadata,
            "spec": {
                "gatewayClassName": "weft-waypoint",
                "listeners": [{ "name": "mesh", "port": 15008, "protocol": "HBONE" }],
            },
        })
    }

    fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("gateway.{}.{}.yaml", self.namespace, self.name))
    }

    /// Writes the manifest into a folder of manifests.
    ///
    /// # Errors
    /// [`WaypointError::Write`].
    pub fn write(&self, folder: &Path, manifest: &str) -> Result<String, WaypointError> {
        let file = self.file(folder);
        // Beside it first: who follows the folder never sees half of it. A leading dot hides it meanwhile.
        let draft = folder.join(format!(".gateway.{}.{}.yaml.new", self.namespace, self.name));
        let failed = |source| WaypointError::Write { file: file.clone(), source };
        fs::write(&draft, manifest).map_err(failed)?;
        fs::rename(&draft, &file).map_err(failed)?;
        Ok(format!("{}\n{}", file.display(), self.next()))
    }

    /// Removes what [`Wanted::write`] has written.
    ///
    /// # Errors
    /// [`WaypointError::Remove`].
    pub fn remove(&self, folder: &Path) -> Result<String, WaypointError> {
        let file = self.file(folder);
        fs::remove_file(&file).map_err(|source| WaypointError::Remove { file: file.clone(), source })?;
        Ok(format!(
            "{} is gone; end the processes that served it, and take the labels weft.dev/waypoint away that name it\n",
            file.display()
        ))
    }

    /// What is still to be done: nobody starts the process where a folder is the source.
    pub fn next(&self) -> String {
        let Self { namespace, name, .. } = self;
        format!(
            "its instances are the pods of {namespace} with the label gateway.networking.k8s.io/gateway-name: {name}; \
             in each of them run\n  WEFT_POD_NAMESPACE={namespace} WEFT_POD_NAME=POD WEFT_POD_IPS=ADDRESS \
             WEFT_SERVICE_ACCOUNT=ACCOUNT WEFT_CONTROL_ADDRESS=https://CONTROL:15012 WEFT_CONTROL_ROOTS=FILE \
             WEFT_TOKEN_FILE=FILE weft-waypoint\nand label what is to go through it: weft.dev/waypoint: {name}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waypoints_are_listed_and_what_is_wrong_is_said() {
        let all = json!([{"namespace": "shop", "name": "gate", "class": "weft-waypoint", "for": "service",
            "instances": [{"name": "gate-1", "node": "node2", "addresses": ["10.0.0.9"], "ready": true,
                "in_sync": null, "rejections": 0}],
            "services": ["shop/reviews"], "workloads": [], "telemetries": [{"name": "istio-system/mesh", "services": []},
                {"name": "shop/reviews", "services": ["shop/reviews"]}]}]);
        assert_eq!(
            render(&all),
            "NAMESPACE  NAME  FOR      INSTANCES  IN SYNC  SERVICES  WORKLOADS\n\
             shop       gate  service  1/1 ready  0/1      1         0\n"
        );
        let status =
            json!({"waypoints": all, "here": [{"pod": "/w.sock", "error": "gone", "advice": "start it"}]});
        assert_eq!(extent(&status), Extent::Part);
        assert_eq!(
            render_status(&status),
            "shop/gate (weft-waypoint, for: service)\n  services   shop/reviews\n  workloads  -\n  \
             telemetry  istio-system/mesh\n  telemetry  shop/reviews, for shop/reviews\n  \
             instance   gate-1 on node2 10.0.0.9: ready, NOT connected to the control plane\n\
             /w.sock, on this machine\n             does not answer: gone\n             start it\n"
        );
        let mut well = status;
        well["here"] = json!([]);
        well["waypoints"][0]["instances"][0]["in_sync"] = json!(true);
        assert_eq!(extent(&well), Extent::Whole);
    }

    #[test]
    fn a_manifest_is_written_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = Wanted { namespace: "shop".into(), name: "gate".into(), takes: "all".into() };
        wanted.check().expect("names");
        assert_eq!(wanted.manifest()["metadata"]["labels"]["weft.dev/waypoint-for"], "all");
        let said = wanted.write(folder.path(), "x: y\n").expect("it is written");
        assert!(said.contains("weft-waypoint\n"), "{said}");
        let file = folder.path().join("gateway.shop.gate.yaml");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "x: y\n");
        wanted.remove(folder.path()).expect("it goes");
        assert!(matches!(wanted.remove(folder.path()), Err(WaypointError::Remove { .. })));
        let odd = Wanted { name: "../x".into(), ..wanted };
        assert!(matches!(odd.check(), Err(WaypointError::Name { .. })));
    }
}
