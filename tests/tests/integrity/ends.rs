//! How connections end: each direction by itself, and a reset as a reset, as applications see it on a plain wire.

use anyhow::{Context as _, Result, ensure};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use weft_testkit::Pod;

const PATIENCE: Duration = Duration::from_secs(10);
/// More than the tunnel's credit, so that it does not fit into buffers on the way.
const MUCH: usize = 3 << 20;

/// One end of a connection, and what is said of it in errors.
struct End(TcpStream, &'static str);

impl End {
    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).with_context(|| format!("the {} writes {}", self.1, bytes.len()))
    }

    fn hear(&mut self, want: &[u8]) -> Result<()> {
        let mut heard = vec![0; want.len()];
        self.0.read_exact(&mut heard).with_context(|| format!("the {} reads {}", self.1, want.len()))?;
        ensure!(heard == want, "the {} hears something else", self.1);
        Ok(())
    }

    fn close_own_side(&self) -> Result<()> {
        self.0.shutdown(Shutdown::Write).with_context(|| format!("the {} closes its side", self.1))
    }

    fn hears_the_end(&mut self) -> Result<()> {
        let length =
            self.0.read(&mut [0; 16]).with_context(|| format!("the {} waits for the end", self.1))?;
        ensure!(length == 0, "the {} hears {length} bytes more", self.1);
        Ok(())
    }

    fn hears_a_reset(&mut self) -> Result<()> {
        match self.0.read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => anyhow::bail!("the {} should hear a reset, and has {other:?}", self.1),
        }
    }

    fn reset(self) -> Result<()> {
        let socket = socket2::Socket::from(self.0);
        socket.set_linger(Some(Duration::ZERO)).context("choosing to reset")
    }
}

type Check = fn(End, End) -> Result<()>;

/// Every way to end a connection, in the order client, server.
const CHECKS: [(&str, Check); 7] = [
    ("the client closes its side and goes on reading", |mut client, mut server| {
        client.say(b"question")?;
        client.close_own_side()?;
        server.hear(b"question")?;
        server.hears_the_end()?;
        exchange_much(&mut server, &mut client)?;
        server.close_own_side()?;
        client.hears_the_end()
    }),
    ("the server closes its side and goes on reading", |mut client, mut server| {
        server.say(b"welcome")?;
        server.close_own_side()?;
        client.hear(b"welcome")?;
        client.hears_the_end()?;
        exchange_much(&mut client, &mut server)?;
        client.close_own_side()?;
        server.hears_the_end()
    }),
    ("the client closes without a word", |client, mut server| {
        drop(client);
        server.hears_the_end()
    }),
    ("the server closes without a word", |mut client, server| {
        drop(server);
        client.hears_the_end()
    }),
    ("the client resets", |mut client, mut server| {
        client.say(b"x")?;
        server.hear(b"x")?;
        client.reset()?;
        server.hears_a_reset()
    }),
    ("the server resets", |mut client, mut server| {
        server.say(b"x")?;
        client.hear(b"x")?;
        server.reset()?;
        client.hears_a_reset()
    }),
    ("the server resets after the client has closed its side", |mut client, mut server| {
        client.close_own_side()?;
        server.hears_the_end()?;
        server.reset()?;
        client.hears_a_reset()
    }),
];

/// Tries all of them between two pods.
pub(crate) fn check_all(from: &Pod, to: &Pod, ip: IpAddr) -> Result<()> {
    let listener = to.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))?.context("listening")?;
    let port = listener.local_addr().context("the listener's port")?.port();
    for (case, check) in CHECKS {
        let (client, server) = pair(from, &listener, SocketAddr::new(ip, port)).context(case)?;
        check(End(client, "client"), End(server, "server")).context(case)?;
    }
    refused(from, &listener, ip)
}

/// A connection and its accepted end. In the mesh a proxy answers for the server, so a first word may be needed.
fn pair(from: &Pod, listener: &TcpListener, to: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    let client = from.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?.context("connecting")?;
    let (server, _) = listener.accept().context("accepting")?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
        stream.set_write_timeout(Some(PATIENCE)).context("setting a timeout")?;
    }
    Ok((client, server))
}

fn exchange_much(from: &mut End, to: &mut End) -> Result<()> {
    let much: Vec<u8> = (0..MUCH).map(|at| (at * 7 + at / 251) as u8).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| from.say(&much));
        to.hear(&much)?;
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Who ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The server, in order and first: in the client's namespace it is the proxy then whose half waits in TIME_WAIT,
    /// on a port that the client's kernel thinks is free.
    ByServer,
    /// The client, by a reset.
    ByReset,
}

/// So many connections one after the other. Gives the longest time from connecting to the last byte.
pub(crate) fn one_after_the_other(
    from: &Pod,
    (to, ip): (&Pod, IpAddr),
    connections: u64,
    close: Close,
) -> Result<Duration> {
    let listener = to.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))?.context("listening")?;
    let target = SocketAddr::new(ip, listener.local_addr().context("the listener's port")?.port());
    let served = std::thread::spawn(move || -> std::io::Result<()> {
        (0..connections).try_for_each(|_| {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(WELCOME)?;
            match close {
                Close::ByServer => Ok(()),
                // Until the reset arrives.
                Close::ByReset => stream.read(&mut [0; 1]).map_or(Ok(()), |_| Ok(())),
            }
        })
    });
    let slowest = from.enter(|| -> Result<Duration> {
        let mut slowest = Duration::ZERO;
        for number in 0..connections {
            let begun = Instant::now();
            visit(target, close)
                .with_context(|| format!("connection {number} after {:?}", begun.elapsed()))?;
            slowest = slowest.max(begun.elapsed());
        }
        Ok(slowest)
    })??;
    served.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("serving")?;
    Ok(slowest)
}

const WELCOME: &[u8] = b"welcome";

fn visit(target: SocketAddr, close: Close) -> Result<()> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
    let mut client = End(stream, "client");
    client.hear(WELCOME)?;
    match close {
        Close::ByServer => client.hears_the_end(),
        Close::ByReset => client.reset(),
    }
}

/// Nobody listens there: refused at once or, where a proxy has answered already, reset before a byte.
fn refused(from: &Pod, listener: &TcpListener, ip: IpAddr) -> Result<()> {
    let port = listener.local_addr().context("the listener's port")?.port();
    let nobody = SocketAddr::new(ip, if port > 20_000 { 19_999 } else { 59_999 });
    match from.enter(|| TcpStream::connect_timeout(&nobody, PATIENCE))? {
        // The reset may be there before the connect has returned.
        Err(error) => {
            let quick = matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset);
            ensure!(quick, "nobody listens, and: {error}");
        }
        Ok(stream) => {
            stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
            End(stream, "client").hears_a_reset().context("nobody listens")?;
        }
    }
    Ok(())
}
