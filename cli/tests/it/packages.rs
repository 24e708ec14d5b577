//! The packages for other languages, with the program of this build. `.ci/packages` builds and installs them.

use std::path::Path;
use std::process::Command;

use crate::support::run;

#[test]
fn the_python_package_works_with_the_standard_library_alone() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packages/python");
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    assert!(
        has_python,
        "install Python 3.9 or later: the client in packages/python is tested with it"
    );
    let mut tests = Command::new("python3");
    tests.args(["-W", "error", "-m", "unittest", "tests/test_store.py"]);
    tests.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", "src");
    tests.env("ANNALS_PROGRAM", env!("CARGO_BIN_EXE_annals"));
    run(tests.current_dir(package)).ok();
}
