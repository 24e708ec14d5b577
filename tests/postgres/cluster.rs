//! A PostgreSQL to test against: the one that `ANNALS_TEST_DATABASE_URL` names, or one of the tests' own.
//!
//! A cluster listens on loopback alone. A guardian stops it and removes its folder when the tests end, however they do.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const VARIABLE: &str = "ANNALS_TEST_DATABASE_URL";
/// Names the directory of another server's programs: `initdb`, `pg_ctl` and `postgres`.
const PROGRAMS_VARIABLE: &str = "ANNALS_PG_BIN";
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];
/// For a server with `ssl = on`.
const CERTIFICATE: &str = include_str!("../fixtures/tls/server.pem");
const KEY: &str = include_str!("../fixtures/tls/server.key");
const MISSING: &str = "no PostgreSQL to test against: install Debian's package `postgresql`, set ANNALS_PG_BIN to the directory of a server's \
                       programs, or set ANNALS_TEST_DATABASE_URL=postgres://…";

/// The address of the server that tests share.
pub(crate) fn url() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    match std::env::var(VARIABLE) {
        Ok(url) => url,
        Err(_) => CLUSTER.get_or_init(|| Cluster::start(&["fsync = off"], &[])).url(),
    }
}

/// A server of the tests' own.
pub(crate) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: Port,
    owner: Option<(u32, u32)>,
    guardian: Child,
    _alive: ChildStdin,
}

impl Cluster {
    /// Makes and starts one with these lines in its configuration, and these before all others that say who may connect how.
    pub(crate) fn start(lines: &[&str], access: &[&str]) -> Self {
        let cluster = Self::nowhere();
        cluster.make(lines, access);
        cluster.begin();
        cluster
    }

    /// A standby: a copy that is started, and that gets from then on what this one commits, a moment later. Nothing may be connected.
    ///
    /// The files are copied while the server is stopped, because some packages of servers have no `pg_basebackup`.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::nowhere();
        self.control(&["-m", "fast", "-w", "stop"]);
        let mut copy = command(Path::new("cp"), self.owner);
        run(copy.arg("-a").arg(self.data()).arg(standby.data()));
        self.begin();
        standby.configure(&format!(
            "port = {}\nprimary_conninfo = 'host=127.0.0.1 port={} user=postgres'\n",
            standby.port.number, self.port.number
        ));
        fs::write(standby.data().join("standby.signal"), "").expect("it can be written");
        standby.begin();
        standby
    }

    /// A folder for one, and its guardian.
    fn nowhere() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let programs = programs();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("annals-postgres-{}-{number}", std::process::id()));
        fs::create_dir(&folder).expect("a folder can be made");
        let owner = owner(&folder);
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).expect("root may give a folder away");
        }
        let (guardian, alive) = guard(&programs, &folder, owner);
        Self {
            programs,
            folder,
            port: Port::free(),
            owner,
            guardian,
            _alive: alive,
        }
    }

    /// Starts it, and waits until it can be connected to.
    pub(crate) fn begin(&self) {
        self.control(&["-w", "-t", "60", "start"]);
    }

    /// Stops it as a machine does that loses power.
    pub(crate) fn crash(&self) {
        self.control(&["-m", "immediate", "-w", "stop"]);
    }

    /// Has a standby take over.
    pub(crate) fn promote(&self) {
        self.control(&["-w", "-t", "60", "promote"]);
    }

    fn make(&self, lines: &[&str], access: &[&str]) {
        let data = self.data();
        let mut initdb = command(&self.programs.join("initdb"), self.owner);
        initdb
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N"]);
        run(&mut initdb);
        let configuration = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nwal_level = logical\n\
             shared_buffers = 32MB\nmax_connections = 100\nmax_replication_slots = 100\n{}\n",
            self.port.number,
            lines.join("\n")
        );
        self.configure(&configuration);
        for (name, text) in [("server.crt", CERTIFICATE), ("server.key", KEY)] {
            let path = data.join(name);
            fs::write(&path, text).expect("it can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it was made here");
            if let Some((user, group)) = self.owner {
                chown(&path, Some(user), Some(group)).expect("root may give a file away");
            }
        }
        let path = data.join("pg_hba.conf");
        let before = fs::read_to_string(&path).expect("initdb has made it");
        fs::write(&path, format!("{}\n{before}", access.join("\n"))).expect("it can be written");
    }

    /// Adds to what it is started with; of two lines for the same the last holds.
    fn configure(&self, lines: &str) {
        let path = self.data().join("postgresql.conf");
        let before = fs::read_to_string(&path).expect("it was made");
        fs::write(&path, before + lines).expect("it can be written");
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.url_and(&[])
    }

    /// The address of it and of these others, in this order.
    pub(crate) fn url_and(&self, others: &[&Self]) -> String {
        let ports = others.iter().map(|other| format!(",127.0.0.1:{}", other.port.number));
        let ports: String = ports.collect();
        format!("postgres://postgres@127.0.0.1:{}{ports}/postgres", self.port.number)
    }

    /// Has `pg_ctl` do something with it.
    pub(crate) fn control(&self, arguments: &[&str]) {
        run(&mut self.controlling(arguments));
    }

    fn controlling(&self, arguments: &[&str]) -> Command {
        let mut control = command(&self.programs.join("pg_ctl"), self.owner);
        control
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(self.folder.join("log"))
            .args(arguments);
        control
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that has crashed is stopped already.
        drop(self.controlling(&["-m", "immediate", "-w", "stop"]).status());
        drop(fs::remove_dir_all(&self.folder));
        drop(self.guardian.kill());
        drop(self.guardian.wait());
    }
}

