//! What a client of a waypoint sends by HTTP/1. What is served of it is what a plain reader finds there: nothing that two
//! servers would read differently, and nothing behind it.

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Version, request};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use weft_waypoint::strict::{self, Strict};
use weft_waypoint::vet::vet;

pub(super) const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    ":",
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.0\r\n",
    "http://a/",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "content-length:0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "0\r\n\r\n",
    "3;a=b\r\nabc\r\n",
    "ffffffffffffffff\r\n",
    "+3",
    "0x3",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "GET /a/../b?c=d HTTP/1.1\r\nHost: a\r\nX-Test: 1\r\nX-Test:  2 \r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nabcde\r\nPUT /b HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n\
         GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    ])
}

/// In whatever pieces bytes come, the same is refused; what is served after that stands there to be read in one way only.
pub(super) fn run(bytes: &[u8]) {
    let whole = passed(bytes, bytes.len());
    for piece in [1, 7] {
        assert!(passed(bytes, piece) == whole, "other bytes are refused in pieces of {piece}");
    }
    let mut plain = Plain(bytes);
    for served in serve(&whole) {
        assert_eq!(Some(served), plain.request());
    }
}

/// What hyper gets of bytes that come in pieces of this size.
fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut bytes, mut strict) = (bytes.to_vec(), Strict::default());
    bytes.chunks_mut(piece.max(1)).for_each(|piece| strict.take_in(piece));
    bytes
}

/// A request that came whole.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    method: String,
    /// If it is a path.
    target: Option<String>,
    /// Names in lower case and in order, each with its values in theirs.
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// The requests that hyper takes out of bytes.
fn serve(bytes: &[u8]) -> Vec<Whole> {
    let served = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let served = &served;
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                served.borrow_mut().push(whole(&head, &body.to_bytes()));
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let io = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    // That the bytes end somewhere in a request is no fault.
    let _ = runtime.block_on(strict::hyper().serve_connection(io, service));
    served.into_inner()
}

fn whole(head: &request::Parts, body: &[u8]) -> Whole {
    let hosts = head.headers.get_all(HOST).iter().count();
    let clear = hosts == 1 || (hosts == 0 && head.version == Version::HTTP_10);
    assert!(clear || vet(head).is_err(), "{hosts} hosts in {head:?}");
    let values = head.headers.iter();
    let mut headers: Vec<_> =
        values.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    let path = head.uri.path_and_query().map(|path| path.as_str().to_owned());
    let target = path.filter(|path| head.uri.authority().is_none() && path.starts_with('/'));
    Whole { method: head.method.to_string(), target, headers, body: body.to_vec() }
}

/// Reads requests as RFC 9112 writes them, and stops at anything else.
struct Plain<'a>(&'a [u8]);

impl<'a> Plain<'a> {
    fn request(&mut self) -> Option<Whole> {
        let mut first = self.line()?;
        while first.is_empty() {
            first = self.line()?;
        }
        let words: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
        let [method, target, version] = words[..] else { return None };
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            headers.push((text(name)?.to_ascii_lowercase(), trimmed(value).to_vec()));
        }
        let lengths =
            headers.iter().filter(|(name, _)| name == "content-length" || name == "transfer-encoding");
        let body = match (lengths.collect::<Vec<_>>().as_slice(), version) {
            ([], b"HTTP/1.0" | b"HTTP/1.1") => Vec::new(),
            ([(name, value)], b"HTTP/1.0" | b"HTTP/1.1") if name == "content-length" => {
                self.take(number(value, 10)?)?.to_vec()
            }
            ([(_, value)], b"HTTP/1.1") if value.eq_ignore_ascii_case(b"chunked") => self.chunks()?,
            _ => return None,
        };
        headers.sort_by(|one, other| one.0.cmp(&other.0));
        let target = text(target)?;
        // A part behind # is for nobody but the client.
        let path = target.split('#').next().filter(|path| path.starts_with('/'));
        Some(Whole { method: text(method)?, target: path.map(str::to_owned), headers, body })
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let count = number(size.trim_ascii_end(), 16)?;
            if count == 0 {
                while !self.line()?.is_empty() {}
                return Some(body);
            }
            body.extend_from_slice(self.take(count)?);
            if !self.line()?.is_empty() {
                return None;
            }
        }
    }

    /// What stands before the next CRLF. `None` if that holds half of one.
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.0.windows(2).position(|two| two == b"\r\n")?;
        let line = self.take(end)?;
        self.take(2)?;
        (!line.contains(&b'\n') && !line.contains(&b'\r')).then_some(line)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Bytes above ASCII as characters of one byte each would be lost, so a text is UTF-8 or nothing.
fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.chars().all(|char| char.is_digit(radix)))?;
    usize::from_str_radix(digits, radix).ok()
}
