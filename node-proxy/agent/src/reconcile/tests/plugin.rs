//! What the CNI plugin asks, and what only it knows.

use super::*;

#[test]
fn the_plugin_waits_until_a_proxy_has_the_listeners() {
    let id = CniId(1);
    let mut world = World::new(&[], &[]);
    assert_eq!(enrol_effects(&world.on(Event::CniAdd(id, wanted("a")))), ["a"]);
    assert_eq!(world.on(Event::Enrolled(uid("a"), Ok(()))), [Effect::Remember]);
    world.on(Event::ProxyJoined(PROXY));
    let effects = world.on(Event::ProxyHeldEnd(PROXY));
    assert!(effects.contains(&Effect::AnswerCni(id, Answer::Enrolled)), "{effects:?}");

    let (again, del) = (CniId(2), CniId(3));
    let effects = world.on(Event::CniAdd(again, wanted("a")));
    assert_eq!(effects, [Effect::AnswerCni(again, Answer::Enrolled)], "once more, at once");
    assert_eq!(world.on(told(&[wanted("a")])), [], "discovery comes later and agrees");
    let effects = world.on(Event::CniDel(del, uid("a"), "uid-a".to_owned()));
    assert_eq!(effects.len(), 2, "it leaves: {effects:?}");
    world.on(Event::PodReleased(PROXY, uid("a")));
    let effects = world.on(Event::Released(uid("a"), Ok(())));
    assert_eq!(effects, [Effect::Remember, Effect::AnswerCni(del, Answer::Released)]);
    assert_eq!(world.on(told(&[wanted("a")])), [], "discovery still speaks of the pod that is gone");
}

#[test]
fn the_plugin_gets_an_answer_in_time() {
    let mut world = World::new(&[], &[]);
    world.on(Event::CniAdd(CniId(1), wanted("a")));
    world.on(Event::Enrolled(uid("a"), Err("no BTF".to_owned())));
    let effects = world.after(CNI_WAIT);
    let failed = Answer::Failed { reason: "no BTF".to_owned() };
    assert!(effects.contains(&Effect::AnswerCni(CniId(1), failed)), "{effects:?}");
}

#[test]
fn plugin_and_discovery_may_tell_of_different_pods() {
    let later = |world: &mut World| {
        world.on(Event::CniAdd(CniId(7), Wanted { pod_uid: "new".into(), ..wanted("a") }))
    };
    let outside =
        |pod_uid: &str| Event::Told(vec![(uid("a"), Told::Outside { pod_uid: Arc::from(pod_uid) })]);

    let mut world = World::new(&[], &[]);
    world.on(outside("new"));
    let released = Effect::AnswerCni(CniId(7), Answer::Released);
    assert_eq!(later(&mut world), [released], "discovery knows this pod: it is outside");

    let mut world = World::new(&[], &[]);
    world.on(outside("old"));
    assert_eq!(enrol_effects(&later(&mut world)), ["a"], "discovery knows only the one before");
    world.on(Event::Enrolled(uid("a"), Ok(())));
    let new = Key::parse("new").expect("a key");
    let released = Effect::Release { uid: uid("a"), key: new, netns: wanted("a").netns };
    assert!(world.on(outside("new")).contains(&released), "discovery catches up");

    let mut world = World::new(&[], &[]);
    let nameless = Wanted { pod_uid: "".into(), ..wanted("a") };
    world.on(Event::CniAdd(CniId(8), nameless));
    world.on(Event::Enrolled(uid("a"), Ok(())));
    assert_eq!(world.on(told(&[Wanted { netns: None, ..wanted("a") }])), [], "the same pod, better known");
    let old = world.on(Event::CniDel(CniId(9), uid("a"), "another".to_owned()));
    assert_eq!(old, [Effect::AnswerCni(CniId(9), Answer::Released)], "an older pod of the same name");
    assert_eq!(world.state("a"), "enrolled");
}

#[test]
fn what_the_plugin_told_an_earlier_agent_still_counts() {
    let nowhere = || told(&[Wanted { netns: None, addresses: Vec::new(), ..wanted("a") }]);
    let mut world = World::new(&["a"], &["a"]);
    assert_eq!(world.on(nowhere()), [], "discovery does not know where it is; it stays");
    world.on(Event::ProxyJoined(PROXY));
    let effects = world.on(Event::ProxyHolds(PROXY, uid("a")));
    assert_eq!(effects, [enrol(wanted("a"), Before::Captured)]);
    world.on(Event::Enrolled(uid("a"), Err("busy".to_owned())));
    assert_eq!(world.after(RETRY_FIRST), [enrol(wanted("a"), Before::Captured)], "also after a failure");
    world.on(Event::Enrolled(uid("a"), Ok(())));
    assert_eq!(world.machine.remembered(), [(key("a"), wanted("a"))], "and for the agent after this one");

    let another = Wanted { pod_uid: "another".into(), netns: None, ..wanted("a") };
    let effects = world.on(told(&[another]));
    assert!(effects.contains(&Effect::CloseSockets(uid("a"))), "another pod is somewhere else: {effects:?}");
}
