//! Where it is measured: one node with a client, two versions of a backend outside the mesh and two inside, and for each
//! scene a waypoint of Weft's and an Envoy. Whoever is measured has a core of its own; everything else has the other.
//! Clients come by HBONE, and so do requests to pods in the mesh: an Envoy at the client's end and one at each pod's are
//! the nodes' proxies, the same for both. For [`Entry::Native`] they are of Weft's own dialect ([`super::ends`]).

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use weft_testkit::{Component, Mesh, MeshSettings, Pod, PodBuilder, Process, Waypoint, World};
use weft_tests::envoy::{Tls, Way, enter, terminate};
use weft_tests::forger::{Forger, VALID};
use weft_tests::stage::{start_mesh, start_waypoint};
use weft_tests::waiting::eventually;

use super::ends::End;
use super::manifests::{self, CLIENT, GATE, GENERATION_PATH, NAMESPACE};
use super::rival::{self, Rival, UNTUNNELLED_PORT};
use super::row::{BODY_BYTES, CALL, Contender, Entry, GRPC_PORT, PATH, Row, Scene};
use crate::load::{HTTP_PORT, Measured};
use crate::nginx::{self, Further};

/// For whoever is measured, and for all others.
const CORE: &str = "0";
const OTHER_CORE: &str = "1";
/// How long something may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a tool may take longer than it was told to.
const GRACE: Duration = Duration::from_secs(30);
/// Where the client's own Envoy takes connections, the first of them.
const ENTRY_PORT: u16 = 20_000;

/// A world with waypoints.
pub(crate) struct Site {
    pub(crate) client: Pod,
    weft: Vec<Waypoint>,
    envoys: Vec<Arc<Process>>,
    rivals: Vec<Pod>,
    // Dropped in this order.
    _mesh: Mesh,
    pub(crate) world: World,
}

/// Where the pods are.
struct Pods {
    client: Pod,
    plain: [Pod; 2],
    tunnelled: [Pod; 2],
    native: [Pod; 2],
    gates: Vec<Pod>,
    rivals: Vec<Pod>,
}

