//! A mesh of two nodes in which every way from every client to every server is tried under one policy after the other:
//! on the same node and on the other one, over both families, with connections that are new and that were open before.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use weft_testkit::{App, Mesh, Pod, World};
use weft_tests::asking::{ask, await_enrolled, proxy_socket};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Flow, Talk, is_reset};
use weft_tests::waiting::{await_line, eventually, with_json_lines};

/// The ports of each server.
const PORTS: [u16; 2] = [7000, 7100];
/// How long a change may take at most on a busy machine; how long they take as a rule is checked by
/// [`Arena::assert_prompt`].
const DEADLINE: Duration = Duration::from_secs(10);
/// What operators are promised.
const PROMISE: Duration = Duration::from_secs(1);
/// The file that holds the policies under trial.
const FILE: &str = "trial.yaml";

/// Clients `client` (namespace `shop`), `clerk` (`bank`) and `stranger` (outside the mesh) on node 1, and servers
/// `near` and `far` (`bank`) on nodes 1 and 2.
pub(crate) struct Arena {
    pub(crate) clients: Vec<Pod>,
    pub(crate) servers: Vec<Pod>,
    took: Vec<Duration>,
    trials: usize,
    // Dropped in this order.
    pub(crate) mesh: Mesh,
    pub(crate) world: World,
}

/// A way from a client to a server.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) client: String,
    pub(crate) server: String,
    pub(crate) to: SocketAddr,
    pub(crate) from: Pod,
    node: usize,
}

/// What came of trying a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A word went there and came back.
    Carried,
    /// The connection was reset; which one it was is known unless that was at once.
    Reset(Option<Flow>),
}

/// A policy, or several that belong together, and whom it keeps out.
pub(crate) struct Trial {
    pub(crate) case: &'static str,
    pub(crate) objects: Vec<Value>,
    pub(crate) refused: fn(&Way) -> bool,
}

