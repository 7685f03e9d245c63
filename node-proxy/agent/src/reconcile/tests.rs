//! Orders of events replayed, and the effects that they must have.

use super::*;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use weft_agent_link::cni::Answer;
use weft_core::enrolment::{Acceleration, Existing};

mod plugin;

const PROXY: ProxyId = ProxyId(1);

fn uid(name: &str) -> WorkloadUid {
    WorkloadUid::new(format!("c//Pod/default/{name}"))
}

fn wanted(name: &str) -> Wanted {
    Wanted {
        uid: uid(name),
        pod_uid: format!("uid-{name}").into(),
        namespace: "default".into(),
        name: name.into(),
        addresses: vec![IpAddr::from([10, 0, 0, 1])],
        netns: Some(PathBuf::from("/run/netns").join(name)),
        existing: ExistingRule::default(),
        acceleration: Acceleration::Standard,
    }
}

fn key(name: &str) -> Key {
    Key::of(&wanted(name))
}

fn enrol(wanted: Wanted, before: Before) -> Effect {
    Effect::Enrol { key: Key::of(&wanted), wanted, before }
}

fn release(name: &str) -> Effect {
    Effect::Release { uid: uid(name), key: key(name), netns: wanted(name).netns }
}

fn told(pods: &[Wanted]) -> Event {
    Event::Told(pods.iter().map(|pod| (pod.uid.clone(), Told::Enrolled(pod.clone()))).collect())
}

/// A machine with its clock, which a test sets forward.
struct World {
    machine: Reconcile,
    now: Instant,
}

impl World {
    fn new(adopted: &[&str], remembered: &[&str]) -> Self {
        let now = Instant::now();
        let adopted = adopted.iter().map(|name| key(name)).collect();
        let remembered = remembered.iter().map(|name| (key(name), wanted(name))).collect();
        Self { machine: Reconcile::new(adopted, remembered, now), now }
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.machine.on_event(self.now, event)
    }

    fn after(&mut self, wait: Duration) -> Vec<Effect> {
        self.now += wait;
        self.on(Event::Tick)
    }

    /// A proxy that has nothing yet and serves.
    fn proxy(&mut self, id: ProxyId) -> Vec<Effect> {
        self.on(Event::ProxyJoined(id));
        self.on(Event::ProxyHeldEnd(id))
    }

    fn state(&self, name: &str) -> &'static str {
        let states = self.machine.states();
        states.iter().find(|state| state.uid == uid(name)).map_or("unknown", |state| state.state)
    }

    fn reason(&self, name: &str) -> Option<String> {
        self.machine.states().into_iter().find(|state| state.uid == uid(name))?.reason
    }
}

/// One pod, enrolled and told to a proxy.
fn enrolled_with_proxy() -> World {
    let mut world = World::new(&[], &[]);
    world.proxy(PROXY);
    assert_eq!(world.on(told(&[wanted("a")])), [enrol(wanted("a"), Before::Nothing)]);
    let effects = world.on(Event::Enrolled(uid("a"), Ok(())));
    assert_eq!(effects, [Effect::Tell(PROXY, Tell::Pod(uid("a"))), Effect::Remember]);
    world
}

fn enrol_effects(effects: &[Effect]) -> Vec<&str> {
    let enrol = effects.iter().filter_map(|effect| match effect {
        Effect::Enrol { wanted, .. } => Some(&*wanted.name),
        _ => None,
    });
    enrol.collect()
}

#[test]
fn a_pod_comes_and_goes() {
    let mut world = enrolled_with_proxy();
    assert_eq!(world.on(told(&[wanted("a")])), [], "saying it again changes nothing");

    let effects = world.on(told(&[]));
    assert_eq!(effects, [Effect::CloseSockets(uid("a")), Effect::Tell(PROXY, Tell::PodGone(uid("a")))]);
    assert_eq!(world.state("a"), "leaving");
    assert_eq!(world.on(Event::PodReleased(PROXY, uid("a"))), [release("a")]);
    assert_eq!(world.on(Event::Released(uid("a"), Ok(()))), [Effect::Remember]);
    assert_eq!(world.state("a"), "unknown");
    assert_eq!(world.machine.deadline(world.now), None);
}

#[test]
fn a_proxy_that_does_not_answer_is_not_waited_for_longer() {
    for (case, event, wait) in
        [("it hangs", Event::Tick, LEAVE_WAIT), ("it is gone", Event::ProxyGone(PROXY), Duration::ZERO)]
    {
        let mut world = enrolled_with_proxy();
        world.on(told(&[]));
        assert_eq!(world.after(LEAVE_WAIT / 2), [], "{case}");
        world.now += wait;
        assert_eq!(world.on(event), [release("a")], "{case}");
    }
}

