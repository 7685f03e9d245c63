//! A peer that speaks the tunnel's dialects itself, without a line of the proxy's code, and says what it likes.

use anyhow::{Context as _, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use weft_tests::forger::Papers;

/// How long an answer may take: discovery may be waited for.
const PATIENCE: Duration = Duration::from_secs(6);

/// What a peer was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// There is no session, or it ended without an answer.
    Nothing,
    /// The stream is refused for this reason (mux), or with this status (HBONE).
    Refused(u16),
    /// It is connected to the application.
    Opened,
}

/// What to open a session with.
pub(crate) struct Approach<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) papers: Option<&'a Papers>,
    /// Whose certificate the server shall present.
    pub(crate) server: &'a str,
    pub(crate) alpn: &'a [u8],
}

impl Approach<'_> {
    /// One TLS session, up to where the client is done with its handshake. Call it in a namespace.
    fn session(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let socket = TcpStream::connect_timeout(&self.to, PATIENCE).context("connecting")?;
        socket.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
        let identity = self.server.parse().map_err(|_| anyhow::anyhow!("{} is no identity", self.server))?;
        let name = match self.alpn {
            b"h2" => ServerName::IpAddress(self.to.ip().into()),
            _ => weft_pki::tunnel_server_name(&identity),
        };
        let client = ClientConnection::new(self.config()?, name).context("making a client")?;
        Ok(StreamOwned::new(client, socket))
    }

    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>> {
        let builder =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?.dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = match self.papers {
            Some(papers) => builder.with_client_auth_cert(papers.chain.clone(), papers.key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![self.alpn.to_vec()];
        Ok(config.into())
    }

    /// Says `bytes` in Weft's own dialect and reads the first frame that answers stream 1.
    pub(crate) fn say(&self, bytes: &[u8]) -> Result<Told> {
        let mut session = self.session()?;
        // A session that was never begun answers nothing: refusals of certificates come after our own last word.
        if session.write_all(bytes).and_then(|()| session.flush()).is_err() {
            return Ok(Told::Nothing);
        }
        let mut header = [0; 8];
        loop {
            if session.read_exact(&mut header).is_err() {
                return Ok(Told::Nothing);
            }
            let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
            if session.read_exact(&mut payload).is_err() {
                return Ok(Told::Nothing);
            }
            match header[3] {
                2 => return Ok(Told::Opened),
                3 => return Ok(Told::Refused(payload.first().copied().unwrap_or_default().into())),
                _ => {}
            }
        }
    }

    /// Says `bytes` in HTTP/2 after the preface, and reads the status of stream 1.
    pub(crate) fn say_h2(&self, bytes: &[u8]) -> Result<Told> {
        let mut session = self.session()?;
        let preface =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], bytes].concat();
        if session.write_all(&preface).and_then(|()| session.flush()).is_err() {
            return Ok(Told::Nothing);
        }
        let mut header = [0; 9];
        loop {
            if session.read_exact(&mut header).is_err() {
                return Ok(Told::Nothing);
            }
            let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
            if session.read_exact(&mut payload).is_err() {
                return Ok(Told::Nothing);
            }
            match header[3] {
                // HEADERS: the status comes first, from the static table or as a literal (RFC 7541 appendix A).
                1 => return Ok(status(&payload)),
                // RST_STREAM and GOAWAY.
                3 | 7 => return Ok(Told::Nothing),
                _ => {}
            }
        }
    }
}

fn status(block: &[u8]) -> Told {
    let known = [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)];
    // A size update of the table may stand in front.
    let block = if block.first().is_some_and(|byte| byte & 0xe0 == 0x20) { &block[1..] } else { block };
    let first = block.first().copied().unwrap_or_default();
    let number = match known.iter().find(|(byte, _)| *byte == first) {
        Some((_, number)) => *number,
        None => literal_status(block),
    };
    if number == 200 { Told::Opened } else { Told::Refused(number) }
}

/// A literal of three digits, Huffman-coded or not (the codes of digits are five or six bits; RFC 7541 appendix B).
fn literal_status(block: &[u8]) -> u16 {
    let Some([length, text @ ..]) = block.get(1..) else { return 0 };
    let text = &text[..usize::from(length & 0x7f).min(text.len())];
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    }
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut number, mut rest) = (0, bits.as_str());
    for _ in 0..3 {
        let code = |bits: usize| rest.get(..bits).and_then(|text| u16::from_str_radix(text, 2).ok());
        let (digit, bits) = match (code(5), code(6)) {
            (Some(short @ 0..=2), _) => (short, 5),
            (_, Some(long @ 0x19..=0x1f)) => (long - 0x19 + 3, 6),
            _ => return 0,
        };
        number = number * 10 + digit;
        rest = &rest[bits..];
    }
    number
}

/// A frame of Weft's own dialect.
pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's payload is short").to_be_bytes();
    [&length[1..], &[kind], &stream.to_be_bytes(), payload].concat()
}

/// OPEN for stream 1.
pub(crate) fn open(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    frame(1, 1, &[end(source), end(destination)].concat())
}

fn end(addr: SocketAddr) -> Vec<u8> {
    let (family, mut ip) = match addr.ip() {
        IpAddr::V4(ip) => (4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (6, ip.octets().to_vec()),
    };
    ip.resize(16, 0);
    [&[family], &ip[..], &addr.port().to_be_bytes()].concat()
}

/// A frame of HTTP/2.
pub(crate) fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's payload is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a request without a body to follow at once: literals that are not indexed, all but CONNECT's method.
pub(crate) fn connect(authority: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    request("CONNECT", authority, headers)
}

pub(crate) fn request(method: &str, authority: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = literal(":method", method);
    block.extend(literal(":authority", authority));
    for (name, value) in headers {
        block.extend(literal(name, value));
    }
    // END_HEADERS.
    h2_frame(1, 4, 1, &block)
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 16_000, "a frame holds no more");
        match u8::try_from(text.len()) {
            Ok(short @ 0..127) => bytes.push(short),
            _ => {
                let rest = text.len() - 127;
                bytes.extend([127, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]);
            }
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Believes every server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
        ]
    }
}
