//! A RabbitMQ to test against: Debian's package, on loopback, with a port mapper of its own. All end with the test.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::Port;
use crate::process::install;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// The Erlang machine has another process id than the script that starts it, and writes it to a file. Both end when the input ends.
const GUARD: &str =
    "\"$@\" > /dev/null 2>&1 & cat > /dev/null; kill -9 $(cat pid 2> /dev/null) $! 2> /dev/null; wait $! 2> /dev/null";
const START: Duration = Duration::from_secs(120);

/// A running broker.
pub(crate) struct Broker {
    folder: PathBuf,
    port: Port,
    distribution: Port,
    mapper: Port,
    server: Option<Child>,
    epmd: Child,
}

impl Broker {
    pub(crate) fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        check_installed();
        let (id, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rabbitmq-{id}-{number}"));
        for name in ["mnesia", "log", "home"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let mapper = Port::free();
        let port = mapper.number.to_string();
        let epmd = spawn(
            Command::new("/bin/sh").args(["-c", GUARD, "guard", "epmd", "-address", "127.0.0.1", "-port", &port]),
            &folder.join("home"),
        );
        if is_root(&folder) {
            run(Command::new("chown").args(["-R", "rabbitmq:rabbitmq"]).arg(&folder));
        }
        let mut broker = Self {
            folder,
            port: Port::free(),
            distribution: Port::free(),
            mapper,
            server: None,
            epmd,
        };
        broker.restart();
        broker
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port.number)
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            server.wait().unwrap();
        }
    }

    /// Starts it with the same files, and waits until it listens.
    pub(crate) fn restart(&mut self) {
        drop(fs::remove_file(self.folder.join("pid")));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]);
        if is_root(&self.folder.join("..")) {
            command.args(["setpriv", "--reuid=rabbitmq", "--regid=rabbitmq", "--clear-groups"]);
        }
        command.arg(SERVER);
        self.set_environment(&mut command);
        self.server = Some(spawn(&mut command, &self.folder));
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number)).is_err() {
            assert!(
                began.elapsed() < START,
                "the broker does not listen: see {}/log",
                self.folder.display()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Runs `rabbitmqctl`.
    pub(crate) fn control(&self, arguments: &[&str]) {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        self.set_environment(command.args(arguments));
        run(&mut command);
    }

    fn set_environment(&self, command: &mut Command) {
        let folder = |name: &str| self.folder.join(name);
        command
            .env("HOME", folder("home"))
            .env("RABBITMQ_NODENAME", format!("annals-{}@localhost", self.port.number))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.number.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.number.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder("log"))
            .env("RABBITMQ_PID_FILE", folder("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder("plugins"))
            .env("RABBITMQ_CONFIG_FILE", folder("none"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.mapper.number.to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        drop(self.epmd.stdin.take());
        drop(self.epmd.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The broker of this process.
pub(crate) fn shared() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

fn check_installed() {
    assert!(
        Path::new(SERVER).is_file() || install("rabbitmq-server").is_some(),
        "no RabbitMQ to test against: install Debian's package `rabbitmq-server`"
    );
}

fn is_root(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.uid() == 0)
}

fn spawn(command: &mut Command, folder: &Path) -> Child {
    let command = command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().expect("sh starts")
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
