//! The real `weft`, run as an operator would.

use crate::yaml;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use weft_testkit::find_binary;

/// What grows older or busier between two questions.
const RESTLESS: [&str; 5] =
    ["age_seconds", "expires_in_seconds", "connected_for_seconds", "packets", "sockets_ahead"];

/// The program, and the world that it is asked about.
pub(crate) struct Weft {
    program: PathBuf,
    world: PathBuf,
}

/// What it has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program to its end, without this test's own settings.
pub(crate) fn run<A: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> Result<Said> {
    let mut command = Command::new(program);
    command.args(args);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("WEFT_") {
            command.env_remove(key);
        }
    }
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

impl Weft {
    pub(crate) fn of(world: &Path) -> Result<Self> {
        Ok(Self { program: find_binary("weft")?, world: world.to_owned() })
    }

    /// Asks about the whole world.
    pub(crate) fn say(&self, args: &[&str]) -> Result<Said> {
        let world = [OsStr::new("--world"), self.world.as_os_str()];
        run(&self.program, args.iter().map(OsStr::new).chain(world))
    }

    /// The answer as a table, by lines.
    pub(crate) fn table(&self, args: &[&str]) -> Result<Vec<String>> {
        Ok(self.well(args)?.lines().map(str::to_owned).collect())
    }

    /// The answer as JSON; in YAML it is the same.
    pub(crate) fn value(&self, args: &[&str]) -> Result<Value> {
        let json = self.well(&[args, &["-o", "json"]].concat())?;
        let json: Value = serde_json::from_str(&json).with_context(|| format!("{args:?}: {json}"))?;
        let yaml = self.well(&[args, &["--output", "yaml"]].concat())?;
        let read = yaml::read(&yaml).with_context(|| format!("{args:?}: {yaml}"))?;
        let (ours, theirs) = (calm(json.clone()), calm(read));
        ensure!(ours == theirs, "{args:?} is not the same in\n{ours:#}\nand in\n{theirs:#}");
        Ok(json)
    }

    fn well(&self, args: &[&str]) -> Result<String> {
        let said = self.say(args)?;
        ensure!(said.code == Some(0) && said.err.is_empty(), "{args:?}: {said:?}");
        Ok(said.out)
    }
}

/// A value without what changes by itself.
fn calm(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().filter(|(key, _)| !RESTLESS.contains(&key.as_str()));
            Value::Object(fields.map(|(key, value)| (key, calm(value))).collect())
        }
        Value::Array(list) => list.into_iter().map(calm).collect(),
        plain => plain,
    }
}

/// The row of a list with these fields.
pub(crate) fn row<'a>(rows: &'a Value, fields: &[(&str, &str)]) -> Result<&'a Value> {
    let mut found = rows.as_array().into_iter().flatten();
    let is_it = |row: &&Value| fields.iter().all(|(name, value)| row[name] == *value);
    found.find(is_it).with_context(|| format!("no row with {fields:?} in {rows:#}"))
}

/// The line of a table that begins with these cells.
pub(crate) fn cells<'a>(table: &'a [String], first: &[&str]) -> Result<Vec<&'a str>> {
    let mut lines = table.iter().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()));
    let found = lines.find_map(|cells| {
        let cells: Vec<&str> = cells.collect();
        cells.starts_with(first).then_some(cells)
    });
    found.with_context(|| format!("no line with {first:?} in {table:#?}"))
}
