//! Networks of a test's own: namespaces of the kernel that a switch joins, each with an address of both families. From outside nothing of it is to
//! be seen but names, which no two test processes share. Needs root, and `ip`.

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::mesh::program;

/// Networks of this process so far.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// A switch, and whoever is plugged in. It lives as long as any of them.
#[derive(Debug)]
pub struct Network {
    switch: Arc<Name>,
    members: AtomicU8,
}

/// One machine, as far as the network is concerned.
#[derive(Debug)]
pub struct Namespace {
    name: Name,
    switch: Arc<Name>,
    port: String,
    /// Its addresses.
    pub v4: Ipv4Addr,
    /// The same of the other family.
    pub v6: Ipv6Addr,
    /// Whose threads are inside. Always there but in `drop`.
    inside: Option<Runtime>,
}

/// The name of a namespace, which goes when this is dropped.
#[derive(Debug)]
struct Name(String);

impl Network {
    /// A switch without members.
    ///
    /// # Panics
    /// Where namespaces cannot be made.
    #[expect(
        clippy::new_without_default,
        reason = "it changes the machine; nobody should get one by default"
    )]
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run these tests as root"
        );
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let switch = Name::new(format!("outrigger-{}-{number}", std::process::id()));
        ip(&["-n", &switch.0, "link", "add", "switch", "type", "bridge"]);
        ip(&["-n", &switch.0, "link", "set", "switch", "up"]);
        Self { switch: Arc::new(switch), members: AtomicU8::new(0) }
    }

    /// Plugs in another machine.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub fn namespace(&self) -> Namespace {
        let number = self.members.fetch_add(1, Ordering::Relaxed) + 1;
        let (switch, name) = (&self.switch.0, Name::new(format!("{}-{number}", self.switch.0)));
        let (v4, v6) =
            (Ipv4Addr::new(10, 77, 0, number), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()));
        let port = format!("port{number}");
        ip(&["-n", switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name.0]);
        ip(&["-n", switch, "link", "set", &port, "master", "switch", "up"]);
        for device in ["lo", "eth0"] {
            ip(&["-n", &name.0, "link", "set", device, "up"]);
        }
        ip(&["-n", &name.0, "address", "add", &format!("{v4}/24"), "dev", "eth0"]);
        ip(&["-n", &name.0, "address", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"]);
        let inside = Some(inside(&name));
        Namespace { name, switch: self.switch.clone(), port, v4, v6, inside }
    }
}

impl Namespace {
    /// Does `work` inside, and whatever it spawns: the sockets that it opens are of this namespace.
    ///
    /// # Panics
    /// When `work` does.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.spawn(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Does `work` inside, beside what goes on here.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.inside.as_ref().expect("there until it is dropped").spawn(work)
    }

    /// Pulls its plug: nothing comes out of it any more, nothing comes in, and nobody is told.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub fn vanish(&self) {
        ip(&["-n", &self.switch.0, "link", "set", &self.port, "down"]);
    }

    /// A program inside.
    pub fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = program("ip".into());
        command.args(["netns", "exec", &self.name.0]).arg(name);
        command
    }

    /// The same as another user than root.
    pub fn command_as(&self, user: u32, name: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("setpriv");
        command
            .args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups"])
            .arg(name);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(inside) = self.inside.take() {
            inside.shutdown_background();
        }
    }
}

impl Name {
    fn new(name: String) -> Self {
        ip(&["netns", "add", &name]);
        Self(name)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // What still runs inside keeps it alive, namelessly.
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// A runtime whose threads enter the namespace first.
fn inside(name: &Name) -> Runtime {
    let file = File::open(format!("/run/netns/{}", name.0)).expect("a namespace has a file of its name");
    let file = Arc::new(file);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().on_thread_start(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
    });
    builder.build().expect("threads can be started")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip (of iproute2) is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", arguments.join(" "));
}
