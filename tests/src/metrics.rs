//! Metrics, as the mesh's processes tell them to Prometheus.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use weft_testkit::Node;

/// Where a node's proxy tells its own.
pub const PROXY_PORT: u16 = 15_020;
/// Where a node's agent does.
pub const AGENT_PORT: u16 = 15_022;

/// A number with its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
}

/// All that a process of this node tells on this port.
///
/// # Errors
/// If it does not answer, or in a way that Prometheus would not understand.
pub fn scrape(node: &Node, port: u16) -> Result<Vec<Sample>> {
    let (status, text) = node.http_get(port, "/metrics")?;
    ensure!(status == 200, "metrics of {} on port {port}: {status}\n{text}", node.name());
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| read(line).with_context(|| format!("no sample: {line}"))).collect()
}

/// What the agent of a node has counted of its pods' packets, by verdict.
///
/// # Errors
/// As [`scrape`].
pub fn packets(node: &Node) -> Result<BTreeMap<String, u64>> {
    let samples = scrape(node, AGENT_PORT)?.into_iter();
    let counted = samples.filter(|sample| sample.name == "weft_agent_packets_total");
    let counted = counted.map(|mut sample| (sample.labels.remove("verdict"), sample.value as u64));
    counted.map(|(verdict, count)| Ok((verdict.context("a verdict")?, count))).collect()
}

/// `name{label="value",…} number`, as Prometheus' text format has it.
fn read(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    let labels = read_labels(labels.strip_suffix('}')?)?;
    Some(Sample { name: name.to_owned(), labels, value })
}

fn read_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = read_value(rest)?;
        labels.insert(name.to_owned(), value);
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

/// The value up to its closing quote, and what follows.
fn read_value(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        for (line, name, labels, value) in [
            ("weft_agent_proxies 1", "weft_agent_proxies", vec![], 1.0),
            ("a_total{b=\"c\"} 7", "a_total", vec![("b", "c")], 7.0),
            (r#"a{b="c, d",e="say \"f\" {g}"} 0.5"#, "a", vec![("b", "c, d"), ("e", "say \"f\" {g}")], 0.5),
        ] {
            let pairs = labels.into_iter().map(|(name, value): (&str, &str)| (name.into(), value.into()));
            let want = Sample { name: name.into(), labels: pairs.collect(), value };
            assert_eq!(read(line), Some(want), "{line}");
        }
        for line in ["", "a", "a{b=\"c} 1", "a{b=\"c\" 1", "a one"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
