//! The manifests of docs/traffic.md do what the page says. They are read from the page itself, one section after the
//! other, written into the folder of a mesh as they stand there, and tried with real requests.
#![forbid(unsafe_code)]

mod rewriting;
mod resilience;
mod backends;
mod routing;
mod streams;
mod outside;
mod policy;
mod telemetry;
mod scene;
mod page;

use anyhow::{Context as _, Result, ensure};
use scene::Scene;
use std::collections::BTreeSet;
use std::time::Instant;

/// What is so while the manifests of a section are in the folder.
type Example = (&'static str, fn(&Scene) -> Result<()>);

const EXAMPLES: [Example; 46] = [
    ("A canary", routing::canary),
    ("A split", routing::split),
    ("Some requests elsewhere", routing::browsers),
    ("By everything that a request has", routing::everything),
    ("By who asks", routing::who),
    ("A part of the routes in other hands", routing::delegated),
    ("A backend of another namespace", routing::granted),
    ("For the clients of one namespace", routing::consumer),
    ("gRPC", routing::grpc),
    ("Redirects", rewriting::redirects),
    ("Answers without a server", rewriting::answers),
    ("Rewrites and headers", rewriting::rewrites),
    ("Rewrites by pattern", rewriting::patterns),
    ("Headers of one backend", rewriting::one_backend),
    ("Mirroring", rewriting::mirror),
    ("Copies of calls", rewriting::mirrored_calls),
    ("CORS", rewriting::cors),
    ("Timeouts", resilience::timeouts),
    ("Tries that take too long", resilience::tries),
    ("Retries", resilience::retries),
    ("A budget for retries", resilience::budget),
    ("Calls that are tried again", resilience::unavailable),
    ("Circuit breaking", resilience::circuit),
    ("Circuit breaking by comparison", resilience::comparison),
    ("A version without pods", resilience::fallback),
    ("Too few to leave anybody alone", resilience::too_few),
    ("Limits", resilience::limits),
    ("Faults", resilience::faults),
    ("Connections to backends", backends::connections),
    ("Sessions", backends::sessions),
    ("The same user, the same pod", backends::hash),
    ("Each port its own balancer", backends::ports),
    ("Near ones first", backends::near),
    ("Shares by place", backends::shares),
    ("Slowly at first", backends::slowly),
    ("TCP", streams::tcp),
    ("TLS", streams::tls),
    ("TCP and TLS in Istio's words", streams::istio),
    ("Who may ask for what", policy::readers),
    ("Policy on trial", policy::trial),
    ("Services outside", outside::payments_and_ratings),
    ("A range of addresses", outside::range),
    ("Names instead of addresses", outside::names),
    ("Any name below a domain", outside::tenants),
    ("Telemetry", telemetry::failures_only),
    // The last: what the page has outside lives elsewhere then.
    ("TLS to backends", outside::backends_with_tls),
];

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn the_manifests_of_the_page_about_traffic_do_what_it_says() -> Result<()> {
    let sections = page::sections()?;
    let found: BTreeSet<&str> = sections.iter().map(|section| section.title.as_str()).collect();
    let tried = EXAMPLES.iter().map(|(title, _)| *title);
    // The Gateway stands all the while.
    let tried: BTreeSet<&str> = tried.chain([page::GATEWAY]).collect();
    ensure!(found == tried, "on the page and not tried, or the reverse: {:?}", &found ^ &tried);
    let manifest = |title: &str| {
        let section = sections.iter().find(|section| section.title == title);
        section.map(|section| section.manifest.as_str()).with_context(|| format!("no section {title}"))
    };
    let scene = Scene::set(manifest(page::GATEWAY)?)?;
    let mut failed = Vec::new();
    for (title, holds) in EXAMPLES {
        let begun = Instant::now();
        if let Err(error) = scene.play(title, manifest(title)?, holds) {
            eprintln!("{title}: {error:#}\n{}", scene.logs()?);
            failed.push(title);
        }
        eprintln!("{title}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    ensure!(failed.is_empty(), "of {} examples these failed: {failed:?}", EXAMPLES.len());
    Ok(())
}
