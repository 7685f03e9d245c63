//! The results as a table for people, as JSON for machines, and as a chart.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::memory::{CONNECTIONS, Memory};
use super::results::{Case, Results, median};
use super::row::{Contender, MANY};
use crate::chart::{Bars, render_bars};
use crate::json::machine;
use crate::table::{align, figure};

const ALL: [Contender; 3] = [Contender::Weft, Contender::Envoy, Contender::Untunnelled];
/// Memory that is aimed at, in parts of Envoy's, and how long a changed route may take.
const MEMORY_AIM: f64 = 0.5;
const CHANGE_AIM_MS: f64 = 50.0;
/// Said of what is not as it is meant to be.
const BEHIND: &str = " BEHIND";

fn mark(value: f64, most: f64) -> &'static str {
    if value > most { BEHIND } else { "" }
}

/// All tables.
pub(crate) fn table(results: &Results) -> String {
    let mut out = format!(
        "\nMedians of {} rounds of {} s, in turns; whoever is measured has a core of its own. CPU is that of the proxy, in \
         seconds for\n10 000 requests; `ratio` is Weft's in parts of Envoy's, round by round. Clients come to both by \
         HBONE, and to Weft in its\nown dialect where the row says so; `untunnelled` is Envoy as a plain proxy, which takes \
         connections without a tunnel:\nless than any waypoint does.\n\n",
        results.rounds, results.seconds
    );
    if !results.cases.is_empty() {
        rows(&mut out, &results.cases);
    }
    if let Some([weft, envoy]) = &results.memory {
        memory(&mut out, weft, envoy);
    }
    if let Some([weft, envoy]) = &results.change {
        let (weft, envoy) = (median(weft.iter().copied()), median(envoy.iter().copied()));
        let _never = writeln!(
            out,
            "\na changed route among {MANY} hosts is in force after {weft:.0} ms{} (Envoy {envoy:.0} ms)",
            mark(weft, CHANGE_AIM_MS)
        );
    }
    out
}

fn rows(out: &mut String, cases: &[Case]) {
    let head = [
        "",
        "Weft",
        "Envoy",
        "ratio",
        "aim",
        "untunnelled",
        "ratio",
        "Weft req/s",
        "Envoy",
        "p50/p99 ms",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for case in cases {
        let ratio = case.ratio(Contender::Envoy);
        let share = |value: f64| if value.is_nan() { String::new() } else { format!("{value:.2}") };
        let cpu = |contender| Some(case.cpu(contender)).filter(|cpu| !cpu.is_nan());
        let cpu = |contender| cpu(contender).map_or_else(String::new, figure);
        let times = |contender| -> Option<(f64, f64)> {
            Some((case.quantile_ms(contender, 0.5)?, case.quantile_ms(contender, 0.99)?))
        };
        let text = |times: Option<(f64, f64)>| {
            times.map_or_else(String::new, |(half, most)| format!("{half:.2}/{most:.2}"))
        };
        let (ours, theirs) = (times(Contender::Weft), times(Contender::Envoy));
        let slow = ours.zip(theirs).map_or("", |(ours, theirs)| mark(ours.1, theirs.1));
        rows.push(vec![
            case.row.name(),
            cpu(Contender::Weft),
            cpu(Contender::Envoy),
            share(ratio) + mark(ratio, case.row.aim()),
            format!("{:.2}", case.row.aim()),
            cpu(Contender::Untunnelled),
            share(case.ratio(Contender::Untunnelled)),
            figure(case.rate(Contender::Weft)),
            figure(case.rate(Contender::Envoy)),
            text(ours) + slow,
            text(theirs),
        ]);
    }
    align(out, &rows);
    for case in cases {
        for contender in ALL {
            let errors = case.errors(contender);
            if errors > 0 {
                let _never = writeln!(out, "! {}: {errors} requests failed, {contender:?}", case.row.name());
            }
        }
    }
}

fn memory(out: &mut String, weft: &Memory, envoy: &Memory) {
    let mega = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let kilo = |bytes: u64| format!("{:.1} kB", bytes as f64 / 1e3);
    let row = |name: &str, text: &dyn Fn(u64) -> String, ours: u64, theirs: u64| {
        let ratio = ours as f64 / theirs as f64;
        let ratio = format!("{ratio:.2}{}", mark(ratio, MEMORY_AIM));
        vec![name.to_owned(), text(ours), text(theirs), ratio]
    };
    let rows = [
        ["", "Weft", "Envoy", "ratio"].map(str::to_owned).to_vec(),
        row("idle", &mega, weft.idle, envoy.idle),
        row(&format!("with {MANY} clusters"), &mega, weft.crowd, envoy.crowd),
        row("each idle connection, plain to pods", &kilo, weft.plain, envoy.plain),
        row("each idle connection, HBONE to pods", &kilo, weft.tunnelled, envoy.tunnelled),
    ];
    let _never = writeln!(out, "\nresident memory ({CONNECTIONS} connections were open)");
    align(out, &rows);
    if let Some(bytes) = envoy.untunnelled {
        let _never =
            writeln!(out, "an idle connection that comes to Envoy without a tunnel: {}", kilo(bytes));
    }
}

/// The whole file of JSON.
pub(crate) fn json(results: &Results) -> Result<String> {
    let case = |case: &Case| {
        let contender = |contender: &Contender| {
            let times: Vec<Option<f64>> =
                [0.5, 0.99].map(|share| case.quantile_ms(*contender, share)).to_vec();
            let value = json!({
                "cpu_seconds_per_10k": case.cpu(*contender), "rate": case.rate(*contender),
                "p50_p99_ms": times, "failed": case.errors(*contender),
            });
            (format!("{contender:?}").to_lowercase(), value)
        };
        let contenders: serde_json::Map<String, Value> =
            case.row.contenders().iter().map(contender).collect();
        json!({
            "row": case.row.name(), "aim": case.row.aim(), "ratio": case.ratio(Contender::Envoy),
            "ratio_to_untunnelled": case.ratio(Contender::Untunnelled), "contenders": contenders,
        })
    };
    let memory = |memory: &Memory| {
        json!({
            "idle_bytes": memory.idle, "clusters_bytes": memory.crowd,
            "connection_bytes_plain": memory.plain, "connection_bytes_hbone": memory.tunnelled,
            "connection_bytes_untunnelled": memory.untunnelled,
        })
    };
    let both = |[weft, envoy]: [Value; 2]| json!({"weft": weft, "envoy": envoy});
    let value = json!({
        "machine": machine(), "rounds": results.rounds, "seconds": results.seconds,
        "rows": results.cases.iter().map(case).collect::<Vec<_>>(),
        "memory": results.memory.as_ref().map(|all| both(all.each_ref().map(memory))),
        "changed_route_ms": results.change.as_ref().map(|all| both(all.each_ref().map(|times| json!(times)))),
    });
    serde_json::to_string_pretty(&value).context("writing JSON")
}

/// The chart: Weft's CPU time in parts of Envoy's.
pub(crate) fn chart(results: &Results) -> String {
    let row = |case: &Case| {
        let values = [case.ratio(Contender::Envoy), case.ratio(Contender::Untunnelled)];
        (case.row.name(), values.map(|value| Some(value).filter(|value| value.is_finite())).to_vec())
    };
    render_bars(&Bars {
        title: "CPU time of the waypoint for a request, in parts of Envoy's (one core each)",
        colours: &[("of Envoy as a waypoint", "#2f6f8f"), ("of Envoy without a tunnel", "#7fb3a6")],
        rows: results.cases.iter().map(row).collect(),
    })
}
