//! What a mux connection knows: its session, the frames that wait to go out, and its streams. All of it belongs
//! to one worker, so a `RefCell` guards it; nothing in here awaits.

use super::frame::{
    BadFrame, CREDIT_INITIAL, CREDIT_MAX, CREDIT_STEP, Cutter, HEADER_BYTES, Header, Kind, Piece,
};
use super::open::{BadOpen, OpenRequest};
use crate::end::Refused;
use crate::scratch::ReadBuffer;
use crate::socket::Socket;
use crate::tls::{PeerState, Session, TlsError, sealed_bytes_max};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::task::Waker;

/// Plain bytes gathered before they are sealed and sent in one write. Many full records: each write wakes the
/// other side, and waking costs more than the bytes do.
pub(super) const BATCH_BYTES: usize = 262_144;

/// Why a mux connection ended.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The peer broke the framing.
    #[error("the peer broke the protocol")]
    Frame(#[from] BadFrame),
    /// The peer's OPEN does not read.
    #[error("the peer broke the protocol")]
    Open(#[from] BadOpen),
    /// The socket failed.
    #[error("the tunnel's socket failed")]
    Socket(#[source] std::io::Error),
}

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Stream ids count up, so they are their own hash.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

pub(super) type Streams = HashMap<u32, Rc<RefCell<StreamState>>, BuildHasherDefault<IdHasher>>;

pub(super) struct State {
    pub(super) session: Session,
    pub(super) outgoing: Outgoing,
    pub(super) table: Table,
    cutter: Cutter,
}

/// The streams and what is known of them.
pub(super) struct Table {
    pub(super) side: Side,
    pub(super) streams: Streams,
    /// The newest id; ids are never used again.
    pub(super) last_id: u32,
    /// The server wants no more streams here.
    pub(super) going_away: bool,
    /// The connection is over; nothing can be opened or sent.
    pub(super) over: bool,
    /// OPENs of the batch in hand.
    opened: Vec<(u32, OpenRequest)>,
    /// Streams that got bytes in the batch in hand.
    touched: Vec<Rc<RefCell<StreamState>>>,
}

/// Frames on their way out.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Whole frames, not sealed yet; the first `plain_len` bytes count.
    plain: Vec<u8>,
    plain_len: usize,
    /// Sealed records; the first `cipher_len` bytes count, and `sent` of them are with the kernel.
    cipher: Vec<u8>,
    cipher_len: usize,
    sent: usize,
    driver: Option<Waker>,
    blocked: Vec<Waker>,
}

/// One stream, shared by the connection's driver and the stream's own task.
pub(super) struct StreamState {
    pub(super) id: u32,
    /// The application's socket, once there is one.
    pub(super) app: Option<Rc<Socket>>,
    /// Received, and not yet written to the application.
    pub(super) waiting: Vec<u8>,
    pub(super) written: usize,
    /// What the peer may still send.
    receive_credit: u32,
    /// What may be under way towards the application in all: grows while it takes what comes.
    window: u32,
    /// Written to the application and not yet given back as credit.
    unreported: u32,
    /// What this side may still send.
    pub(super) send_credit: u32,
    pub(super) remote: Remote,
    /// Bytes that reached the application, since the task last looked.
    pub(super) delivered: usize,
    pub(super) task: Option<Waker>,
}

/// What the peer has said of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remote {
    /// Nothing yet (the client before OPENED).
    Silent,
    /// It is carried.
    Open,
    /// No more bytes come.
    Finished,
    /// It was reset.
    Reset,
    /// It was refused.
    Refused(Refused),
    /// The connection beneath is gone.
    Lost,
    /// The connection beneath is gone, and the server had not said a word.
    LostUnopened,
    /// The application's socket failed while the driver wrote to it.
    AppFailed,
}

