//! PHP, for the tests of examples and of the client in it.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

const MISSING: &str = "no PHP to test with: install PHP 8.2 or later, such as Debian's package `php-cli`";

/// The program: that of the machine, or of Debian's package, which is installed where this process may.
pub(crate) fn program() -> &'static str {
    static FOUND: OnceLock<Option<&str>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().or_else(install));
    assert!(found.is_some(), "{MISSING}");
    found.unwrap_or_default()
}

fn find() -> Option<&'static str> {
    let is_there = Command::new("php").arg("--version").output().is_ok();
    is_there.then_some("php")
}

fn install() -> Option<&'static str> {
    let package = ["install", "-y", "--no-install-recommends", "php-cli"];
    // An image has no lists of packages, and a machine that was not brought up to date lists those that are gone.
    let is_installed = apt_get(&package) || (apt_get(&["update"]) && apt_get(&package));
    is_installed.then(find).flatten()
}

fn apt_get(arguments: &[&str]) -> bool {
    let mut apt_get = Command::new("apt-get");
    // Where several processes run tests, one installs, and the others find what it has.
    apt_get.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    apt_get.stdout(Stdio::null()).stderr(Stdio::null());
    apt_get.status().is_ok_and(|status| status.success())
}
