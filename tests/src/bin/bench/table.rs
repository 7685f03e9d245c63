//! The results as a table for people.

use std::fmt::Write as _;

use crate::memory::{CONNECTIONS, Memory, PODS};
use crate::results::{Case, Results};
use crate::rival;
use crate::site::{Cores, Path};

/// All tables.
pub(crate) fn render(results: &Results) -> String {
    let mut out = format!(
        "\nMedians of {} rounds of {} s, direct and meshed in turn. `rival` is an ambient node proxy on a machine of the \
         same kind;\n`proxy CPU` is that of both nodes' proxies, `all CPU` of all processes in multiples of direct.\n",
        results.rounds, results.seconds
    );
    for cores in [Cores::Two, Cores::One] {
        for path in [Path::CrossNode, Path::Hbone, Path::SameNode] {
            let cases: Vec<&Case> =
                results.cases.iter().filter(|case| case.cores == cores && case.path == path).collect();
            if !cases.is_empty() {
                section(&mut out, cores, path, &cases);
            }
        }
    }
    if let Some(memory) = &results.memory {
        memory_section(&mut out, memory);
    }
    out
}

fn section(out: &mut String, cores: Cores, path: Path, cases: &[&Case]) {
    let mut rows = vec![
        [
            "",
            "direct",
            "meshed",
            "",
            "ratio",
            "rival",
            "proxy CPU",
            "",
            "rival",
            "agent CPU",
            "all CPU",
            "rival",
            "added µs",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    // The rival was measured across nodes only.
    let across = path == Path::CrossNode;
    let on = |measured: Cores| across && cores == measured;
    for case in cases {
        let (direct, meshed) = case.rates();
        let load = case.load;
        let rival_ratio = rival::ratio(load).filter(|_| on(Cores::Two));
        let rival_cpu = rival::proxy_cpu(load).filter(|_| on(Cores::Two));
        let rival_multiple = rival::cpu_multiple(load).filter(|_| on(Cores::One));
        let rival = |value: Option<f64>| value.map_or_else(String::new, figure);
        rows.push(vec![
            case.words(),
            figure(direct),
            figure(meshed),
            load.unit().to_owned(),
            format!("{:.2}", case.ratio()) + gain(case.ratio(), rival_ratio),
            rival(rival_ratio),
            figure(case.proxy_cpu()) + cost(case.proxy_cpu(), rival_cpu),
            load.cpu_unit().to_owned(),
            rival(rival_cpu),
            figure(case.agent_cpu()),
            format!("{:.2}", case.cpu_multiple()) + cost(case.cpu_multiple(), rival_multiple),
            rival(rival_multiple),
            case.added_micros().map_or_else(String::new, |micros| format!("{micros:.0}")),
        ]);
    }
    let _never = writeln!(out, "\n{}, {}", path.words(), cores.words());
    align(out, &rows);
    for case in cases {
        let (direct, meshed) = case.errors();
        if direct + meshed > 0 {
            let _never =
                writeln!(out, "! {}: {direct} requests failed direct, {meshed} meshed", case.words());
        }
    }
    if across && let Some(added) = cases.iter().find_map(|case| quiet(case)) {
        let _never = writeln!(
            out,
            "a quiet connection: {added:.0} µs more in the median{} (rival {:.0})",
            cost(added, Some(rival::ADDED_MICROS).filter(|_| on(Cores::Two))),
            rival::ADDED_MICROS
        );
    }
}

/// What the mesh adds to a connection that is alone.
fn quiet(case: &Case) -> Option<f64> {
    if case.words() == crate::load::Load::KeepAlive(1).words() { case.added_micros() } else { None }
}

/// Said of what is no better than the rival's.
const BEHIND: &str = " BEHIND";

/// Of what should be more than the rival's, where there is one to compare with.
fn gain(ours: f64, rival: Option<f64>) -> &'static str {
    if rival.is_some_and(|rival| ours <= rival) { BEHIND } else { "" }
}

/// Of what should be less.
fn cost(ours: f64, rival: Option<f64>) -> &'static str {
    if rival.is_some_and(|rival| ours >= rival) { BEHIND } else { "" }
}

