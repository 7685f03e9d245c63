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
    for case in cases {
        let (direct, meshed) = case.rates();
        let load = case.load;
        let rival =
            |value: Option<f64>, shown: bool| value.filter(|_| shown).map_or_else(String::new, figure);
        rows.push(vec![
            case.words(),
            figure(direct),
            figure(meshed),
            load.unit().to_owned(),
            format!(
                "{:.2}{}",
                case.ratio(),
                judge(case.ratio(), rival::ratio(load), across && cores == Cores::Two)
            ),
            rival(rival::ratio(load), across && cores == Cores::Two),
            figure(case.proxy_cpu()),
            load.cpu_unit().to_owned(),
            rival(rival::proxy_cpu(load), across && cores == Cores::Two),
            figure(case.agent_cpu()),
            format!("{:.2}", case.cpu_multiple()),
            rival(rival::cpu_multiple(load), across && cores == Cores::One),
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
            "a quiet connection: {added:.0} µs more in the median (rival {:.0})",
            rival::ADDED_MICROS
        );
    }
}

/// What the mesh adds to a connection that is alone.
fn quiet(case: &Case) -> Option<f64> {
    if case.words() == crate::load::Load::KeepAlive(1).words() { case.added_micros() } else { None }
}

/// Says where the rival is better.
fn judge(ours: f64, rival: Option<f64>, comparable: bool) -> &'static str {
    match rival {
        Some(rival) if comparable && ours <= rival => " BEHIND",
        _ => "",
    }
}

fn memory_section(out: &mut String, memory: &Memory) {
    let mega = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let kilo = |bytes: u64| format!("{:.1} kB", bytes as f64 / 1e3);
    let behind = |ours: u64, rival: f64| if ours as f64 >= rival { " BEHIND" } else { "" };
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
fn figure(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// The first column to the left, all others to the right.
fn align(out: &mut String, rows: &[Vec<String>]) {
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