impl Outgoing {
    /// Space for a DATA frame: its header (to be filled by [`Outgoing::commit_data`]) and up to `max` bytes.
    /// `None` if the batch is full: `waker` is woken when there is space.
    pub(super) fn data_space(&mut self, max: usize, waker: &Waker) -> Option<&mut [u8]> {
        let free = BATCH_BYTES.saturating_sub(self.plain_len + HEADER_BYTES);
        // A sliver of space would make slivers of frames.
        if free < max.min(4_096) {
            self.blocked.push(waker.clone());
            return None;
        }
        if self.plain.is_empty() {
            self.plain = batch_memory(BATCH_BYTES);
        }
        let start = self.plain_len + HEADER_BYTES;
        Some(&mut self.plain[start..start + free.min(max)])
    }

    /// So many bytes of the space are the frame's payload.
    pub(super) fn commit_data(&mut self, stream: u32, length: usize) {
        let header = Header { kind: Kind::Data, stream, length }.bytes();
        self.plain[self.plain_len..self.plain_len + HEADER_BYTES].copy_from_slice(&header);
        self.plain_len += HEADER_BYTES + length;
        self.wake_driver();
    }

    /// Appends a short frame. These are not held up by a full batch: each stream sends few.
    pub(super) fn push(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        if self.plain.is_empty() {
            self.plain = batch_memory(BATCH_BYTES);
        }
        let end = self.plain_len + HEADER_BYTES + payload.len();
        if self.plain.len() < end {
            self.plain.resize(end + HEADER_BYTES * 64, 0);
        }
        let header = Header { kind, stream, length: payload.len() }.bytes();
        self.plain[self.plain_len..self.plain_len + HEADER_BYTES].copy_from_slice(&header);
        self.plain[self.plain_len + HEADER_BYTES..end].copy_from_slice(payload);
        self.plain_len = end;
        self.wake_driver();
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    pub(super) fn sleep(&mut self, driver: &Waker) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            self.driver = Some(driver.clone());
        }
    }

    pub(super) fn has_plain(&self) -> bool {
        self.plain_len > 0
    }

    /// Seals the batch. Only called when all that was sealed before is with the kernel.
    pub(super) fn seal(&mut self, session: &mut Session) -> Result<(), TlsError> {
        let most = sealed_bytes_max(self.plain_len);
        if self.cipher.len() < most {
            self.cipher = batch_memory(most);
        }
        self.cipher_len = session.seal_into(&self.plain[..self.plain_len], &mut self.cipher)?;
        self.sent = 0;
        self.plain_len = 0;
        give_batch_memory(std::mem::take(&mut self.plain));
        for blocked in self.blocked.drain(..) {
            blocked.wake();
        }
        Ok(())
    }

    /// What rustls itself wants to say goes out behind what is sealed already.
    fn push_sealed(&mut self, bytes: &[u8]) {
        self.cipher.truncate(self.cipher_len);
        self.cipher.extend_from_slice(bytes);
        self.cipher_len = self.cipher.len();
        self.wake_driver();
    }

    /// Sealed bytes that the kernel has not taken yet.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.cipher[self.sent..self.cipher_len]
    }

    /// The kernel has taken so many of them.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Nothing waits: an idle connection keeps no buffer.
    pub(super) fn release_memory(&mut self) {
        (self.cipher_len, self.sent) = (0, 0);
        give_batch_memory(std::mem::take(&mut self.cipher));
    }
}

