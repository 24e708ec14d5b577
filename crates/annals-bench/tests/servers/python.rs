//! Servers that Python's package index has, in a virtual environment below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cluster::apt_get;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The program `name` of a package of `requirements.txt`, all of which are installed for the first test that wants one.
pub(crate) fn program(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&folder).expect("a folder can be made");
    // Where several processes run tests, one installs, and the others find what it has.
    let turn = fs::File::create(folder.join("turn")).expect("a file can be made");
    turn.lock().expect("a file can be locked");
    let (environment, installed) = (folder.join("environment"), folder.join("installed.txt"));
    if fs::read_to_string(&installed).ok().as_deref() != Some(REQUIREMENTS) {
        let wanted = folder.join("requirements.txt");
        fs::write(&wanted, REQUIREMENTS).expect("a file can be written");
        install(&environment, &wanted);
        fs::rename(wanted, installed).expect("a file can be renamed");
    }
    environment.join("bin").join(name)
}

fn install(environment: &Path, requirements: &Path) {
    let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment));
    let package = ["install", "-y", "--no-install-recommends", "python3-venv"];
    let is_made = make() || ((apt_get(&package) || apt_get(&["update"]) && apt_get(&package)) && make());
    assert!(
        is_made,
        "no Python to install a server with: install Debian's package `python3-venv`"
    );
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args([
        "install",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]);
    pip.args(["--require-hashes", "-r"]).arg(requirements);
    assert!(
        run(&mut pip),
        "no server to test against: `pip install -r {}` failed; it needs the package index of Python",
        requirements.display()
    );
}

fn run(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
