//! DNS servers that can be made to misbehave: a real dnsmasq, and a responder for what dnsmasq cannot be talked into.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// How often a start is tried, should the port be taken.
const ATTEMPTS: usize = 20;

/// A dnsmasq that knows nothing but its arguments and is authoritative for `mesh`.
pub(crate) struct Dnsmasq {
    child: Child,
    address: SocketAddr,
}

impl Dnsmasq {
    /// Starts one on a free port of the loopback address.
    pub(crate) fn start(records: &[&str]) -> Self {
        (0..ATTEMPTS)
            .find_map(|_| {
                let address = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
                spawn(address, records).map(|child| Self { child, address })
            })
            .expect("dnsmasq starts")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces it by one with these records, on the same port.
    pub(crate) fn restart(&mut self, records: &[&str]) {
        self.kill();
        self.child = (0..ATTEMPTS).find_map(|_| spawn(self.address, records)).expect("dnsmasq starts again");
    }

    /// Leaves nobody at its port.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Makes it take questions and answer none.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A dnsmasq that listens, or `None` where it did not come up because somebody else has taken the port meanwhile.
fn spawn(address: SocketAddr, records: &[&str]) -> Option<Child> {
    let fixed = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--no-resolv",
        "--no-hosts",
        "--user=",
        "--group=",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        "--local=/mesh/",
    ];
    // Debian keeps it outside of an ordinary user's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new("dnsmasq")
        .env("PATH", path)
        .args(fixed)
        .arg(format!("--port={}", address.port()))
        .args(records)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("dnsmasq runs (Debian: apt-get install dnsmasq-base)");
    // It opens its TCP port together with the UDP one.
    while TcpStream::connect(address).is_err() {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}

/// What a [`Responder`] does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// One A record; no others.
    Address([u8; 4]),
    /// The same, late.
    AddressAfter(Duration, [u8; 4]),
    /// A response code and nothing else (RFC 1035 §4.1.1).
    Code(u8),
    /// The first bytes of a message.
    Garbage,
    /// None.
    Silence,
}

pub(crate) const SERVFAIL: Reply = Reply::Code(2);
pub(crate) const REFUSED: Reply = Reply::Code(5);

/// A server in a thread that answers every question alike.
pub(crate) struct Responder {
    address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    pub(crate) fn start(reply: Reply) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let reply = Arc::new(Mutex::new(reply));
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (reply, over) = (reply.clone(), over.clone());
            move || answer_all(&Arc::new(socket), &reply, &over)
        });
        Self { address, reply, over, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn reply_with(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_all(socket: &Arc<UdpSocket>, reply: &Mutex<Reply>, over: &AtomicBool) {
    let mut question = [0; 1_500];
    while !over.load(SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        let reply = *reply.lock().unwrap();
        let answer = answer(&question[..length], reply);
        let send = {
            let socket = socket.clone();
            move || drop(socket.send_to(&answer, from))
        };
        match reply {
            Reply::Silence => {}
            Reply::AddressAfter(delay, _) => drop(std::thread::spawn(move || {
                std::thread::sleep(delay);
                send();
            })),
            _ => send(),
        }
    }
}

/// The question back, as a response, with the record appended where the question was for A.
fn answer(question: &[u8], reply: Reply) -> Vec<u8> {
    let mut end = 12;
    while question[end] != 0 {
        end += 1 + usize::from(question[end]);
    }
    end += 5;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let (code, record) = match reply {
        Reply::Code(code) => (code, None),
        Reply::Address(ip) | Reply::AddressAfter(_, ip) => (0, Some(ip).filter(|_| is_a)),
        Reply::Garbage | Reply::Silence => return question[..6].to_vec(),
    };
    let mut message = question[..end].to_vec();
    message[2] = 0x81;
    message[3] = 0x80 | code;
    message[4..12].copy_from_slice(&[0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    if let Some(ip) = record {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        message.extend(ip);
    }
    message
}
