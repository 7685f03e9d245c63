//! Memory of a waypoint: fresh, with connections that idle, and with a thousand clusters.

use std::time::Duration;

use anyhow::Result;

use super::row::{Contender, Entry, PATH, Scene};
use super::site::{Open, Site};

/// Connections that are opened; each has asked once.
pub(crate) const CONNECTIONS: u64 = 1000;
/// Until what was only needed for the requests has been given back.
const SETTLE: Duration = Duration::from_secs(2);

/// Resident memory of one of the two, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// As it was started, with a few services.
    pub(crate) idle: u64,
    /// The same with [`super::row::MANY`].
    pub(crate) crowd: u64,
    /// What an idle connection adds whose requests go to pods in plain text.
    pub(crate) plain: u64,
    /// And to pods by HBONE.
    pub(crate) tunnelled: u64,
    /// What one adds that came by no tunnel, where there is such a thing.
    pub(crate) untunnelled: Option<u64>,
}

/// Weft's, and Envoy's.
pub(crate) fn measure(site: &Site) -> Result<[Memory; 2]> {
    Ok([of(site, Contender::Weft)?, of(site, Contender::Envoy)?])
}

fn of(site: &Site, contender: Contender) -> Result<Memory> {
    let idle = site.memory(contender, Scene::Usual)?;
    let crowd = site.memory(contender, Scene::Crowd)?;
    // Until the end: what the first ones give back would be what the next ones take.
    let mut open = Vec::new();
    let mut add = |contender, entry| -> Result<u64> {
        let before = site.memory(contender, Scene::Usual)?;
        for _ in 0..CONNECTIONS {
            let mut one: Open = site.open(contender, entry)?;
            one.get(entry.service(), PATH)?;
            open.push(one);
        }
        std::thread::sleep(SETTLE);
        Ok(site.memory(contender, Scene::Usual)?.saturating_sub(before) / CONNECTIONS)
    };
    let plain = add(contender, Entry::Plain)?;
    let tunnelled = add(contender, Entry::Tunnelled)?;
    let untunnelled = match contender {
        Contender::Envoy => Some(add(Contender::Untunnelled, Entry::Plain)?),
        Contender::Weft | Contender::Untunnelled => None,
    };
    Ok(Memory { idle, crowd, plain, tunnelled, untunnelled })
}
