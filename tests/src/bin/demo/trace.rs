//! A trace of a call that goes over three hops, as a collector gets it.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::net::TcpListener;
use weft_testkit::App;
use weft_tests::asking::await_enrolled;
use weft_tests::collector::{Collector, Span, SpanKind, tag};
use weft_tests::waiting::eventually;

use crate::gate::EFFECT;
use crate::scene::{COLLECTOR, PORT, Scene};
use crate::telling::Telling;

const TELEMETRY: &str = "telemetry.istio.io/v1";
/// Who calls whom, from the first to the last.
const HOPS: [&str; 3] = ["a", "b", "c"];

/// Sets up three applications that ask each other, and shows what came of one call.
pub(crate) fn of_three_hops(scene: &mut Scene, telling: &Telling) -> Result<()> {
    let mut pods = Vec::new();
    for (number, name) in HOPS.into_iter().enumerate() {
        let app = App::http(name);
        let app = HOPS
            .get(number + 1)
            .map_or_else(|| app.clone(), |next| app.clone().asks(&format!("http://{next}/")));
        let pod = scene.world.node(1 + number % 2).pod("shop", name);
        pods.push(pod.label("app", name).service_account(name).app(app).start()?);
        let service = scene.world.service("shop", name).select([("app", name)]).port("http", PORT, "http");
        service.label("weft.dev/waypoint", "gate").apply()?;
    }
    await_enrolled(&scene.mesh, &pods, EFFECT)?;
    scene.write(
        TELEMETRY,
        "Telemetry",
        "traces",
        &json!({
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}],
            "tracing": [{"randomSamplingPercentage": 100}],
        }),
    )?;
    let gate = scene.waypoint_pod.as_ref().context("the waypoint stands")?;
    let listener = gate.enter(|| TcpListener::bind(COLLECTOR))?.context("listening as a collector")?;
    let collector = Collector::start(listener)?;
    let chain = eventually("a trace of three hops is whole", EFFECT, || {
        let answer = scene.client.get("http://a/")?;
        ensure!(answer.is_ok(), "{answer:?}");
        whole(&collector.spans())
    })?;
    telling.fact(
        "client asks a, a asks b, b asks c, each through the waypoint; a Telemetry wants all traces, and this is one, of the \
         six spans that a collector of OpenTelemetry got:",
    );
    for (depth, span) in chain.iter().enumerate() {
        telling.detail(&line(depth, span));
    }
    // Nobody collects any more.
    scene.take_away(TELEMETRY, "Telemetry", "traces")?;
    scene.hops = pods;
    Ok(())
}

/// The spans of one trace, each below the one before it: of each hop that of the waypoint, and that of its try at the pod.
fn whole(spans: &[Span]) -> Result<Vec<Span>> {
    let hosts = HOPS.map(|hop| format!("{hop}.shop.svc.cluster.local"));
    let begins =
        |span: &&Span| span.parent_span_id.is_empty() && tag(span, "server.address") == Some(&hosts[0]);
    let roots = spans.iter().filter(begins);
    let mut chains = roots.map(|root| {
        let mut chain = vec![root.clone()];
        let of_trace: Vec<&Span> = spans.iter().filter(|span| span.trace_id == root.trace_id).collect();
        while let Some(next) =
            chain.last().and_then(|last| of_trace.iter().find(|span| span.parent_span_id == last.span_id))
        {
            chain.push((*next).clone());
        }
        (chain, of_trace.len())
    });
    let is_whole = |chain: &[Span]| {
        let wanted = hosts.iter().flat_map(|host| [(host, SpanKind::Server), (host, SpanKind::Client)]);
        let found = chain.iter().map(|span| (tag(span, "server.address"), span.kind()));
        chain.len() == 2 * HOPS.len() && found.eq(wanted.map(|(host, kind)| (Some(host.as_str()), kind)))
    };
    let found = chains.find(|(chain, all)| *all == chain.len() && is_whole(chain)).map(|(chain, _)| chain);
    found.with_context(|| format!("of {} spans none are such a trace", spans.len()))
}

/// `└─ b  GET b.shop…  1.23 ms`, by how deep it is.
fn line(depth: usize, span: &Span) -> String {
    let millis = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e6;
    let what = match span.kind() {
        SpanKind::Client => format!("asks pod {}", tag(span, "destination.workload").unwrap_or("?")),
        _ => format!("waypoint gate: {}", span.name),
    };
    let branch = if depth > 0 { format!("{}└─ ", "   ".repeat(depth - 1)) } else { String::new() };
    format!("{:<58} {millis:>8.2} ms", format!("{branch}{what}"))
}