#[test]
fn a_namespace_made_again_under_its_path_is_another_pod() {
    let mut world = enrolled_with_proxy();
    let effects = world.on(Event::NetnsReplaced(uid("a")));
    assert_eq!(effects, [Effect::CloseSockets(uid("a")), Effect::Tell(PROXY, Tell::PodGone(uid("a")))]);
    assert_eq!(world.on(Event::NetnsReplaced(uid("a"))), [], "it is leaving");
    assert_eq!(world.on(Event::PodReleased(PROXY, uid("a"))), [release("a")]);
    let effects = world.on(Event::Released(uid("a"), Ok(())));
    assert_eq!(effects, [Effect::Remember, enrol(wanted("a"), Before::Nothing)]);

    let mut adopted = World::new(&["a"], &["a"]);
    adopted.now += HELD_GRACE;
    assert_eq!(adopted.on(told(&[wanted("a")])), [enrol(wanted("a"), Before::Captured)]);
    adopted.on(Event::Enrolled(uid("a"), Err("another namespace".to_owned())));
    let effects = adopted.on(Event::NetnsReplaced(uid("a")));
    assert_eq!(effects, [Effect::CloseSockets(uid("a")), release("a")]);
}

#[test]
fn a_pod_that_is_replaced_is_released_first() {
    let mut world = enrolled_with_proxy();
    let next = Wanted { pod_uid: "uid-next".into(), netns: Some("/run/netns/next".into()), ..wanted("a") };
    world.on(told(std::slice::from_ref(&next)));
    assert_eq!(world.state("a"), "leaving");
    assert_eq!(world.on(Event::PodReleased(PROXY, uid("a"))), [release("a")]);
    let effects = world.on(Event::Released(uid("a"), Ok(())));
    assert_eq!(effects, [Effect::Remember, enrol(next, Before::Nothing)]);
}

#[test]
fn acceleration_changes_in_place() {
    let mut world = enrolled_with_proxy();
    let effects = world.on(told(&[Wanted { acceleration: Acceleration::Full, ..wanted("a") }]));
    assert_eq!(effects, [Effect::SetAcceleration(uid("a"), Acceleration::Full), Effect::Remember]);
    assert_eq!(world.on(told(&[Wanted { acceleration: Acceleration::Full, ..wanted("a") }])), []);
}

#[test]
fn addresses_change_in_place() {
    let mut world = enrolled_with_proxy();
    let addresses = vec![IpAddr::from([10, 0, 0, 9])];
    let effects = world.on(told(&[Wanted { addresses: addresses.clone(), ..wanted("a") }]));
    let tell = Tell::Addresses(uid("a"), addresses.clone());
    assert_eq!(
        effects,
        [Effect::SetAddresses(uid("a"), addresses), Effect::Tell(PROXY, tell), Effect::Remember]
    );
}

#[test]
fn older_connections_are_judged_anew_when_their_rule_changes() {
    let mut world = enrolled_with_proxy();
    let rule = ExistingRule { existing: Existing::Reset, ..ExistingRule::default() };
    let reset = Wanted { existing: rule.clone(), ..wanted("a") };
    let effects = world.on(told(std::slice::from_ref(&reset)));
    assert_eq!(effects, [Effect::JudgeExisting(uid("a"), rule)]);
    assert_eq!(world.on(told(&[reset])), [], "once");
}

#[test]
fn failures_are_tried_again_and_hold_up_nobody() {
    let mut world = World::new(&[], &[]);
    assert_eq!(enrol_effects(&world.on(told(&[wanted("a"), wanted("b")]))), ["a", "b"]);
    assert_eq!(world.on(Event::Enrolled(uid("a"), Err("no such file".to_owned()))), []);
    assert_eq!((world.state("a"), world.reason("a").as_deref()), ("failed", Some("no such file")));
    world.on(Event::Enrolled(uid("b"), Ok(())));
    assert_eq!(world.state("b"), "enrolled");

    assert_eq!(world.machine.deadline(world.now), Some(world.now + RETRY_FIRST));
    assert_eq!(enrol_effects(&world.after(RETRY_FIRST)), ["a"]);
    world.on(Event::Enrolled(uid("a"), Err("no such file".to_owned())));
    assert_eq!(world.after(RETRY_FIRST), [], "it rests longer each time");
    let effects = world.on(told(&[Wanted { netns: Some("/other".into()), ..wanted("a") }, wanted("b")]));
    assert_eq!(enrol_effects(&effects), ["a"], "but not if something has changed");
    world.on(Event::Enrolled(uid("a"), Ok(())));
    assert_eq!((world.state("a"), world.reason("a")), ("enrolled", None));
}

