//! A cluster of three servers, on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use annals::Store;
use async_nats::jetstream;

use crate::cluster::Port;
use crate::process::spawn;
use crate::program;

/// How long the servers may take to elect their leaders.
const ELECTION: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// The stream of the cluster.
const STREAM: &str = "orders";

/// One server of the cluster.
struct Node {
    guard: Child,
    folder: PathBuf,
    port: Port,
    _route: Port,
}

/// The cluster. It ends with the test.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    folder: PathBuf,
}

impl Cluster {
    pub(crate) const NODES: usize = 3;

    pub(crate) fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nats-cluster-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let ports: Vec<_> = (0..Self::NODES).map(|_| (Port::free(), Port::free())).collect();
        let routes = ports
            .iter()
            .map(|(_, route)| format!("nats://127.0.0.1:{}", route.number));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let start = |(number, (port, route)): (usize, (Port, Port))| {
            let folder = folder.join(number.to_string());
            fs::create_dir_all(&folder).unwrap();
            fs::write(
                folder.join("settings"),
                settings(number, &folder, &port, &route, &routes),
            )
            .unwrap();
            Node {
                guard: run(&folder),
                folder,
                port,
                _route: route,
            }
        };
        let nodes = ports.into_iter().enumerate().map(start).collect();
        Self { nodes, folder }
    }

    /// The URL of the stream, by the server with this number.
    pub(crate) fn url(&self, number: usize) -> String {
        format!("{}/{STREAM}?replicas=3", self.server(number))
    }

    fn server(&self, number: usize) -> String {
        format!("nats://127.0.0.1:{}", self.nodes[number].port.number)
    }

    /// Opens the store, by the server with this number, once there is a leader.
    pub(crate) fn open(&self, number: usize) -> Store {
        let deadline = Instant::now() + ELECTION;
        loop {
            match annals_jetstream::open(&self.url(number)) {
                Ok(store) => return store,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Ends a server without a warning, and starts it again.
    pub(crate) fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        // The guard kills it by SIGKILL once its own input ends.
        drop(node.guard.stdin.take());
        node.guard.wait().unwrap();
        node.guard = run(&node.folder);
    }

    /// Cuts a server off from the others and from its clients: it stands still.
    pub(crate) fn cut_off(&self, number: usize) {
        self.signal(number, "STOP");
    }

    /// Lets a server that was cut off run on, with what it knew.
    pub(crate) fn rejoin(&self, number: usize) {
        self.signal(number, "CONT");
    }

    fn signal(&self, number: usize, signal: &str) {
        let pid = fs::read_to_string(self.nodes[number].folder.join("pid")).unwrap();
        let kill = format!("kill -{signal} {}", pid.trim());
        assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The number of the server that leads the stream, once there is one.
    pub(crate) fn leader(&self) -> usize {
        let deadline = Instant::now() + ELECTION;
        loop {
            let leaders = (0..Self::NODES).filter_map(|number| told_leader(&self.server(number)));
            if let Some(leader) = leaders.into_iter().next() {
                return leader;
            }
            assert!(Instant::now() < deadline, "no server leads the stream");
            std::thread::park_timeout(PAUSE);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            drop(node.guard.stdin.take());
            drop(node.guard.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn settings(number: usize, folder: &Path, port: &Port, route: &Port, routes: &str) -> String {
    format!(
        "server_name: node-{number}\nlisten: \"127.0.0.1:{}\"\npid_file: \"{}\"\njetstream {{ store_dir: \"{}\" }}\n\
         cluster {{ name: annals, listen: \"127.0.0.1:{}\", routes: [{routes}] }}\n",
        port.number,
        folder.join("pid").display(),
        folder.join("files").display(),
        route.number,
    )
}

fn run(folder: &Path) -> Child {
    spawn(&program(), &["-c".to_owned(), "settings".to_owned()], folder)
}

/// Who leads, as a server tells it.
fn told_leader(server: &str) -> Option<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let asked = async {
        let options = async_nats::ConnectOptions::new().connection_timeout(Duration::from_secs(1));
        let client = options.connect(server).await.ok()?;
        let stream = jetstream::new(client).get_stream(STREAM).await.ok()?;
        stream
            .cached_info()
            .cluster
            .as_ref()?
            .leader
            .as_ref()?
            .strip_prefix("node-")?
            .parse()
            .ok()
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), asked).await.ok()? })
}
