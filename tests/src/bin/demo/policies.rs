//! PeerAuthentication and AuthorizationPolicy, written into the folder of manifests while traffic flows.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use weft_testkit::report::Answer;
use weft_testkit::{Get, Pod};

use crate::scene::{Scene, seconds};
use crate::telling::Telling;

/// What a change may take until it shows.
const EFFECT: Duration = Duration::from_secs(1);

/// A client outside the mesh: accepted under PERMISSIVE, refused under STRICT.
pub(crate) fn permissive_then_strict(scene: &Scene, telling: &Telling) -> Result<()> {
    let inside = scene.v2.addr(8080);
    let answer = scene.stranger.get(&format!("http://{inside}/"))?;
    ensure!(answer.is_ok(), "PERMISSIVE, and a client outside the mesh gets {answer:?}");
    telling.fact("a client outside the mesh is accepted: nothing is said, and that means PERMISSIVE");
    let strict = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}},
    });
    let written = Instant::now();
    scene.world.apply(&strict)?;
    let refused = until(&scene.stranger, inside, |answer| !answer.is_ok())?;
    telling.fact(&format!(
        "PeerAuthentication STRICT written: it is refused after {} ({})",
        seconds(written.elapsed()),
        refused.error
    ));
    let answer = scene.client.get(&scene.url())?;
    ensure!(answer.is_ok(), "STRICT, and a client in the mesh gets {answer:?}");
    telling.fact("clients in the mesh go on as before");
    Ok(())
}

/// An AuthorizationPolicy takes effect at once, on an open connection too.
pub(crate) fn authorization(scene: &Scene, telling: &Telling) -> Result<()> {
    let mut open = OpenConnection::to(&scene.client, scene.v2.addr(8080))?;
    open.request().context("a first request on a connection that stays open")?;
    let policy = policy();
    let written = Instant::now();
    scene.world.apply(&policy)?;
    let ended = open.until_closed(written + EFFECT)?;
    telling.fact(&format!(
        "AuthorizationPolicy written (DENY {}): the client's open connection is closed after {}",
        "cluster.local/ns/shop/sa/client",
        seconds(ended - written)
    ));
    let answer = scene.client.get(&format!("http://{}/", scene.v2.addr(8080)))?;
    ensure!(!answer.is_ok(), "denied by policy, and yet answered: {answer:?}");
    telling.fact(&format!("a new one is refused ({})", answer.error));
    let line = scene.access_line(2, &["reviews-viewers"])?;
    telling.detail(&fields(&line, &["src.workload", "dst.workload", "end", "error"]));
    scene.world.remove(&policy)?;
    let removed = Instant::now();
    until(&scene.client, scene.v2.addr(8080), Answer::is_ok)?;
    telling.fact(&format!("removed: it may again after {}", seconds(removed.elapsed())));
    Ok(())
}

fn policy() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "reviews-viewers", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "reviews"}},
            "action": "DENY",
            "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]}],
        },
    })
}

/// Asks until the answer is as wanted, for as long as an effect may take.
fn until(pod: &Pod, target: SocketAddr, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
    let end = Instant::now() + EFFECT;
    let get = Get::url(&format!("http://{target}/")).timeout(Duration::from_secs(1));
    loop {
        let answer = pod.run_tool(&get)?.answers.pop().context("a report without an answer")?;
        if wanted(&answer) {
            return Ok(answer);
        }
        ensure!(Instant::now() < end, "no effect within {EFFECT:?}: {} still gets {answer:?}", pod.name());
    }
}

/// A connection made inside the client's pod and held by this program, which can tell to the millisecond when it ends.
struct OpenConnection(TcpStream);

impl OpenConnection {
    fn to(pod: &Pod, target: SocketAddr) -> Result<Self> {
        let stream = pod.enter(|| TcpStream::connect(target))?;
        Ok(Self(stream.with_context(|| format!("connecting to {target}"))?))
    }

    fn request(&mut self) -> Result<()> {
        self.0.set_read_timeout(Some(Duration::from_secs(5))).context("setting a timeout")?;
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").context("asking")?;
        let mut answer = [0; 4096];
        let length = self.0.read(&mut answer).context("waiting for the answer")?;
        ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "an unexpected answer");
        Ok(())
    }

    /// When the other side has ended it.
    fn until_closed(&mut self, deadline: Instant) -> Result<Instant> {
        let mut rest = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "an open connection is still open {EFFECT:?} after the policy denied it"
            );
            self.0.set_read_timeout(Some(left)).context("setting a timeout")?;
            match self.0.read(&mut rest) {
                Ok(0) => return Ok(Instant::now()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Instant::now()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => bail!("the open connection broke in an unexpected way: {error}"),
            }
        }
    }
}

/// These fields of an access line, as they stand there.
pub(crate) fn fields(line: &str, names: &[&str]) -> String {
    let find = |name: &&str| {
        let at = line.find(&format!(" {name}="))? + 1;
        let rest = &line[at..];
        let value = rest.find('=').map_or(rest.len(), |equals| equals + 1);
        let quoted = rest[value..].starts_with('"');
        let end =
            if quoted { rest[value + 1..].find('"').map(|end| value + end + 2) } else { rest.find(' ') };
        Some(rest[..end.unwrap_or(rest.len())].to_owned())
    };
    names.iter().filter_map(find).collect::<Vec<_>>().join(" ")
}
