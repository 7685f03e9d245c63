//! Edges between crates point down (design §7): programs, parts, protocols, wire, words.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::steps;

/// The crates from top to bottom. A crate depends on crates below it, and on no other.
const LAYERS: [&[&str]; 6] = [
    &["weft-tests", "weft-fuzz", "xtask"],
    // Programs.
    &["weft-control", "weft-agent", "weft-node-proxy", "weft-cni", "weft-waypoint", "weft-cli"],
    // Parts.
    &["weft-control-serve", "weft-ebpf-host", "weft-control-index", "weft-control-ca", "weft-testkit"],
    // Protocols.
    &["weft-dns", "weft-agent-link", "weft-xds", "weft-tunnel", "weft-runtime"],
    // Wire.
    &["weft-proto", "weft-pki", "weft-control-api", "weft-samples"],
    // Words, and the kernel's programs, which know nothing else.
    &["weft-ebpf-programs", "weft-l7", "weft-core", "weft-ebpf-common"],
];

/// What a crate must not depend on: these are pure, or are the only ones allowed to do something.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("weft-core", &["tokio", "tonic", "kube", "aya"]),
    ("weft-l7", &["tokio", "tonic", "kube", "aya", "hyper"]),
    ("weft-control-index", &["tokio", "tonic", "kube", "aya"]),
    ("weft-ebpf-common", &["tokio", "tonic", "kube", "aya"]),
];

pub(super) fn check() -> Result<()> {
    let output = steps::cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("starting cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("reading cargo's metadata")?;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().context("metadata without packages")? {
        let name = package["name"].as_str().context("a package without a name")?;
        let dependencies = package["dependencies"].as_array().context("a package without dependencies")?;
        // Tests may use what they like.
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        let names: Vec<&str> = normal.filter_map(|dependency| dependency["name"].as_str()).collect();
        wrong.extend(judge(name, &names));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn judge(name: &str, dependencies: &[&str]) -> Vec<String> {
    let Some(own) = place(name) else {
        return vec![format!("{name} has no layer: give it one in xtask/src/tidy/edges.rs")];
    };
    let mut wrong = Vec::new();
    for dependency in dependencies {
        if place(dependency).is_some_and(|place| place <= own) {
            wrong.push(format!("{name} depends on {dependency}, which does not stand below it"));
        }
        let pure = FORBIDDEN.iter().any(|(pure, banned)| *pure == name && banned.contains(dependency));
        if pure || *dependency == "aya" && name != "weft-ebpf-host" {
            wrong.push(format!("{name} must not know {dependency}"));
        }
    }
    wrong
}

/// Where a crate stands: its layer, and its place there, which orders neighbours.
fn place(name: &str) -> Option<(usize, usize)> {
    LAYERS
        .iter()
        .enumerate()
        .find_map(|(layer, names)| names.iter().position(|known| *known == name).map(|at| (layer, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_point_down() {
        for (case, name, dependencies, want) in [
            ("down", "weft-agent", &["weft-core", "tokio"][..], 0),
            ("down among neighbours", "weft-tunnel", &["weft-runtime"], 0),
            ("up", "weft-core", &["weft-proto"], 1),
            ("up among neighbours", "weft-runtime", &["weft-tunnel"], 1),
            ("programs do not know each other", "weft-waypoint", &["weft-node-proxy"], 1),
            ("pure", "weft-control-index", &["tokio"], 1),
            ("one crate loads", "weft-agent", &["aya"], 1),
            ("unknown", "weft-new", &[], 1),
        ] {
            assert_eq!(judge(name, dependencies).len(), want, "{case}");
        }
    }
}
