//! An open connection to an echo server, held by the test itself: does it still carry bytes, and how did it end?

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};
use weft_testkit::Pod;

/// How long a word may be under way.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A connection from a pod to an echo server.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    to: SocketAddr,
    begun: SystemTime,
    words: u32,
}

/// A connection as an access line tells of it. Its addresses alone do not say which one is meant: ports come round
/// again within a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The client's end.
    pub client: SocketAddr,
    /// What the client connected to.
    pub target: SocketAddr,
    /// A moment before which it was not there.
    pub begun: SystemTime,
}

/// How the other side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
}

impl Talk {
    /// Connects from the pod's namespace. In the mesh it is the proxy that answers, so this proves little before the
    /// first word.
    ///
    /// # Errors
    /// If nobody takes the connection.
    pub fn open(from: &Pod, to: SocketAddr) -> Result<Self> {
        let begun = SystemTime::now();
        let stream = from.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        let stream = stream.with_context(|| format!("{} connects to {to}", from.name()))?;
        stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
        stream.set_nodelay(true).context("sending words at once")?;
        Ok(Self { stream, to, begun, words: 0 })
    }

    /// Connects and says one word.
    ///
    /// # Errors
    /// If nobody takes the connection, or the word does not come back.
    pub fn begin(from: &Pod, to: SocketAddr) -> Result<Self> {
        let mut talk = Self::open(from, to)?;
        talk.go_on().with_context(|| format!("the first word from {} to {to}", from.name()))?;
        Ok(talk)
    }

    /// What access lines call it, for [`crate::waiting::await_line`].
    ///
    /// # Errors
    /// If the socket is broken.
    pub fn flow(&self) -> Result<Flow> {
        let client = self.stream.local_addr().context("asking for the own end")?;
        Ok(Flow { client, target: self.to, begun: self.begun })
    }

    /// Its socket, for what has no words here.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says one word more, and hears it again.
    ///
    /// # Errors
    /// If it does not come back whole.
    pub fn go_on(&mut self) -> Result<()> {
        self.words += 1;
        let word = format!("word {:>8};", self.words);
        self.stream.write_all(word.as_bytes()).context("saying it")?;
        let mut heard = vec![0; word.len()];
        self.stream.read_exact(&mut heard).context("hearing it again")?;
        ensure!(heard == word.as_bytes(), "said {word:?}, heard {:?}", String::from_utf8_lossy(&heard));
        Ok(())
    }

    /// Ends its own side, and hears the other end too.
    ///
    /// # Errors
    /// If the other side does not close in order.
    pub fn finish(self) -> Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write).context("closing the own side")?;
        match self.wait_for_end(PATIENCE)? {
            Ending::Closed => Ok(()),
            Ending::Reset => bail!("it was reset"),
        }
    }

    /// Waits until the other side ends the connection.
    ///
    /// # Errors
    /// If it is still open after that time.
    pub fn wait_for_end(mut self, within: Duration) -> Result<Ending> {
        let until = Instant::now() + within;
        self.stream.set_nonblocking(true).context("making it wait for nothing")?;
        loop {
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => return Ok(Ending::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK_AGAIN),
                Err(_) => return Ok(Ending::Reset),
            }
            ensure!(Instant::now() < until, "it is still open after {within:?}");
        }
    }
}

/// Says a word from a pod to an echo server, and wants to be refused for it: by a reset, at once or when the proxy has
/// waited in vain for discovery.
///
/// # Errors
/// If the word comes back, or what happens is something else.
pub fn is_refused(from: &Pod, to: SocketAddr) -> Result<()> {
    match Talk::begin(from, to) {
        Ok(_) => bail!("{} talks to {to}", from.name()),
        Err(error) if is_reset(&error) => Ok(()),
        Err(error) => Err(error.context("it ends in another way")),
    }
}

/// Whether a talk failed because it was reset.
pub fn is_reset(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| matches!(io.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}
