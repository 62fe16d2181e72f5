//! The mesh of the quickstart: a control plane, a shop, two versions of a cart, and a sidecar beside each instance.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::place::Places;
use crate::programs::{Program, Programs};

/// Until a started program listens.
const START_MAX: Duration = Duration::from_secs(15);
/// Between two looks at whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Resources, as they lie beside this file.
const MESH: &str = include_str!("mesh.yaml");
const CANARY: [(u32, &str); 3] = [
    (0, include_str!("canary-0.yaml")),
    (10, include_str!("canary-10.yaml")),
    (50, include_str!("canary-50.yaml")),
];

/// An instance of a service: the application and its sidecar, whose ports end in the same digit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instance {
    /// Its name.
    pub(super) name: &'static str,
    service: &'static str,
    application: &'static str,
    version: &'static str,
    digit: u16,
}

/// The front of the shop, which calls the cart.
pub(super) const SHOP: Instance =
    Instance { name: "shop-1", service: "shop", application: "shop", version: "v1", digit: 0 };
/// The cart's first version.
pub(super) const CART_V1_A: Instance =
    Instance { name: "cart-v1-a", service: "cart-v1", application: "cart", version: "v1", digit: 1 };
/// The same, once more.
pub(super) const CART_V1_B: Instance =
    Instance { name: "cart-v1-b", service: "cart-v1", application: "cart", version: "v1", digit: 2 };
/// The cart's second version.
pub(super) const CART_V2_A: Instance =
    Instance { name: "cart-v2-a", service: "cart-v2", application: "cart", version: "v2", digit: 3 };
/// All of them.
pub(super) const INSTANCES: [Instance; 4] = [SHOP, CART_V1_A, CART_V1_B, CART_V2_A];

/// Everything that runs, and where.
#[derive(Debug)]
pub(super) struct Town {
    folder: PathBuf,
    places: Places,
    programs: Programs,
    running: BTreeMap<String, Program>,
}