impl Site {
    /// Builds it. `envoy` is the program.
    pub(crate) fn build(envoy: &Path) -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        ensure!(count >= 2, "this machine has one core; two are needed");
        let interrupted = || eprintln!("interrupted: removing everything");
        let world = World::builder().nodes(1).on_interrupt(interrupted).build()?;
        std::fs::write(folder(&world).join(CALL), [0, 0, 0, 0, 2, 10, 0]).context("writing a call")?;
        let pods = Pods::start(&world)?;
        manifests::write(&world, &pods.plain)?;
        let settings = MeshSettings { components: vec![Component::Control], ..pinned() };
        let settings = settings.env(Component::Waypoint, "WEFT_WORKERS", "1");
        let mesh = start_mesh(&world, settings.env(Component::Waypoint, "WEFT_ACCESS_LOG", "off"))?;
        let papers = write_papers(&world)?;
        let weft = pods.gates.iter().map(|gate| start_waypoint(&world, &mesh, gate));
        let weft = weft.collect::<Result<Vec<_>>>()?;
        let envoys = pods.start_envoys(&world, envoy, &papers)?;
        let Pods { client, rivals, .. } = pods;
        let site = Self { client, weft, envoys, rivals, _mesh: mesh, world };
        site.await_everybody()?;
        Ok(site)
    }

    /// Removes it.
    pub(crate) fn strike(self) -> Result<()> {
        let Self { weft, _mesh: mesh, world, .. } = self;
        drop(weft);
        drop(mesh);
        world.tear_down()
    }

    /// Runs a load to its end; times are those of single requests, where the row asks for them.
    pub(crate) fn run(&self, contender: Contender, row: Row, time: Duration) -> Result<(Measured, Vec<f64>)> {
        let target = self.entry(contender, row.entry).to_string();
        let folder = folder(&self.world);
        let command = ["taskset", "-c", OTHER_CORE].map(str::to_owned);
        let command = command.into_iter().chain(row.command(&target, &folder, time)?);
        let output = self.client.spawn(command)?.output(time + GRACE)?;
        let what = || format!("{}, {contender:?}", row.name());
        ensure!(output.status.success(), "{}: {}\n{}{}", what(), output.status, output.stdout, output.stderr);
        row.read(&output.stdout, time).with_context(what)
    }

    /// CPU time that it has used so far, in seconds.
    pub(crate) fn cpu(&self, contender: Contender, scene: Scene) -> Result<f64> {
        let used = match contender {
            Contender::Weft => self.weft[scene as usize].cpu_time()?,
            Contender::Envoy | Contender::Untunnelled => self.envoys[scene as usize].cpu_time()?,
        };
        Ok(used.as_secs_f64())
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self, contender: Contender, scene: Scene) -> Result<u64> {
        match contender {
            Contender::Weft => self.weft[scene as usize].process()?.memory_bytes(),
            Contender::Envoy | Contender::Untunnelled => self.envoys[scene as usize].memory_bytes(),
        }
    }

    /// Says routes anew; [`Site::generation`] tells when they are in force.
    pub(crate) fn say_routes(&self, contender: Contender, entry: Entry, generation: u64) -> Result<()> {
        match contender {
            Contender::Weft => manifests::say_routes(&self.world, entry, generation),
            Contender::Envoy | Contender::Untunnelled => {
                let text = rival::routes(entry.scene(), generation);
                write_routes(&routes_file(&self.world, entry.scene()), &text)
            }
        }
    }

    /// Which generation of routes is in force.
    pub(crate) fn generation(&self, open: &mut Open, entry: Entry) -> Result<u64> {
        let answer = open.get(entry.service(), GENERATION_PATH)?;
        answer.trim().parse().with_context(|| format!("an answer that is no number: {answer:?}"))
    }

    /// Opens a connection of HTTP/1.1.
    pub(crate) fn open(&self, contender: Contender, entry: Entry) -> Result<Open> {
        let target = self.entry(contender, entry);
        self.client.enter(|| Open::new(target))?
    }

    /// Where the client finds it.
    fn entry(&self, contender: Contender, entry: Entry) -> SocketAddr {
        if contender == Contender::Untunnelled {
            return self.rivals[entry.scene() as usize].addr(UNTUNNELLED_PORT);
        }
        SocketAddr::from(([127, 0, 0, 1], entry_port(contender, entry)))
    }

    /// Until each answers at each entry.
    fn await_everybody(&self) -> Result<()> {
        for contender in [Contender::Weft, Contender::Envoy, Contender::Untunnelled] {
            for entry in Entry::ALL.into_iter().filter(|entry| *entry != Entry::Grpc) {
                eventually(&format!("{contender:?} answers for {entry:?}"), PATIENCE, || {
                    let body = self.open(contender, entry)?.get(entry.service(), PATH)?;
                    ensure!(body.starts_with("xxx"), "{body}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

impl Pods {
    fn start(world: &World) -> Result<Self> {
        let body = folder(world).join("body");
        std::fs::write(&body, vec![b'x'; BODY_BYTES]).context("writing a large body")?;
        let further = Further {
            locations: format!("    location /api/body {{ alias {}; }}\n", body.display()),
            // As a server of gRPC answers: a message, and its status behind it.
            servers: format!(
                "  server {{\n    listen [::]:{GRPC_PORT} ipv6only=off http2;\n    \
                 http2_max_concurrent_streams 1024;\n    default_type application/grpc;\n    \
                 location / {{ add_trailer grpc-status 0; return 200 \"{}\"; }}\n  }}\n",
                "x".repeat(100)
            ),
        };
        let config = nginx::write_config(&world.folder(), &further)?;
        let pod = |name: &str, account: &str| world.node(1).pod(NAMESPACE, name).service_account(account);
        let server = |app: &str, version: &str| {
            let pod = pod(&format!("{app}-{version}"), SERVED).labels([("app", app), ("version", version)]);
            pod.app(nginx::app(OTHER_CORE, &config))
        };
        let gate = |scene: &Scene| {
            pod(&format!("weft-{}", scene.gate()), GATE)
                .label("gateway.networking.k8s.io/gateway-name", scene.gate())
        };
        let rival = |scene: &Scene| pod(&format!("envoy-{}", scene.gate()), GATE).outside();
        let all = |builders: Vec<PodBuilder>| PodBuilder::start_all(&builders);
        let two = |builders: [PodBuilder; 2]| -> Result<[Pod; 2]> {
            <[Pod; 2]>::try_from(PodBuilder::start_all(&builders)?).ok().context("two pods were asked for")
        };
        Ok(Self {
            client: pod("client", CLIENT).start()?,
            plain: two(["v1", "v2"].map(|version| server("plain", version).outside()))?,
            tunnelled: two(["v1", "v2"].map(|version| server("tunnelled", version)))?,
            native: two(["v1", "v2"].map(|version| server("native", version)))?,
            gates: all(Scene::ALL.iter().map(gate).collect())?,
            rivals: all(Scene::ALL.iter().map(rival).collect())?,
        })
    }

    /// Those that are measured, in the order of scenes. Those at the ends of tunnels end with the world, Weft's own too.
    fn start_envoys(&self, world: &World, envoy: &Path, papers: &Path) -> Result<Vec<Arc<Process>>> {
        let (client, gate, served) = (identity(CLIENT), identity(GATE), identity(SERVED));
        let tls = |papers_of, peer| Tls { folder: papers, papers: papers_of, peer };
        for pod in &self.tunnelled {
            let ends = begin(pod, envoy, OTHER_CORE, papers, &terminate(&tls(SERVED, &gate), HTTP_PORT))?;
            await_listening(&ends, 15008)?;
        }
        for pod in &self.native {
            let ends = pod.spawn(End::Leave { app: HTTP_PORT }.command(OTHER_CORE, (papers, SERVED))?)?;
            await_listening(&ends, 15008)?;
        }
        let ips = |pods: &[Pod; 2]| -> [IpAddr; 2] { [pods[0].ip(), pods[1].ip()] };
        let measured = Scene::ALL.iter().zip(&self.rivals).map(|(scene, pod)| {
            let routes = routes_file(world, *scene);
            write_routes(&routes, &rival::routes(*scene, 0))?;
            let rival = Rival {
                scene: *scene,
                clients: tls(GATE, &client),
                pods: tls(GATE, &served),
                plain: ips(&self.plain),
                tunnelled: ips(&self.tunnelled),
                routes: &routes,
            };
            let process = begin(pod, envoy, CORE, papers, &rival.config())?;
            await_listening(&process, UNTUNNELLED_PORT)?;
            Ok(process)
        });
        let measured = measured.collect::<Result<Vec<_>>>()?;
        let mut ways = Vec::new();
        for (contender, gates) in [(Contender::Weft, &self.gates), (Contender::Envoy, &self.rivals)] {
            for entry in Entry::ALL {
                let gate_ip = gates[entry.scene() as usize].ip();
                let vip = world.service(NAMESPACE, entry.service()).ips()[0];
                let (port, target) = (entry_port(contender, entry), SocketAddr::new(vip, entry.port()));
                if (contender, entry) == (Contender::Weft, Entry::Native) {
                    let end = End::Enter { port, gate: SocketAddr::new(gate_ip, 15008), target };
                    let ends = self.client.spawn(end.command(OTHER_CORE, (papers, CLIENT))?)?;
                    await_listening(&ends, port)?;
                    continue;
                }
                ways.push(Way { port, tls: tls(CLIENT, &gate), gate: gate_ip, target });
            }
        }
        let enters = begin(&self.client, envoy, OTHER_CORE, papers, &enter(&ways))?;
        await_listening(&enters, ENTRY_PORT)?;
        Ok(measured)
    }
}

/// The service account of the backends.
const SERVED: &str = "served";

/// A connection that stays open.
pub(crate) struct Open {
    stream: BufReader<TcpStream>,
}

impl Open {
    fn new(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&target, GRACE).with_context(|| format!("to {target}"))?;
        stream.set_read_timeout(Some(GRACE)).context("setting a timeout")?;
        stream.set_nodelay(true).context("setting nodelay")?;
        // What it reads ahead is part of nobody's memory but ours.
        Ok(Self { stream: BufReader::with_capacity(512, stream) })
    }

    /// Asks once; gives the body. Whatever has no length, or is no 200, is an error.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).context("asking")?;
        let (mut length, mut line, mut status) = (None, String::new(), String::new());
        loop {
            line.clear();
            if self.stream.read_line(&mut line).context("reading an answer")? == 0 {
                bail!("the connection ended within an answer");
            }
            if status.is_empty() {
                line.trim().clone_into(&mut status);
            }
            let Some((name, value)) = line.split_once(':') else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let mut body = vec![0; length.with_context(|| format!("an answer without a length: {status}"))?];
        self.stream.read_exact(&mut body).context("reading a body")?;
        let body = String::from_utf8_lossy(&body).into_owned();
        ensure!(status.contains(" 200"), "{status}: {body}");
        Ok(body)
    }
}

/// For what tools read and write.
fn folder(world: &World) -> PathBuf {
    world.folder()
}

fn identity(account: &str) -> String {
    format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/{account}")
}

fn entry_port(contender: Contender, entry: Entry) -> u16 {
    ENTRY_PORT + 10 * (contender as u16) + entry as u16
}

fn pinned() -> MeshSettings {
    let prefix = |core: &str| ["taskset", "-c", core].map(str::to_owned).to_vec();
    let prefix = [(Component::Control, prefix(OTHER_CORE)), (Component::Waypoint, prefix(CORE))].into();
    MeshSettings { prefix, ..MeshSettings::default() }
}

/// A folder with papers for all Envoys: signed with the mesh's own key.
fn write_papers(world: &World) -> Result<PathBuf> {
    let papers = world.folder().join("papers");
    std::fs::create_dir_all(&papers).context("making a folder for papers")?;
    let forger = Forger::of_the_mesh(world)?;
    for account in [CLIENT, GATE, SERVED] {
        let [certificate, key] = forger.papers_in_pem(&identity(account), VALID)?;
        std::fs::write(papers.join(format!("{account}.pem")), certificate)
            .context("writing a certificate")?;
        std::fs::write(papers.join(format!("{account}.key")), key).context("writing a key")?;
    }
    std::fs::copy(world.folder().join("root-cert.pem"), papers.join("roots.pem"))
        .context("taking the mesh's roots")?;
    Ok(papers)
}

fn begin(pod: &Pod, envoy: &Path, core: &str, folder: &Path, config: &Value) -> Result<Arc<Process>> {
    let path = folder.join(format!("{}.json", pod.name()));
    std::fs::write(&path, config.to_string()).context("writing Envoy's configuration")?;
    let args = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "-c"];
    let mut command = ["taskset", "-c", core].map(OsString::from).to_vec();
    command.push(envoy.into());
    command.extend(args.map(OsString::from));
    command.push(path.into());
    pod.spawn(command)
}

fn await_listening(envoy: &Process, port: u16) -> Result<()> {
    envoy.wait_until(&format!("listening on {port}"), PATIENCE, || envoy.listens_on(port))
}

/// Each in a folder of its own, which Envoy watches.
fn routes_file(world: &World, scene: Scene) -> PathBuf {
    world.folder().join(format!("routes-{}", scene.gate())).join("routes.json")
}

/// As a whole: Envoy looks when a file is moved into the folder.
fn write_routes(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("the routes are in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let draft = folder.with_extension("draft");
    std::fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
    std::fs::rename(&draft, path).with_context(|| format!("renaming to {}", path.display()))
}
