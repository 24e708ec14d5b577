//! The packages for other languages, with the program of this build. `.ci/packages` builds and installs them.

use std::path::Path;
use std::process::Command;

use crate::php;
use crate::support::run;

/// Runs a program in the folder of a package, with the program of this build.
#[track_caller]
fn passes(package: &str, program: &str, needed: &str, arguments: &[&str]) {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    assert!(
        is_there,
        "install {needed}: the client in packages/{package} is tested with it"
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packages").join(package);
    let mut tests = Command::new(program);
    tests.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", "src");
    tests.env("ANNALS_PROGRAM", env!("CARGO_BIN_EXE_annals"));
    run(tests.args(arguments).current_dir(folder)).ok();
}

#[test]
fn the_python_package_works_with_the_standard_library_alone() {
    let tests = ["-W", "error", "-m", "unittest", "tests/test_store.py"];
    passes("python", "python3", "Python 3.9 or later", &tests);
}

#[test]
fn the_node_package_works_without_dependencies() {
    passes("node", "node", "Node 20 or later", &["--test", "test/store.test.js"]);
}

#[test]
fn the_php_package_works_without_phpunit() {
    passes("php", php::program(), "PHP 8.2 or later", &["tests/run.php"]);
}

#[test]
fn the_example_of_the_php_package_runs() {
    let readme = include_str!("../../../packages/php/README.md");
    let (_, rest) = readme.split_once("```php\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let settings = ["-d", "zend.assertions=1", "-d", "assert.exception=1", "-r", example];
    passes("php", php::program(), "PHP 8.2 or later", &settings);
}
