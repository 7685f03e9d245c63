//! Requests at a steady rate, for the time that each takes. h2load's clock for that ticks too coarsely, and lets all of its
//! connections ask at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::load::Measured;

/// Connections that take turns.
const CONNECTIONS: u32 = 10;
/// Requests a second of all of them.
pub(crate) const RATE: u32 = 500;
/// What an answer may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the head of an answer may be.
const HEAD_MAX: usize = 16_384;

/// The command that asks for `url`'s path at `target` for so long, naming `host`.
pub(crate) fn command(target: &str, host: &str, path: &str, time: Duration) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("finding this program")?;
    let words = ["pace", target, host, path, &time.as_millis().to_string()].map(str::to_owned);
    Ok(std::iter::once(program.display().to_string()).chain(words).collect())
}

/// Runs what [`command`] asks for: writes the microseconds of each request, a line each.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let [target, host, path, millis] = words else { bail!("these words say nothing of a pace: {words:?}") };
    let (target, time) = (target.parse()?, Duration::from_millis(millis.parse()?));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let begin = Instant::now() + Duration::from_millis(50);
    let all = std::thread::scope(|scope| {
        let one = |number: u32| one(target, request.as_bytes(), (begin, number), time);
        let threads: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || one(number))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let lines: Vec<String> = all.iter().flatten().map(|took| took.as_micros().to_string()).collect();
    println!("{}", lines.join("\n"));
    Ok(())
}

/// One connection's requests, each at its time.
fn one(
    target: SocketAddr,
    request: &[u8],
    (begin, number): (Instant, u32),
    time: Duration,
) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).with_context(|| format!("to {target}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let turn = Duration::from_secs(1) / RATE;
    let (mut due, every) = (begin + turn * number, turn * CONNECTIONS);
    let mut took = Vec::new();
    while due < begin + time {
        let wait = due.saturating_duration_since(Instant::now());
        std::thread::sleep(wait);
        // One that waits for the answer before it has begun when it was due; how well this thread wakes is not measured.
        let from = if wait.is_zero() { due } else { Instant::now() };
        stream.write_all(request).context("asking")?;
        read_answer(&mut stream)?;
        took.push(from.elapsed());
        due += every;
    }
    Ok(took)
}

fn read_answer(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = vec![0; HEAD_MAX];
    let mut have = 0;
    let (head, length) = loop {
        let more = stream.read(&mut bytes[have..]).context("reading an answer")?;
        ensure!(more > 0, "an answer ends in its head");
        have += more;
        if let Some(found) = read_head(&bytes[..have])? {
            break found;
        }
    };
    let mut rest = (head + length).saturating_sub(have);
    while rest > 0 {
        let most = rest.min(bytes.len());
        let more = stream.read(&mut bytes[..most]).context("reading a body")?;
        ensure!(more > 0, "an answer ends in its body");
        rest -= more;
    }
    Ok(())
}

/// The lengths of an answer's head and of its body, once the head is whole.
fn read_head(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("a head that is no text")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "the answer is {:?}", head.lines().next());
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length =
        length.map(|(_, value)| value.trim().parse()).next().context("an answer without a length")??;
    Ok(Some((end + 4, length)))
}

/// What [`run`] has written, over so much time: how much it was, and each request's microseconds.
pub(crate) fn read(output: &str, time: Duration) -> Result<(Measured, Vec<f64>)> {
    let times: Result<Vec<f64>, _> = output.lines().map(str::parse).collect();
    let times = times.with_context(|| format!("the pace is told in other words: {output:?}"))?;
    ensure!(!times.is_empty(), "not one request was answered");
    let amount = times.len() as f64;
    Ok((Measured { rate: amount / time.as_secs_f64(), amount, median_micros: None, errors: 0 }, times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn answers_are_read_to_their_end() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe";
        assert_eq!(read_head(head).expect("it is whole"), Some((38, 5)));
        assert_eq!(read_head(&head[..30]).expect("it is a beginning"), None);
        assert!(read_head(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(read_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "nobody knows where it ends");
    }

    #[test]
    fn what_is_written_is_read() {
        let (measured, times) = read("412\n380\n", Duration::from_secs(1)).expect("two");
        assert_eq!(times, [412.0, 380.0]);
        assert!((measured.amount - 2.0).abs() < 1e-6);
        assert!(read("", Duration::from_secs(1)).is_err() && read("x\n", Duration::from_secs(1)).is_err());
    }

    #[test]
    fn connections_ask_one_after_the_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = listener.local_addr().expect("its address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut asked = [0; 64];
            for _ in 0..2 {
                let length = stream.read(&mut asked).expect("a request");
                assert_eq!(&asked[..length], b"ask");
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").expect("a head");
                stream.write_all(b"ok").expect("a body");
            }
        });
        let time = Duration::from_secs(2) * CONNECTIONS / RATE;
        let took = one(target, b"ask", (Instant::now(), 0), time).expect("answers");
        server.join().expect("all is read");
        assert_eq!(took.len(), 2);
    }
}
