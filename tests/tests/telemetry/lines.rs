//! Access lines in either format, as pairs of words.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use weft_testkit::MeshProcess;
use weft_tests::waiting::eventually;

/// Proxies gather lines for a moment.
const PATIENCE: Duration = Duration::from_secs(15);
/// What JSON writes as numbers.
const NUMBERS: [&str; 3] = ["bytes_sent", "bytes_received", "duration_ms"];

/// How a proxy writes its lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Text,
    Json,
}

/// A line's fields.
pub(crate) type Fields = BTreeMap<String, String>;

/// Waits for the one line of a connection that a proxy tells in this direction.
pub(crate) fn line_of(
    proxy: &MeshProcess,
    format: Format,
    direction: &str,
    client: SocketAddr,
    target: SocketAddr,
) -> Result<Fields> {
    let what = format!("one line of {} on {client} to {target} ({direction})", proxy.name());
    let want = [
        ("direction", direction.to_owned()),
        ("src.addr", client.to_string()),
        ("dst.addr", target.to_string()),
    ];
    eventually(&what, PATIENCE, || {
        let log = proxy.log();
        let mut found = Vec::new();
        for line in log.lines().filter(|line| line.contains("access") && line.contains(&client.to_string())) {
            let fields = read(line, format).with_context(|| line.to_owned())?;
            if want.iter().all(|(key, value)| fields.get(*key) == Some(value)) {
                found.push(fields);
            }
        }
        ensure!(found.len() == 1, "{} of them", found.len());
        found.pop().context("just counted")
    })
}

fn read(line: &str, format: Format) -> Result<Fields> {
    match format {
        Format::Text => read_text(line),
        Format::Json => read_json(line),
    }
}

/// `key=value` pairs; a value in quotes may hold anything.
fn read_text(line: &str) -> Result<Fields> {
    let (mut fields, mut rest) = (Fields::new(), line);
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=').context("a pair without =")?;
        let value = if behind.starts_with('"') {
            // Quotes are escaped as in JSON.
            let mut values = serde_json::Deserializer::from_str(behind).into_iter::<String>();
            let value = values.next().context("a value")??;
            rest = &behind[values.byte_offset()..];
            value
        } else {
            let end = behind.find(' ').unwrap_or(behind.len());
            rest = &behind[end..];
            behind[..end].to_owned()
        };
        rest = rest.strip_prefix(' ').unwrap_or(rest);
        ensure!(fields.insert(key.to_owned(), value).is_none(), "{key} stands there twice");
    }
    Ok(fields)
}

fn read_json(line: &str) -> Result<Fields> {
    let Value::Object(object) = serde_json::from_str(line)? else { bail!("no object") };
    let field = |(key, value): (String, Value)| {
        let text = match (&value, NUMBERS.contains(&&*key)) {
            (Value::String(text), false) => text.clone(),
            (Value::Number(number), true) => number.to_string(),
            _ => bail!("{key} is {value}"),
        };
        Ok((key, text))
    };
    object.into_iter().map(field).collect()
}