impl Town {
    /// An empty folder, and free ports.
    pub(super) fn found(folder: &Path) -> Result<Self, String> {
        let in_folder = |error| format!("{}: {error}", folder.display());
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(in_folder)?;
        }
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).map_err(in_folder)?;
        let folder = folder.canonicalize().map_err(in_folder)?;
        let town = Self {
            places: Places::find()?,
            programs: Programs::new(&folder.join("logs"))?,
            running: BTreeMap::new(),
            folder,
        };
        town.write("mesh.yaml", MESH)?;
        for (percent, text) in CANARY {
            town.write(&format!("canary-{percent}.yaml"), text)?;
        }
        Ok(town)
    }

    /// Where store, state and logs are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where calls to the shop go.
    pub(super) fn entrance(&self) -> SocketAddr {
        self.inbound(SHOP)
    }

    /// Where a sidecar shows its metrics.
    pub(super) fn metrics(&self, instance: Instance) -> SocketAddr {
        self.places.of(9400 + instance.digit)
    }

    /// The control plane's API.
    pub(super) fn server(&self) -> String {
        format!("http://{}", self.places.of(15300))
    }

    /// Starts the control plane.
    pub(super) async fn start_control_plane(&mut self) -> Result<(), String> {
        let listen = self.places.of(15300);
        let command = self.programs.command(
            "outrigger-control-plane",
            [
                "--store".into(),
                self.store().into_os_string(),
                "--state-dir".into(),
                self.folder.join("state/control-plane").into(),
                "--listen".into(),
                listen.to_string().into(),
            ],
        );
        self.start("control-plane", command, listen).await
    }

    /// Starts the application of an instance, and its sidecar.
    pub(super) async fn start_instance(&mut self, instance: Instance) -> Result<(), String> {
        self.start_application(instance).await?;
        self.start_sidecar(instance).await
    }

    /// Starts the sidecar alone.
    pub(super) async fn start_sidecar(&mut self, instance: Instance) -> Result<(), String> {
        let inbound = self.inbound(instance);
        let flags: [(&str, String); 10] = [
            ("--store", self.store().display().to_string()),
            ("--service", instance.service.to_owned()),
            ("--node", instance.name.to_owned()),
            ("--state-dir", self.folder.join("state").join(instance.name).display().to_string()),
            ("--inbound", inbound.to_string()),
            ("--app", self.places.of(9000 + instance.digit).to_string()),
            ("--outbound", self.places.of(9200 + instance.digit).to_string()),
            ("--admin", self.places.of(9300 + instance.digit).to_string()),
            ("--metrics", self.metrics(instance).to_string()),
            // Nobody but the callers here has to learn that a sidecar goes.
            ("--drain-grace", "1s".to_owned()),
        ];
        let command = self
            .programs
            .command("outrigger-proxy", flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        self.start(&format!("{}-sidecar", instance.name), command, inbound).await
    }

    /// Kills an instance, application and sidecar, as if its machine had gone.
    pub(super) async fn kill_instance(&mut self, instance: Instance) {
        for name in [format!("{}-sidecar", instance.name), instance.name.to_owned()] {
            if let Some(program) = self.running.remove(&name) {
                program.kill().await;
            }
        }
    }

    /// Kills the control plane.
    pub(super) async fn kill_control_plane(&mut self) {
        if let Some(program) = self.running.remove("control-plane") {
            program.kill().await;
        }
    }

    /// Ends a sidecar as a deployment would: it finishes what it is doing.
    pub(super) async fn stop_sidecar(&mut self, instance: Instance) -> Result<(), String> {
        match self.running.remove(&format!("{}-sidecar", instance.name)) {
            Some(program) => program.terminate().await,
            None => Ok(()),
        }
    }

    /// Deletes the whole store.
    pub(super) fn delete_store(&self) -> Result<(), String> {
        fs::remove_dir_all(self.store()).map_err(|error| format!("{}: {error}", self.store().display()))
    }

    /// Brings the deleted store back from what the control plane remembers.
    pub(super) async fn recover_store(&self) -> Result<String, String> {
        let state = self.folder.join("state/control-plane");
        let command = self.programs.command(
            "outrigger",
            [
                "store".as_ref(),
                "recover".as_ref(),
                "--store".as_ref(),
                self.store().as_os_str(),
                "--state-dir".as_ref(),
                state.as_os_str(),
            ],
        );
        self.programs.run(command).await
    }

    /// Pushes one of the files.
    pub(super) async fn apply(&self, files: &[&str]) -> Result<(), String> {
        let mut arguments = vec!["apply".to_owned(), "--server".to_owned(), self.server()];
        for file in files {
            arguments.extend(["-f".to_owned(), self.folder.join(file).display().to_string()]);
        }
        self.programs.run(self.programs.command("outrigger", arguments)).await.map(|_| ())
    }

    /// Waits until something has been published: a sidecar that has never seen its mesh refuses to start without.
    pub(super) async fn published(&mut self) -> Result<(), String> {
        let heartbeat = self.store().join("heartbeat");
        let start = Instant::now();
        while !heartbeat.exists() {
            self.check()?;
            if start.elapsed() > START_MAX {
                return Err(format!("nothing was published within {START_MAX:?}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Fails if something has ended that should run.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.running.values_mut().try_for_each(Program::check)
    }

    async fn start_application(&mut self, instance: Instance) -> Result<(), String> {
        let listen = self.places.of(9000 + instance.digit);
        let mut command = self.programs.command(
            "demo",
            [
                "--name",
                instance.application,
                "--version",
                instance.version,
                "--instance",
                instance.name,
                "--listen",
                &listen.to_string(),
            ],
        );
        if instance.service == SHOP.service {
            // All that an application needs to know of its sidecar.
            command.args(["--calls", "http://cart/"]);
            command.env("http_proxy", format!("http://{}", self.places.of(9200 + instance.digit)));
        }
        self.start(instance.name, command, listen).await
    }

    async fn start(
        &mut self,
        name: &str,
        command: tokio::process::Command,
        listens: SocketAddr,
    ) -> Result<(), String> {
        let mut program = self.programs.start(name, command)?;
        let start = Instant::now();
        while TcpStream::connect(listens).await.is_err() {
            program.check()?;
            if start.elapsed() > START_MAX {
                return Err(format!("{name} does not listen on {listens} after {START_MAX:?}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.running.insert(name.to_owned(), program);
        Ok(())
    }

    fn inbound(&self, instance: Instance) -> SocketAddr {
        self.places.of(9100 + instance.digit)
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        fs::write(&path, self.places.put_into(text)).map_err(|error| format!("{}: {error}", path.display()))
    }
}
