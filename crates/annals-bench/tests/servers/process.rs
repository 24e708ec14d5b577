//! A server to test against: a program of the machine, or of a package that is installed for it.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::{Port, apt_get};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);
/// The first argument is the program: the shell ends it when its own input ends, however this process ends.
const GUARD: &str = "\"$@\" > /dev/null 2>&1 & cat > /dev/null; kill -9 $!; wait $! 2> /dev/null";
/// Keeps packages from starting what they install.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A running server on loopback.
pub(crate) struct Process {
    pub(crate) guard: Child,
    pub(crate) folder: PathBuf,
    pub(crate) port: Port,
}

impl Process {
    /// Starts `program`, which is in Debian's package of that name, with the arguments that `arguments` makes of its port and folder.
    pub(crate) fn start(program: &str, arguments: impl Fn(&str, &str) -> Vec<String>) -> Self {
        let path = find(program).or_else(|| install(program));
        let path = path.unwrap_or_else(|| panic!("no {program} to test against: install Debian's package `{program}`"));
        Self::start_at(&path, arguments)
    }

    /// Starts the program at `path`.
    pub(crate) fn start_at(path: &Path, arguments: impl Fn(&str, &str) -> Vec<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = path.file_name().unwrap_or_default().to_string_lossy();
        let (id, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{id}-{number}"));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let port = Port::free();
        let guard = spawn(
            path,
            &arguments(&port.number.to_string(), &folder.to_string_lossy()),
            &folder,
        );
        let process = Self { guard, folder, port };
        process.wait();
        process
    }

    pub(crate) fn wait(&self) {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number)).is_err() {
            assert!(began.elapsed() < START, "the server does not listen");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Its address.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port.number)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Starts a program that ends with this process.
pub(crate) fn spawn(path: &Path, arguments: &[String], folder: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", GUARD, "guard"])
        .arg(path)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("sh starts")
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

/// Installs a package, where this process may, without starting what is in it.
pub(crate) fn install(package: &str) -> Option<PathBuf> {
    // Where several processes run tests, one installs, and the others find what it has.
    let turn = fs::File::open("/var/lib/dpkg").ok()?;
    turn.lock().ok()?;
    if let Some(found) = find(package) {
        return Some(found);
    }
    let policy = Path::new(POLICY);
    let is_new = !policy.exists();
    if is_new {
        fs::write(policy, "#!/bin/sh\nexit 101\n").ok()?;
        fs::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
    }
    let arguments = ["install", "-y", "--no-install-recommends", package];
    let is_installed = apt_get(&arguments) || (apt_get(&["update"]) && apt_get(&arguments));
    if is_new {
        drop(fs::remove_file(policy));
    }
    is_installed.then(|| find(package)).flatten()
}