fn memory_section(out: &mut String, memory: &Memory) {
    let mega = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let kilo = |bytes: u64| format!("{:.1} kB", bytes as f64 / 1e3);
    let behind = |ours: u64, rival: f64| cost(ours as f64, Some(rival));
    let rows = vec![
        vec![String::new(), "meshed".to_owned(), "rival".to_owned()],
        vec![
            "proxy, idle".to_owned(),
            mega(memory.idle) + behind(memory.idle, rival::IDLE_BYTES),
            format!("{:.1} MB", rival::IDLE_BYTES / 1e6),
        ],
        vec![
            "each open connection, client's proxy".to_owned(),
            kilo(memory.per_connection_client)
                + behind(memory.per_connection_client, rival::CONNECTION_BYTES),
            format!("{:.1} kB", rival::CONNECTION_BYTES / 1e3),
        ],
        vec![
            "each open connection, server's proxy".to_owned(),
            kilo(memory.per_connection_server),
            String::new(),
        ],
        vec!["agent and proxy of a node".to_owned(), mega(memory.node), String::new()],
        vec![format!("the same with {PODS} more pods"), mega(memory.node_with_pods), String::new()],
    ];
    let _never = writeln!(out, "\nresident memory ({CONNECTIONS} connections were open)");
    align(out, &rows);
}

/// Three digits that say something.
pub(crate) fn figure(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// The first column to the left, all others to the right.
pub(crate) fn align(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _never = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Measured};
    use crate::results::Sample;
    use crate::site::{Acceleration, Cpu};

    /// Direct it is a thousand requests a second, each 1 ms long; meshed it is half of that at this cost.
    fn case(cores: Cores, path: Path, proxies: f64, micros: f64) -> Case {
        let sample = |rate: f64, median_micros: f64, proxies: f64| Sample {
            measured: Measured { rate, amount: 10_000.0, median_micros: Some(median_micros), errors: 0 },
            cpu: Cpu { proxies, applications: 1.0, ..Cpu::default() },
        };
        let mut case = Case::new(cores, path, (Load::KeepAlive(32), Acceleration::Standard));
        case.direct.push(sample(1000.0, 1000.0, 0.0));
        case.meshed.push(sample(500.0, 1000.0 + micros, proxies));
        case
    }

    #[test]
    fn what_is_behind_the_rival_is_marked() {
        let marks = |case: Case| {
            let quiet = Case { load: Load::KeepAlive(1), ..case };
            let loud = Case {
                load: Load::KeepAlive(32),
                direct: quiet.direct.clone(),
                meshed: quiet.meshed.clone(),
                ..quiet
            };
            let results = Results { rounds: 1, seconds: 1, cases: vec![loud, quiet], memory: None };
            let text = render(&results);
            let of = |start: &str| {
                let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
                line.matches("BEHIND").count()
            };
            (of("keep-alive 32"), of("keep-alive 1"), of("a quiet connection"))
        };
        for (name, cores, path, proxies, micros, want) in [
            ("ahead of all", Cores::Two, Path::CrossNode, 0.1, 50.0, (0, 0, 0)),
            ("the proxies' time", Cores::Two, Path::CrossNode, 0.56, 50.0, (1, 0, 0)),
            ("a quiet connection", Cores::Two, Path::CrossNode, 0.1, 131.0, (0, 0, 1)),
            ("all processes on one core", Cores::One, Path::CrossNode, 5.0, 50.0, (1, 1, 0)),
            ("nobody measured that", Cores::Two, Path::SameNode, 5.0, 500.0, (0, 0, 0)),
        ] {
            assert_eq!(marks(case(cores, path, proxies, micros)), want, "{name}");
        }
    }
}
