//! Read-only and full file systems: real ones, mounted in a private namespace.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::support::{Folder, Ran, import, program, run};

/// Runs `script` in a private mount namespace, with the program as `$0` and `folder` as `$1`. `None` if this process may not create one.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
fn in_a_namespace(script: &str, folder: &Folder) -> Option<Ran> {
    let is_allowed = |flags: &str| {
        let tried = Command::new("unshare")
            .args([flags, "mount", "-t", "tmpfs", "none", "/mnt"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(flags) = ["-m", "-Urm"].into_iter().find(|flags| is_allowed(flags)) else {
        eprintln!("nothing can be mounted here: file systems that are full or cannot be written to were left out");
        return None;
    };
    let annals = program();
    Some(run(Command::new("unshare")
        .args([flags, "sh", "-ec", script])
        .arg(annals.get_program())
        .arg(folder.path(""))
        .env_remove("ANNALS_STORE")))
}

#[test]
fn a_store_is_read_on_a_file_system_that_cannot_be_written_to() {
    let folder = Folder::new();
    import(&folder.url("store"), &folder.demo());
    let read = r#"
        mount -t tmpfs none /mnt
        cp -r "$1/store" /mnt/store
        rm /mnt/store/lock
        mount -o remount,ro /mnt
        "$0" --store file:/mnt/store stats --format json
        "$0" verify /mnt/store > /dev/null
        "$0" --store file:/mnt/store import "$1/demo.jsonl.gz"
    "#;
    let Some(ran) = in_a_namespace(read, &folder) else {
        return;
    };
    assert!(ran.stdout.contains("\"total\": 3000"), "{}\n{}", ran.stdout, ran.stderr);
    let refused = ran.failed(1);
    assert!(
        refused.contains("/mnt/store") && refused.contains("ead-only file system"),
        "{refused}"
    );
}

#[test]
fn nothing_was_said_while_an_import_waited_for_a_full_disk() {
    let folder = Folder::new();
    let fill = r#"
        "$0" demo --events 30000 --seed 7 --output "$1/demo.jsonl.gz"
        mount -t tmpfs -o size=3m none /mnt
        "$0" --store 'file:/mnt/store?segment_bytes=64KiB&preallocate_bytes=0' import "$1/demo.jsonl.gz" 2> "$1/said" &
        for look in $(seq 200); do
            grep -q 'waiting for at most' "$1/said" && break
            sleep 0.1
        done
        mount -o remount,size=32m /mnt
        wait $!
        cat "$1/said" >&2
    "#;
    let Some(ran) = in_a_namespace(fill, &folder) else {
        return;
    };
    let said = ran.stderr.clone();
    ran.ok();
    assert!(said.contains("waiting for at most 3"), "{said}");
    assert!(said.contains("o space left"), "{said}");
    assert!(said.contains("30,000 events are safe on disk"), "{said}");
}

#[test]
fn what_was_imported_before_a_file_system_was_full_is_there() {
    let folder = Folder::new();
    let fill = r#"
        "$0" demo --events 30000 --seed 7 --output "$1/demo.jsonl.gz"
        mount -t tmpfs -o size=3m none /mnt
        "$0" --store 'file:/mnt/store?segment_bytes=64KiB&preallocate_bytes=0&retry_for=0s' import "$1/demo.jsonl.gz" && exit 99
        "$0" --store file:/mnt/store stats --format json
        "$0" verify /mnt/store > /dev/null
        mount -o remount,size=32m /mnt
        "$0" --store file:/mnt/store import "$1/demo.jsonl.gz"
        "$0" --store file:/mnt/store stats --format json
    "#;
    let Some(ran) = in_a_namespace(fill, &folder) else {
        return;
    };
    let refused = ran.stderr.clone();
    let shown = ran.ok();
    assert!(
        refused.contains("/mnt/store") && refused.contains("o space left"),
        "{refused}"
    );
    let mut counts = shown
        .lines()
        .filter_map(|line| line.split_once("\"total\": ")?.1.split(',').next());
    let before: u64 = counts.next().and_then(|count| count.parse().ok()).expect("a number");
    assert!((1..30_000).contains(&before), "{shown}");
    assert_eq!(counts.next_back(), Some("30000"), "{shown}");
}
