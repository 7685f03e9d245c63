//! What can be seen of enrolment in a pod's network namespace, to be compared with what was there before it.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use weft_testkit::Pod;

/// Rules, routes, settings, listeners and queueing disciplines of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// Looks.
    ///
    /// # Errors
    /// If a tool of iproute2 fails, or the namespace is gone.
    pub fn of(pod: &Pod) -> Result<Self> {
        let mut lines = BTreeSet::new();
        for command in [
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
            "ss -Hltun",
            "tc qdisc show",
        ] {
            let output = pod.run(command.split(' '))?;
            ensure!(output.status.success(), "{command}: {}", output.stderr);
            lines.extend(output.stdout.lines().map(|line| format!("{command}: {line}")));
        }
        lines.extend(pod.enter(settings)??);
        // Its own addresses are no difference, and those of IPv6 come and go by themselves.
        let ips = pod.ips().map(|ip| ip.to_string());
        let own = |line: String| line.replace(&ips[0], "OWN4").replace(&ips[1], "OWN6");
        let lasting = |line: &String| !line.contains("fe80") && !line.contains("ff00");
        Ok(Self(lines.into_iter().filter(lasting).map(own).collect()))
    }

    /// What is here and not in `other` (with a plus), and what is only there (with a minus).
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let more = self.0.difference(&other.0).map(|line| format!("+ {line}"));
        let less = other.0.difference(&self.0).map(|line| format!("- {line}"));
        more.chain(less).collect()
    }
}

/// The inodes of the mesh's listeners in a pod: a listener that was made anew has another one.
///
/// # Errors
/// If its namespace is gone.
pub fn listening_sockets(pod: &Pod) -> Result<BTreeSet<String>> {
    let read = |table: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
    let tables = pod.enter(|| Ok::<_, std::io::Error>([read("tcp")?, read("tcp6")?].concat()))??;
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = words.get(1)?.rsplit(':').next()?;
        let mesh = [15001, 15006, 15008].iter().any(|one| format!("{one:04X}") == port);
        (mesh && words.get(3) == Some(&"0A")).then(|| words.get(9).map(|inode| (*inode).to_owned()))?
    };
    Ok(tables.lines().filter_map(inode).collect())
}

/// Every setting of the current thread's namespace, by way of /proc: `sysctl` is not on every machine.
fn settings() -> Result<Vec<String>> {
    let root = Path::new("/proc/sys/net");
    let mut files = Vec::new();
    for family in ["ipv4", "ipv6", "core"] {
        collect(&root.join(family), &mut files)?;
    }
    let mut settings = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        // Some can only be written, and show nothing.
        let Ok(value) = std::fs::read_to_string(&file) else { continue };
        settings.push(format!("{name} = {}", value.trim()));
    }
    ensure!(settings.len() > 100, "only {} settings are to be seen", settings.len());
    Ok(settings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    for entry in entries {
        let entry = entry.context("listing settings")?;
        if entry.file_type().context("asking what a setting is")?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
