//! The truth table of [`decide`].

use super::*;

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn web() -> Connection {
    Connection {
        source_ip: "10.0.0.1".parse().unwrap(),
        source: Some(Identity::new("cluster.local", "shop", "web").unwrap()),
        destination_ip: "10.0.0.2".parse().unwrap(),
        destination_port: 80,
    }
}

fn stranger() -> Connection {
    Connection { source: None, ..web() }
}

fn of(one: Match) -> Vec<Rule> {
    vec![Rule { clauses: vec![Clause { matches: vec![one] }] }]
}

fn policy(action: Action, rules: Vec<Rule>) -> Policy {
    Policy {
        name: PolicyName::new("shop", if action == Action::Deny { "deny" } else { "allow" }),
        scope: PolicyScope::Namespace,
        action,
        enforcement: Enforcement::Enforced,
        ruleset: Ruleset::Rules(rules),
    }
}

fn allow(one: Match) -> Policy {
    policy(Action::Allow, of(one))
}

fn deny(one: Match) -> Policy {
    policy(Action::Deny, of(one))
}

fn judge(policies: Vec<Policy>, connection: &Connection) -> Judgement {
    let known: Vec<_> = policies.into_iter().map(|policy| Applicable::Known(Arc::new(policy))).collect();
    decide(&known, connection)
}

fn principals(want: StringMatch) -> Match {
    Match { principals: vec![want], ..Match::default() }
}

#[test]
fn a_match_holds_if_every_field_that_is_set_does() {
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let account =
        |ns: &str, sa: &str| ServiceAccountMatch { namespace: ns.into(), service_account: sa.into() };
    let base = Match::default;
    for (case, one, web_matches, stranger_matches) in [
        ("nothing set", base(), true, true),
        ("namespace", Match { namespaces: vec![exact("shop")], ..base() }, true, false),
        ("other namespace", Match { namespaces: vec![exact("bank")], ..base() }, false, false),
        ("not namespace", Match { not_namespaces: vec![exact("shop")], ..base() }, false, true),
        ("principal", principals(exact("cluster.local/ns/shop/sa/web")), true, false),
        ("principal prefix", principals(StringMatch::Prefix("cluster.local/ns/shop/".into())), true, false),
        ("principal suffix", principals(StringMatch::Suffix("/sa/web".into())), true, false),
        ("any principal", principals(StringMatch::Presence), true, false),
        ("no principal", Match { not_principals: vec![StringMatch::Presence], ..base() }, false, true),
        ("account", Match { service_accounts: vec![account("shop", "web")], ..base() }, true, false),
        ("not account", Match { not_service_accounts: vec![account("shop", "web")], ..base() }, false, true),
        ("source", Match { source_ips: vec![net("10.0.0.0/24")], ..base() }, true, true),
        ("not source", Match { not_source_ips: vec![net("10.0.0.1/32")], ..base() }, false, false),
        ("v6 source", Match { source_ips: vec![net("::/0")], ..base() }, false, false),
        ("destination", Match { destination_ips: vec![net("10.0.0.2/32")], ..base() }, true, true),
        ("not destination", Match { not_destination_ips: vec![net("10.0.0.0/8")], ..base() }, false, false),
        ("port", Match { destination_ports: vec![80, 81], ..base() }, true, true),
        ("not port", Match { not_destination_ports: vec![80], ..base() }, false, false),
        (
            "all of several",
            Match { namespaces: vec![exact("shop")], destination_ports: vec![81], ..base() },
            false,
            false,
        ),
    ] {
        assert_eq!(one.matches(&web()), web_matches, "{case}");
        assert_eq!(one.matches(&stranger()), stranger_matches, "{case}, without identity");
    }
}

#[test]
fn the_verdict_follows_deny_then_allow() {
    let all = Match::default;
    let none = || Match { destination_ports: vec![1], ..Match::default() };
    let denied = |name: &str| Verdict::Denied(Denial::Matched(PolicyName::new("shop", name)));
    let allowed = || Verdict::Allowed(Some(PolicyName::new("shop", "allow")));
    for (case, policies, want) in [
        ("no policy", vec![], Verdict::Allowed(None)),
        ("deny matches", vec![deny(all())], denied("deny")),
        ("deny does not match", vec![deny(none())], Verdict::Allowed(None)),
        ("allow matches", vec![allow(all())], allowed()),
        ("allow does not match", vec![allow(none())], Verdict::Denied(Denial::NoneAllows)),
        ("one of two allows", vec![allow(none()), allow(all())], allowed()),
        ("deny beats allow, in any order", vec![allow(all()), deny(all())], denied("deny")),
        (
            "an allow without rules allows nothing",
            vec![policy(Action::Allow, vec![])],
            Verdict::Denied(Denial::NoneAllows),
        ),
        ("a deny without rules denies nothing", vec![policy(Action::Deny, vec![])], Verdict::Allowed(None)),
        ("an empty rule matches all", vec![policy(Action::Deny, vec![Rule::default()])], denied("deny")),
        (
            "an empty clause matches nothing",
            vec![policy(Action::Deny, vec![Rule { clauses: vec![Clause::default()] }])],
            Verdict::Allowed(None),
        ),
    ] {
        assert_eq!(judge(policies, &web()).verdict, want, "{case}");
    }
}

#[test]
fn what_cannot_be_understood_or_found_denies() {
    let name = PolicyName::new("shop", "allow");
    let broken = Policy { ruleset: Ruleset::Unusable("bad field".into()), ..allow(Match::default()) };
    let want = Verdict::Denied(Denial::Unusable(name.clone(), "bad field".into()));
    assert_eq!(judge(vec![allow(Match::default()), broken], &web()).verdict, want);
    let missing = decide(&[Applicable::Missing(name.clone())], &web()).verdict;
    assert_eq!(missing, Verdict::Denied(Denial::Missing(name)));
}

#[test]
fn a_dry_run_is_reported_and_decides_nothing() {
    let dry = |policy: Policy| Policy { enforcement: Enforcement::DryRun, ..policy };
    let judged = judge(vec![dry(deny(Match::default()))], &web());
    assert_eq!(judged.verdict, Verdict::Allowed(None));
    assert_eq!(judged.dry_run, Some(Verdict::Denied(Denial::Matched(PolicyName::new("shop", "deny")))));
    let same = judge(vec![dry(deny(Match { destination_ports: vec![1], ..Match::default() }))], &web());
    assert_eq!(same.dry_run, None, "a dry run that changes nothing is not news");
}
