//! Every answer of the grant rule.

use super::*;

const PROXY: (&str, &str) = ("weft-system", "weft-node-proxy");

/// One node proxy per node as a pod, and one that the host runs; `shop/web` is enrolled on `one`.
struct Cluster;

impl PodView for Cluster {
    fn node_of(&self, pod: &BoundPod) -> PodPlace {
        match (&*pod.namespace, &*pod.name, &*pod.uid) {
            ("weft-system", "proxy-one", "uid-1") => PodPlace::Running(NodeName::new("one")),
            ("weft-system", "proxy-two", "uid-2") => PodPlace::Running(NodeName::new("two")),
            ("weft-system", "proxy-host", _) => PodPlace::HostManaged,
            _ => PodPlace::Gone,
        }
    }

    fn has_enrolled_pod(&self, node: &NodeName, identity: &Identity) -> bool {
        node.as_str() == "one" && *identity == id("spiffe://ours/ns/shop/sa/web")
    }
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn caller(account: (&str, &str), pod: Option<(&str, &str)>, node: Option<&str>) -> Caller {
    let service_account = ServiceAccount::new(account.0, account.1);
    let pod =
        pod.map(|(name, uid)| BoundPod { namespace: account.0.into(), name: name.into(), uid: uid.into() });
    Caller { service_account, pod, node: node.map(NodeName::new) }
}

#[test]
fn callers_get_what_is_theirs_and_node_proxies_what_runs_on_their_node() {
    let web = "spiffe://ours/ns/shop/sa/web";
    let own = "spiffe://ours/ns/weft-system/sa/weft-node-proxy";
    let on = |node: &str| Ok(Basis::PodOnNode(NodeName::new(node)));
    let not_own = |account: (&str, &str), wanted: &str| {
        Err(Refusal::NotOwn { account: ServiceAccount::new(account.0, account.1), wanted: id(wanted) })
    };
    let no_pod =
        |node: &str, wanted: &str| Err(Refusal::NoSuchPod { node: NodeName::new(node), wanted: id(wanted) });
    let disagrees = |claimed: &str, actual: &str| {
        Err(Refusal::NodeDisagrees { claimed: NodeName::new(claimed), actual: NodeName::new(actual) })
    };
    let shop = ("shop", "web");
    for (case, caller, wanted, want) in [
        ("a workload, itself", caller(shop, None, None), web, Ok(Basis::Own)),
        ("a workload, bound to a pod, itself", caller(shop, Some(("web-1", "u")), None), web, Ok(Basis::Own)),
        (
            "a workload, another account",
            caller(shop, None, None),
            "spiffe://ours/ns/shop/sa/db",
            not_own(shop, "spiffe://ours/ns/shop/sa/db"),
        ),
        (
            "a workload, another namespace",
            caller(shop, None, None),
            "spiffe://ours/ns/bank/sa/web",
            not_own(shop, "spiffe://ours/ns/bank/sa/web"),
        ),
        (
            "a workload, another mesh",
            caller(shop, None, None),
            "spiffe://theirs/ns/shop/sa/web",
            Err(Refusal::ForeignTrustDomain { wanted: id("spiffe://theirs/ns/shop/sa/web") }),
        ),
        (
            "a workload, as if it were a node proxy",
            caller(shop, Some(("proxy-one", "uid-1")), Some("one")),
            own,
            not_own(shop, own),
        ),
        (
            "the node proxy's name in another namespace",
            caller(("shop", PROXY.1), Some(("proxy-one", "uid-1")), None),
            web,
            not_own(("shop", PROXY.1), web),
        ),
        (
            "another account of the node proxy's namespace",
            caller((PROXY.0, "weft-agent"), Some(("proxy-one", "uid-1")), None),
            web,
            not_own((PROXY.0, "weft-agent"), web),
        ),
        ("a node proxy, itself, bound to nothing", caller(PROXY, None, None), own, Ok(Basis::Own)),
        (
            "a node proxy, a pod of its node",
            caller(PROXY, Some(("proxy-one", "uid-1")), None),
            web,
            on("one"),
        ),
        (
            "a node proxy, its node in the token",
            caller(PROXY, Some(("proxy-one", "uid-1")), Some("one")),
            web,
            on("one"),
        ),
        (
            "a node proxy, another node in the token",
            caller(PROXY, Some(("proxy-two", "uid-2")), Some("one")),
            web,
            disagrees("one", "two"),
        ),
        (
            "a node proxy, a pod of another node",
            caller(PROXY, Some(("proxy-two", "uid-2")), None),
            web,
            no_pod("two", web),
        ),
        (
            "a node proxy, a pod that is not enrolled",
            caller(PROXY, Some(("proxy-one", "uid-1")), None),
            "spiffe://ours/ns/shop/sa/db",
            no_pod("one", "spiffe://ours/ns/shop/sa/db"),
        ),
        (
            "a node proxy, another mesh",
            caller(PROXY, Some(("proxy-one", "uid-1")), None),
            "spiffe://theirs/ns/shop/sa/web",
            Err(Refusal::ForeignTrustDomain { wanted: id("spiffe://theirs/ns/shop/sa/web") }),
        ),
        (
            "a node proxy, bound to nothing",
            caller(PROXY, None, Some("one")),
            web,
            Err(Refusal::NotBoundToPod),
        ),
        (
            "a node proxy, an earlier pod of that name",
            caller(PROXY, Some(("proxy-one", "uid-0")), Some("one")),
            web,
            Err(Refusal::PodGone),
        ),
        (
            "a node proxy, a pod that is gone",
            caller(PROXY, Some(("proxy-nine", "uid-9")), Some("one")),
            web,
            Err(Refusal::PodGone),
        ),
        (
            "the host's, its node in the token",
            caller(PROXY, Some(("proxy-host", "h")), Some("one")),
            web,
            on("one"),
        ),
        (
            "the host's, a pod of another node",
            caller(PROXY, Some(("proxy-host", "h")), Some("two")),
            web,
            no_pod("two", web),
        ),
        (
            "the host's, no node in the token",
            caller(PROXY, Some(("proxy-host", "h")), None),
            web,
            Err(Refusal::NodeUnknown),
        ),
    ] {
        let granted = may_impersonate(&NodeProxyAccount::default_in("ours"), &caller, &id(wanted), &Cluster);
        if let Ok(granted) = &granted {
            assert_eq!(granted.identity(), &id(wanted), "{case}");
        }
        assert_eq!(granted.map(|granted| granted.basis().clone()), want, "{case}");
    }
}

#[test]
fn an_account_that_makes_no_identity_is_refused() {
    let rule = NodeProxyAccount::default_in("ours");
    for name in ["", "a/b", "..", "web?", "wéb"] {
        let caller = caller(("shop", name), None, None);
        let got = may_impersonate(&rule, &caller, &id("spiffe://ours/ns/shop/sa/web"), &Cluster);
        assert_eq!(got, Err(Refusal::Account(BadIdentity::Segment)), "{name:?}");
    }
}

#[test]
fn only_what_the_cluster_may_still_learn_is_worth_another_try() {
    let wanted = || id("spiffe://ours/ns/shop/sa/web");
    for (refusal, want) in [
        (Refusal::PodGone, true),
        (Refusal::NoSuchPod { node: NodeName::new("one"), wanted: wanted() }, true),
        (Refusal::ForeignTrustDomain { wanted: wanted() }, false),
        (Refusal::NotBoundToPod, false),
        (Refusal::NodeUnknown, false),
    ] {
        assert_eq!(refusal.may_pass_later(), want, "{refusal:?}");
    }
}