impl Arena {
    pub(crate) fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let node = |number| world.node(number);
        let server = |number: usize, name: &str| {
            let echoes = PORTS.map(|port| App::echo().port(port).port_name(&format!("echo-{port}")));
            let pod = node(number).pod("bank", name).label("app", name).service_account(name);
            echoes.into_iter().fold(pod, |pod, echo| pod.app(echo)).start()
        };
        let clients = vec![
            node(1).pod("shop", "client").service_account("client").start()?,
            node(1).pod("bank", "clerk").service_account("clerk").start()?,
            node(1).outside("stranger").start()?,
        ];
        let servers = vec![server(1, "near")?, server(2, "far")?];
        let mesh = start_mesh(&world, with_json_lines())?;
        await_enrolled(&mesh, clients[..2].iter().chain(&servers), DEADLINE)?;
        Ok(Self { clients, servers, took: Vec::new(), trials: 0, mesh, world })
    }

    /// All ways.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        for client in &self.clients {
            for server in &self.servers {
                for to in PORTS.into_iter().flat_map(|port| [server.addr(port), server.addr6(port)]) {
                    ways.push(Way {
                        client: client.name().to_owned(),
                        server: server.name().to_owned(),
                        to,
                        from: client.clone(),
                        node: server.node(),
                    });
                }
            }
        }
        ways
    }

    /// Puts policies into the folder, as one file, in place of those before.
    pub(crate) fn apply(&self, objects: &[Value]) -> Result<()> {
        let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
        self.world.apply_yaml(FILE, &texts.join("\n---\n")).map(drop)
    }

    /// Takes them away.
    pub(crate) fn clear(&self) -> Result<()> {
        self.world.manifests().remove_file(FILE)
    }

    /// Tries policies in a mesh that has none: whom they keep out, old connections and new ones; that the others notice
    /// nothing at any moment; what the log and `explain` say; and that all is as before once they are gone.
    pub(crate) fn try_out(&mut self, trial: &Trial) -> Result<()> {
        self.try_it(trial).with_context(|| {
            let logs = [1, 2].map(|node| self.mesh.proxy(node).process().map(|proxy| proxy.log_tail()));
            format!("under {:?}\n{}", trial.case, logs.into_iter().flatten().collect::<Vec<_>>().join("\n"))
        })
    }

    fn try_it(&mut self, trial: &Trial) -> Result<()> {
        let refused = trial.refused;
        let ways = self.ways();
        let mut open = Vec::new();
        for way in &ways {
            open.push((way, Talk::begin(&way.from, way.to).with_context(|| format!("before: {way}"))?));
        }
        let mark = format!("mark-{}", self.trials);
        self.trials += 1;
        let with_mark = [trial.objects.as_slice(), &[authorization("elsewhere", &mark, &json!({}))]].concat();
        self.apply(&with_mark)?;
        let took = settle(&ways, refused, |way| !refused(way)).context("once it is there")?;
        if ways.iter().any(refused) {
            self.took.push(took);
        }
        self.await_policy(&mark)?;
        let mut going = Vec::new();
        for (way, mut talk) in open {
            if refused(way) {
                self.assert_cut(way, talk).with_context(|| format!("{way}, open since before"))?;
            } else {
                talk.go_on().with_context(|| format!("{way}, open since before"))?;
                going.push((way, talk));
            }
        }
        self.assert_told(&ways, refused)?;
        self.clear()?;
        settle(&ways, |_| false, |way| !refused(way)).context("once it is gone")?;
        for (way, mut talk) in going {
            let finished = talk.go_on().and_then(|()| talk.finish());
            finished.with_context(|| format!("{way}, open all the time"))?;
        }
        println!("{:<60} {took:>10.1?}", trial.case);
        Ok(())
    }

    /// Waits until both proxies know a policy. It came in one file with others, so they know those too.
    pub(crate) fn await_policy(&self, name: &str) -> Result<()> {
        [1, 2].iter().try_for_each(|node| {
            eventually(&format!("policy {name} on node {node}"), DEADLINE, || {
                let known = ask(&proxy_socket(&self.mesh, *node), "/policies")?;
                let found = known.as_array().into_iter().flatten().any(|policy| policy["name"] == name);
                ensure!(found, "{known}");
                Ok(())
            })
        })
    }

    /// An open connection that policy has ended: reset, and told so.
    fn assert_cut(&self, way: &Way, talk: Talk) -> Result<()> {
        let flow = talk.flow()?;
        let ending = talk.wait_for_end(DEADLINE)?;
        ensure!(ending == Ending::Reset, "{ending:?}");
        let line = self.line_at_server(way, flow)?;
        ensure!(line["end"] == "policy_changed", "{line}");
        Ok(())
    }

    /// The log and `explain` of the servers' proxies agree with what happens.
    fn assert_told(&self, ways: &[Way], refused: fn(&Way) -> bool) -> Result<()> {
        let mut resets = Vec::new();
        for way in ways {
            let outcome = way.attempt()?;
            let as_wanted = refused(way) == (outcome != Outcome::Carried);
            ensure!(as_wanted, "{way} has changed once more: {outcome:?}");
            if let Outcome::Reset(Some(flow)) = outcome {
                resets.push((way, flow));
            }
            let explained = self.explain(way)?;
            let want = if refused(way) { "denied" } else { "allowed" };
            ensure!(explained["verdict"] == want, "{way} is {want}, and explained so: {explained}");
        }
        for (way, flow) in resets {
            let line = self.line_at_server(way, flow)?;
            let why = line["error"].as_str().unwrap_or_default();
            ensure!(line["end"] == "refused" && why.contains("polic"), "{way}: {line}");
        }
        Ok(())
    }

    /// What the server's proxy has logged about a connection.
    pub(crate) fn line_at_server(&self, way: &Way, flow: Flow) -> Result<Value> {
        await_line(self.mesh.proxy(way.node), flow, &["inbound", "same_node"])
    }

    /// What the server's proxy says about a way.
    pub(crate) fn explain(&self, way: &Way) -> Result<Value> {
        let src = format!("{}/{}", way.from.namespace(), way.client);
        let dst = format!("bank/{}", way.server);
        let path = format!("/explain?src={src}&dst={dst}&port={}", way.to.port());
        ask(&proxy_socket(&self.mesh, way.node), &path)
    }

    /// The line of the server's proxy for a connection that is carried and ends in order.
    pub(crate) fn line_of_a_new_connection(&self, way: &Way) -> Result<Value> {
        let talk = Talk::begin(&way.from, way.to)?;
        let flow = talk.flow()?;
        talk.finish()?;
        self.line_at_server(way, flow)
    }

    /// Waits until exactly these are refused. The ways that `steady` names must be carried at every moment.
    pub(crate) fn settles(&self, refused: fn(&Way) -> bool, steady: fn(&Way) -> bool) -> Result<Duration> {
        settle(&self.ways(), refused, steady)
    }

    /// Half of the changes so far took effect within what is promised.
    pub(crate) fn assert_prompt(&mut self) -> Result<()> {
        self.took.sort_unstable();
        let median = self.took.get(self.took.len() / 2).context("nothing was tried")?;
        println!("{} changes took effect in {median:?} (median)", self.took.len());
        ensure!(*median < PROMISE, "policies take effect in {median:?}: {:?}", self.took);
        Ok(())
    }
}

/// The same wait for given ways; gives how long it took.
fn settle(ways: &[Way], refused: fn(&Way) -> bool, steady: impl Fn(&Way) -> bool) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let mut wrong = None;
        for way in ways {
            let carried = way.attempt()? == Outcome::Carried;
            ensure!(
                carried || !steady(way),
                "{way} was reset after {:?}, and nothing concerns it",
                begun.elapsed()
            );
            if carried == refused(way) {
                wrong = Some((way, carried));
                break;
            }
        }
        match wrong {
            None => return Ok(begun.elapsed()),
            Some((way, carried)) if begun.elapsed() > DEADLINE => {
                bail!("{way} is {} after {DEADLINE:?}", if carried { "still carried" } else { "still reset" })
            }
            Some(_) => {}
        }
    }
}

impl Way {
    /// Opens a connection and says a word. A refusal in any other form than a reset is an error.
    fn attempt(&self) -> Result<Outcome> {
        let mut flow = None;
        let tried = Talk::open(&self.from, self.to).and_then(|mut talk| {
            flow = Some(talk.flow()?);
            talk.go_on()
        });
        match tried {
            Ok(()) => Ok(Outcome::Carried),
            Err(error) if is_reset(&error) => Ok(Outcome::Reset(flow)),
            Err(error) => Err(error.context(self.to_string())),
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {} ({})", self.client, self.server, self.to)
    }
}

/// An AuthorizationPolicy.
pub(crate) fn authorization(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// A PeerAuthentication.
pub(crate) fn peers(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}