/// Starts the process that cleans up when this one has ended, or after half an hour.
fn guard(programs: &Path, folder: &Path, owner: Option<(u32, u32)>) -> (Child, ChildStdin) {
    let script = "if command -v timeout > /dev/null; then timeout 1800 cat; else cat; fi > /dev/null; \
                  \"$0/pg_ctl\" -D \"$1/data\" -m immediate stop; rm -rf \"$1\"";
    let mut guardian = command(Path::new("/bin/sh"), owner)
        .args(["-c", script])
        .arg(programs)
        .arg(folder)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("sh starts");
    let alive = guardian.stdin.take().expect("it is a pipe");
    (guardian, alive)
}

fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .env("LC_ALL", "C");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "{command:?}: {status:?}"
    );
}

/// Whose the server is to be: PostgreSQL does not run as root.
fn owner(folder: &Path) -> Option<(u32, u32)> {
    let is_root = fs::metadata(folder).expect("it was made").uid() == 0;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    is_root.then(|| {
        of("postgres")
            .or_else(|| of("nobody"))
            .expect("there is a user besides root")
    })
}

/// A port of the loopback address that no other server has, reserved as long as this exists.
///
/// The UDP port of the same number is bound meanwhile: other clusters, also of other processes, then take another. A number below 32,768 is never that of an
/// outgoing connection, which could take the port while the server is stopped.
pub(crate) struct Port {
    pub(crate) number: u16,
    _reserved: UdpSocket,
}

impl Port {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;

    pub(crate) fn free() -> Self {
        let start = std::process::id() % u32::from(Self::COUNT);
        let start = u16::try_from(start).expect("it is below the count");
        let mut numbers = (0..Self::COUNT).map(|offset| Self::FIRST + (start + offset) % Self::COUNT);
        let port = numbers.find_map(Self::reserve);
        port.expect("there is a free port")
    }

    fn reserve(number: u16) -> Option<Self> {
        let reserved = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _reserved: reserved,
        })
    }
}

/// Where the server's programs are: those that `ANNALS_PG_BIN` names, those of the machine, or of a package that is installed for it.
fn programs() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let find = || named().or_else(find).or_else(install).expect(MISSING);
    FOUND.get_or_init(find).clone()
}

fn named() -> Option<PathBuf> {
    let place = PathBuf::from(std::env::var_os(PROGRAMS_VARIABLE).filter(|place| !place.is_empty())?);
    assert!(
        has_programs(&place),
        "{PROGRAMS_VARIABLE}={}: expected the programs {} there",
        place.display(),
        PROGRAMS.join(", ")
    );
    Some(place)
}

fn has_programs(place: &Path) -> bool {
    PROGRAMS.iter().all(|name| place.join(name).is_file())
}

fn find() -> Option<PathBuf> {
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut packaged: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    packaged.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let mut places = packaged.into_iter().rev().chain(configured).chain(on_path);
    places.find(|place| has_programs(place))
}

/// Debian's package, where this process may install it; without the cluster that it would make and start.
fn install() -> Option<PathBuf> {
    let folder = Path::new("/etc/postgresql-common");
    fs::create_dir_all(folder).ok()?;
    // Where several processes run tests, one installs, and the others find what it has.
    let turn = fs::File::open(folder).ok()?;
    turn.lock().ok()?;
    find().or_else(|| {
        let settings = folder.join("createcluster.conf");
        if !settings.exists() {
            fs::write(settings, "create_main_cluster = false\n").ok()?;
        }
        let package = ["install", "-y", "--no-install-recommends", "postgresql"];
        // An image has no lists of packages, and a machine that was not brought up to date lists those that are gone.
        let is_installed = apt_get(&package) || (apt_get(&["update"]) && apt_get(&package));
        is_installed.then(find).flatten()
    })
}

pub(crate) fn apt_get(arguments: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
