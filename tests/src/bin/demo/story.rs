//! The story, chapter by chapter.

use anyhow::Result;

use crate::scene::Scene;
use crate::telling::Telling;
use crate::{gate, policies, resilience, routes, trace, traffic, upgrade};

/// Tells all of it.
pub(crate) fn tell(scene: &mut Scene, telling: &Telling) -> Result<()> {
    telling.chapter("Traffic flows, encrypted, and nobody notices");
    traffic::is_balanced(scene, telling)?;
    traffic::shows_true_addresses(scene, telling)?;
    traffic::is_encrypted(scene, telling)?;
    telling.chapter("Who may talk to whom");
    policies::permissive_then_strict(scene, telling)?;
    policies::authorization(scene, telling)?;
    telling.chapter("A proxy dies under load");
    upgrade::kill_under_load(scene, telling)?;
    traffic::never_was_plain(scene, telling)?;
    telling.chapter("What can be seen of it");
    traffic::is_observed(scene, telling)?;
    telling.chapter("A waypoint reads requests");
    gate::stands(scene, telling)?;
    routes::canary(scene, telling)?;
    routes::browsers(scene, telling)?;
    routes::split(scene, telling)?;
    telling.chapter("A backend fails");
    resilience::retries(scene, telling)?;
    resilience::circuit(scene, telling)?;
    resilience::fault_for_one(scene, telling)?;
    telling.chapter("A call over three hops");
    trace::of_three_hops(scene, telling)
}