#[test]
fn rests_grow_to_a_bound() {
    for (failures, wait) in [(1, RETRY_FIRST), (2, RETRY_FIRST * 2), (5, RETRY_FIRST * 16), (99, RETRY_MAX)] {
        assert_eq!(retry_after(failures), wait, "{failures} failures");
    }
}

#[test]
fn a_slow_thread_is_named_and_never_doubled() {
    let mut world = World::new(&[], &[]);
    world.on(told(&[wanted("a")]));
    assert_eq!(world.after(ENROL_WAIT), []);
    assert!(world.reason("a").is_some_and(|reason| reason.contains("still trying")));
    assert_eq!(world.machine.deadline(world.now), None, "nothing to wake up for");
    assert_eq!(world.on(told(&[])), [], "it is not released under its feet");
    assert_eq!(world.on(Event::Enrolled(uid("a"), Ok(()))).last(), Some(&release("a")));
}

#[test]
fn a_release_that_fails_is_tried_again() {
    let mut world = World::new(&[], &[]);
    world.on(told(&[wanted("a")]));
    world.on(Event::Enrolled(uid("a"), Ok(())));
    assert_eq!(world.on(told(&[])), [Effect::CloseSockets(uid("a")), release("a")]);
    assert_eq!(world.on(Event::Released(uid("a"), Err("busy".to_owned()))), []);
    assert_eq!(world.state("a"), "stuck");
    assert_eq!(world.after(RETRY_FIRST), [release("a")]);
}

#[test]
fn a_pod_without_a_namespace_waits_for_one() {
    let mut world = World::new(&[], &[]);
    let nowhere = Wanted { netns: None, ..wanted("a") };
    assert_eq!(world.on(told(&[nowhere])), []);
    assert!(world.reason("a").is_some_and(|reason| reason.contains("weft.dev/netns")));
    assert_eq!(enrol_effects(&world.on(told(&[wanted("a")]))), ["a"]);
}

#[test]
fn after_a_restart_the_proxy_brings_the_listeners_back() {
    let mut world = World::new(&["a", "b"], &["a", "b"]);
    assert_eq!(world.after(Duration::ZERO), [], "there is a grace");
    assert!(world.machine.wants_held(&uid("a")));
    assert_eq!(world.on(Event::ProxyJoined(PROXY)), [Effect::Tell(PROXY, Tell::State)]);
    assert_eq!(enrol_effects(&world.on(Event::ProxyHolds(PROXY, uid("a")))), ["a"]);
    let effects = world.on(Event::ProxyHeldEnd(PROXY));
    assert_eq!(effects, [Effect::Tell(PROXY, Tell::NodeTunnel), enrol(wanted("b"), Before::Captured)]);
    world.on(Event::Enrolled(uid("b"), Ok(())));
    let effects = world.on(Event::Enrolled(uid("a"), Ok(())));
    let synced = Effect::Tell(PROXY, Tell::Synced);
    assert_eq!(effects, [Effect::Tell(PROXY, Tell::Pod(uid("a"))), Effect::Remember, synced]);
}

#[test]
fn without_a_proxy_the_grace_ends() {
    let mut world = World::new(&["a"], &["a", "new"]);
    assert_eq!(enrol_effects(&world.on(Event::Tick)), ["new"], "what is not captured cannot wait");
    assert_eq!(world.machine.deadline(world.now), Some(world.now + HELD_GRACE));
    assert_eq!(enrol_effects(&world.after(HELD_GRACE)), ["a"]);
}

#[test]
fn what_nobody_knows_stays_until_discovery_has_spoken() {
    let mut world = World::new(&["a", "b"], &[]);
    assert_eq!(world.after(HELD_GRACE * 2), []);
    world.on(Event::ProxyJoined(PROXY));
    assert_eq!(world.on(Event::ProxyHolds(PROXY, uid("a"))), [], "the proxy goes on with it");
    world.on(Event::ProxyHolds(PROXY, uid("b")));
    let effects = world.on(told(&[wanted("b")]));
    let gone = Effect::Tell(PROXY, Tell::PodGone(uid("a")));
    assert_eq!(effects, [Effect::ReleaseOrphan(key("a")), gone, enrol(wanted("b"), Before::Captured)]);

    world.on(Event::OrphanReleased(key("a"), Err("busy".to_owned())));
    assert_eq!(world.on(told(&[wanted("b")])), [Effect::ReleaseOrphan(key("a"))]);
    world.on(Event::OrphanReleased(key("a"), Ok(())));
    assert_eq!(world.on(told(&[wanted("b")])), []);
}