thread_local! {
    static BATCHES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory whose every byte is initialised, at least so many.
fn batch_memory(least: usize) -> Vec<u8> {
    let mut memory = BATCHES.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < least {
        memory.resize(least.max(sealed_bytes_max(BATCH_BYTES)), 0);
    }
    memory
}

fn give_batch_memory(memory: Vec<u8>) {
    BATCHES.with_borrow_mut(|spare| {
        if memory.len() >= BATCH_BYTES && spare.len() < 4 {
            spare.push(memory);
        }
    });
}

impl StreamState {
    pub(super) fn new(id: u32, remote: Remote) -> Self {
        Self {
            id,
            app: None,
            waiting: Vec::new(),
            written: 0,
            receive_credit: CREDIT_INITIAL,
            window: CREDIT_INITIAL,
            unreported: 0,
            send_credit: CREDIT_INITIAL,
            remote,
            delivered: 0,
            task: None,
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Bytes have reached the application: the peer may send as many more, and if the application took all at once,
    /// even more than that.
    pub(super) fn delivered(&mut self, bytes: usize, outgoing: &mut Outgoing) {
        self.delivered += bytes;
        // Never more than the window, which is a u32.
        self.unreported += bytes as u32;
        if self.unreported < CREDIT_STEP.max(self.window / 8) || self.remote != Remote::Open {
            return;
        }
        let mut step = std::mem::take(&mut self.unreported);
        if self.waiting.is_empty() && self.window < CREDIT_MAX {
            let more = step.min(CREDIT_MAX - self.window);
            self.window += more;
            step += more;
        }
        self.receive_credit += step;
        outgoing.push(Kind::Credit, self.id, &step.to_be_bytes());
    }

    /// Keeps bytes for [`StreamState::deliver`]; a batch of records becomes one write. True if they are the first.
    fn receive(&mut self, bytes: &[u8]) -> Result<bool, BadFrame> {
        if !matches!(self.remote, Remote::Open | Remote::Silent) {
            return Ok(false);
        }
        let length = bytes.len() as u32;
        self.receive_credit = self.receive_credit.checked_sub(length).ok_or(BadFrame::Credit(self.id))?;
        let first = self.waiting.is_empty();
        if first {
            self.waiting = GATHERED.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self.waiting.extend_from_slice(bytes);
        // What waited before waits for the application; its task is in charge.
        Ok(first)
    }

    /// Writes what the batch has brought to the application, as far as it takes it now.
    fn deliver(&mut self, outgoing: &mut Outgoing) {
        let Some(app) = &self.app else {
            return; // Not connected yet: the bytes wait for it.
        };
        match app.write_now(&self.waiting[self.written..]) {
            Ok(taken) => {
                self.written += taken;
                if self.written == self.waiting.len() {
                    self.forget_written();
                } else {
                    self.wake();
                }
                self.delivered(taken, outgoing);
            }
            Err(_) => {
                self.remote = Remote::AppFailed;
                self.wake();
            }
        }
    }

    /// All that waited has been written: an idle stream keeps no buffer.
    pub(super) fn forget_written(&mut self) {
        self.written = 0;
        let mut memory = std::mem::take(&mut self.waiting);
        memory.clear();
        GATHERED.with_borrow_mut(|spare| {
            if spare.len() < GATHERED_MAX && memory.capacity() <= BATCH_BYTES {
                spare.push(memory);
            }
        });
    }
}

/// Buffers that a worker keeps for the next batch: one for each stream that a batch touches.
const GATHERED_MAX: usize = 64;

thread_local! {
    static GATHERED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl State {
    pub(super) fn new(session: Session, side: Side) -> Self {
        let table = Table {
            side,
            streams: Streams::default(),
            last_id: 0,
            going_away: false,
            over: false,
            opened: Vec::new(),
            touched: Vec::new(),
        };
        Self { session, outgoing: Outgoing::default(), table, cutter: Cutter::default() }
    }

    /// Takes in what was read, and returns the streams that it opens.
    pub(super) fn receive(
        &mut self,
        incoming: &mut ReadBuffer,
    ) -> Result<(PeerState, Vec<(u32, OpenRequest)>), MuxError> {
        let Self { session, outgoing, table, cutter } = self;
        let mut replies = Vec::new();
        let opened = session.open::<MuxError>(incoming, &mut replies, |plain| {
            cutter.feed::<MuxError>(plain, |piece| match piece {
                Piece::Data { stream, bytes } => table.on_data(stream, bytes),
                Piece::Frame(header, payload) => table.on_frame(header, payload),
            })
        });
        // Also what came before an error: the peer sent it in good order.
        for stream in table.touched.drain(..) {
            stream.borrow_mut().deliver(outgoing);
        }
        let peer = opened?;
        if !replies.is_empty() {
            outgoing.push_sealed(&replies);
        }
        Ok((peer, std::mem::take(&mut table.opened)))
    }

    /// The connection is over: every stream learns it.
    pub(super) fn end(&mut self) {
        self.table.over = true;
        for stream in self.table.streams.values() {
            let mut stream = stream.borrow_mut();
            match stream.remote {
                Remote::Silent => stream.remote = Remote::LostUnopened,
                Remote::Open => stream.remote = Remote::Lost,
                _ => {}
            }
            stream.wake();
        }
        self.table.streams.clear();
        for blocked in self.outgoing.blocked.drain(..) {
            blocked.wake();
        }
    }
}

impl Table {
    /// The stream, or `None` if it has ended: frames may still be under way for it.
    fn stream(&self, id: u32) -> Result<Option<&Rc<RefCell<StreamState>>>, BadFrame> {
        if id == 0 || id > self.last_id {
            return Err(BadFrame::StreamId(id));
        }
        Ok(self.streams.get(&id))
    }

    fn on_data(&mut self, id: u32, bytes: &[u8]) -> Result<(), MuxError> {
        let Some(stream) = self.stream(id)? else {
            return Ok(());
        };
        let first = stream.borrow_mut().receive(bytes)?;
        if first {
            let stream = stream.clone();
            self.touched.push(stream);
        }
        Ok(())
    }

    fn on_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), MuxError> {
        let from_client = matches!(header.kind, Kind::Open);
        let from_server = matches!(header.kind, Kind::Opened | Kind::Refused | Kind::GoAway);
        if (from_client && self.side == Side::Client) || (from_server && self.side == Side::Server) {
            return Err(BadFrame::Side(header.kind).into());
        }
        let (kind, id) = (header.kind, header.stream);
        match kind {
            Kind::Ignorable => Ok(()),
            Kind::GoAway => {
                self.going_away = true;
                Ok(())
            }
            Kind::Open => self.on_open(id, payload),
            Kind::Data => Ok(()), // Handed on in pieces; an empty one carries nothing.
            Kind::Opened | Kind::Refused | Kind::Credit | Kind::Fin | Kind::Reset => {
                let Some(stream) = self.stream(id)? else {
                    return Ok(());
                };
                let mut stream = stream.borrow_mut();
                match (kind, payload) {
                    (Kind::Opened, _) if stream.remote == Remote::Silent => stream.remote = Remote::Open,
                    (Kind::Refused, [reason]) => stream.remote = Remote::Refused(Refused::from_byte(*reason)),
                    (Kind::Fin, _) if matches!(stream.remote, Remote::Open | Remote::Silent) => {
                        stream.remote = Remote::Finished;
                    }
                    (Kind::Reset, _) => stream.remote = Remote::Reset,
                    (Kind::Credit, payload) => {
                        let step = payload.try_into().map_err(|_| BadFrame::Payload(kind))?;
                        let credit = stream.send_credit.checked_add(u32::from_be_bytes(step));
                        stream.send_credit = credit.ok_or(BadFrame::Payload(kind))?;
                    }
                    _ => {}
                }
                stream.wake();
                Ok(())
            }
        }
    }

    fn on_open(&mut self, id: u32, payload: &[u8]) -> Result<(), MuxError> {
        if id != self.last_id.wrapping_add(1) || self.streams.len() >= super::STREAMS_MAX {
            return Err(BadFrame::StreamId(id).into());
        }
        self.last_id = id;
        let request = OpenRequest::read(payload)?;
        self.streams.insert(id, Rc::new(RefCell::new(StreamState::new(id, Remote::Open))));
        self.opened.push((id, request));
        Ok(())
    }
}