#[test]
fn a_pod_that_was_replaced_while_the_agent_was_away_is_released_first() {
    let mut world = World::new(&["a"], &["a"]);
    let next = Wanted { pod_uid: "uid-next".into(), netns: Some("/run/netns/next".into()), ..wanted("a") };
    let effects = world.on(told(std::slice::from_ref(&next)));
    assert_eq!(effects, [Effect::CloseSockets(uid("a")), release("a")]);
    let effects = world.on(Event::Released(uid("a"), Ok(())));
    assert_eq!(effects, [Effect::Remember, enrol(next, Before::Nothing)]);
}

#[test]
fn an_adopted_pod_that_fails_stays_captured() {
    let mut world = World::new(&["a"], &["a"]);
    assert_eq!(world.after(HELD_GRACE), [enrol(wanted("a"), Before::Captured)]);
    world.on(Event::Enrolled(uid("a"), Err("no namespace".to_owned())));
    assert_eq!(world.after(RETRY_FIRST), [enrol(wanted("a"), Before::Captured)]);
    world.on(Event::Enrolled(uid("a"), Err("no namespace".to_owned())));
    assert_eq!(world.on(told(&[])), [release("a")], "and is released when it is to be");
}

#[test]
fn keys_are_names_of_files() {
    for (case, pod_uid, wanted_key) in [
        ("a uid", "0f5c6a1e-7f5b-4d0e-9d29-1d6f2f0f6a11", Some("0f5c6a1e-7f5b-4d0e-9d29-1d6f2f0f6a11")),
        ("none", "", None),
        ("a way out", "../x", None),
    ] {
        let key = Key::of(&Wanted { pod_uid: pod_uid.into(), ..wanted("a") });
        assert_eq!(key.as_str(), wanted_key.unwrap_or("w-6073b99839609c497c8098b1c759a8f9"), "{case}");
    }
}

#[test]
fn a_proxy_is_in_sync_when_every_pod_was_sent_or_failed() {
    let mut world = World::new(&[], &["a", "b"]);
    world.on(Event::Tick);
    let joined = world.proxy(PROXY);
    assert_eq!(joined, [Effect::Tell(PROXY, Tell::NodeTunnel)], "two pods are under way");
    world.on(Event::Enrolled(uid("a"), Ok(())));
    let effects = world.on(Event::Enrolled(uid("b"), Err("broken".to_owned())));
    assert_eq!(effects, [Effect::Tell(PROXY, Tell::Synced)]);
    assert_eq!(world.proxy(ProxyId(2)).last(), Some(&Effect::Tell(ProxyId(2), Tell::Synced)));
}

#[test]
fn a_newer_proxy_takes_over_when_it_is_ready() {
    let next = ProxyId(2);
    let mut world = enrolled_with_proxy();
    let effects = world.proxy(next);
    let tell = |tell| Effect::Tell(next, tell);
    assert_eq!(effects, [tell(Tell::NodeTunnel), tell(Tell::Pod(uid("a"))), tell(Tell::Synced)]);
    assert_eq!(world.on(Event::ProxyReady(next)), [Effect::Tell(PROXY, Tell::Superseded)]);
    assert_eq!(world.on(Event::ProxyReady(next)), [], "once");

    world.on(told(&[wanted("a"), wanted("b")]));
    let effects = world.on(Event::Enrolled(uid("b"), Ok(())));
    assert_eq!(effects, [tell(Tell::Pod(uid("b"))), Effect::Remember], "the old one hears of no new pods");

    let effects = world.on(told(&[wanted("b")]));
    assert_eq!(effects.len(), 3, "both hear of one that leaves: {effects:?}");
    assert_eq!(world.on(Event::PodReleased(next, uid("a"))), []);
    assert_eq!(world.on(Event::ProxyGone(PROXY)), [release("a")]);
}

#[test]
fn a_proxy_that_holds_what_is_gone_is_told() {
    let mut world = World::new(&[], &[]);
    world.on(told(&[]));
    world.on(Event::ProxyJoined(PROXY));
    let effects = world.on(Event::ProxyHolds(PROXY, uid("gone")));
    assert_eq!(effects, [Effect::Tell(PROXY, Tell::PodGone(uid("gone")))]);
}

#[test]
fn what_was_wanted_is_remembered() {
    let world = World::new(&["a"], &["a", "b"]);
    let pods = ["a", "b"].map(|name| (key(name), wanted(name)));
    assert_eq!(world.machine.remembered(), pods);
}
