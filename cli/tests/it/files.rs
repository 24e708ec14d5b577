//! Output files: complete, and never over an existing file.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use annals::{Expected, NewEvent, Store, StreamId};

use crate::support::{Folder, Ran, ask, line, program, run};

fn export(store: &Path, target: &Path, more: &[&str]) -> Ran {
    ask(
        store,
        &[&["export", "--output", target.to_str().unwrap()], more].concat(),
    )
}

/// The names in the folder of `path`.
fn names_beside(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn lines(path: &Path) -> usize {
    ask(path, &["events", "--format", "jsonl"]).ok().lines().count()
}

#[test]
fn a_file_that_was_there_was_replaced_without_a_word() {
    let folder = Folder::new();
    let store = folder.demo();
    let log = folder.file("a.jsonl", line("a", "T", ""));
    fs::create_dir(folder.path("out")).unwrap();
    let target = folder.path("out/kept.jsonl");
    let path = target.to_str().unwrap();
    let commands: [Vec<&str>; 3] = [
        vec!["--store", store.to_str().unwrap(), "export", "--output", path],
        vec!["import", log.to_str().unwrap(), "--into", path],
        vec!["demo", "--events", "5", "--output", path],
    ];
    for command in commands {
        fs::write(&target, "precious").unwrap();
        let message = run(program().args(&command)).failed(2);
        assert!(
            message.contains("kept.jsonl: it is there already: --force replaces it"),
            "{message}"
        );
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        run(program().args(&command).arg("--force")).ok();
        assert!(lines(&target) > 0);
        assert_eq!(names_beside(&target), ["kept.jsonl"]);
    }
    let url = folder.url("store");
    run(program().arg("--store").arg(&url).arg("import").arg(&store)).ok();
    fs::write(&target, "precious").unwrap();
    let archive = ["archive", "--before", "2030-01-01", "--to", path];
    assert!(ask(&url, &archive).failed(2).contains("is there already"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(lines(&url), 3_000);
}

#[test]
fn a_command_wrote_over_its_own_input() {
    let folder = Folder::new();
    let own = folder.file("own.jsonl", line("a", "T", "") + "\n" + &line("b", "U", ""));
    let before = fs::read(&own).unwrap();
    fs::hard_link(&own, folder.path("other.jsonl")).unwrap();
    let path = own.to_str().unwrap();
    for target in ["own.jsonl", "other.jsonl", "./own.jsonl"] {
        let message = export(&own, &folder.path(target), &["--type", "T", "--force"]).failed(2);
        assert!(
            message.contains("this command reads it, and would write it too"),
            "{message}"
        );
        let target = folder.path(target);
        run(program()
            .arg("import")
            .arg(&own)
            .arg("--force")
            .arg("--into")
            .arg(&target))
        .failed(2);
        let input = fs::File::open(&own).unwrap();
        let arguments = [
            "--store",
            "-",
            "export",
            "--force",
            "--output",
            target.to_str().unwrap(),
        ];
        run(program().stdin(input).args(arguments)).failed(2);
    }
    run(program().args(["--store", path, "import", "/dev/null.jsonl", "--force", "--into", path])).failed(2);
    assert_eq!(fs::read(&own).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn permissions_of_a_file_were_those_of_a_new_one() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let store = folder.demo();
    for mode in [0o600, 0o640, 0o444, 0o755] {
        let target = folder.file("out.jsonl", "old");
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        export(&store, &target, &[]).failed(2);
        export(&store, &target, &["--force"]).ok();
        assert_eq!(
            fs::metadata(&target).unwrap().permissions().mode() & 0o7777,
            mode,
            "{mode:o}"
        );
        assert_eq!(lines(&target), 3_000);
        fs::remove_file(&target).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_was_replaced_by_a_file() {
    use std::os::unix::fs::FileTypeExt as _;

    let folder = Folder::new();
    let store = folder.demo();
    let lines = ask(&store, &["events", "--format", "jsonl"]).ok();
    for (name, more) in [
        ("p.jsonl", &[][..]),
        ("forced.jsonl", &["--force"]),
        ("pipe", &["--format", "jsonl"]),
    ] {
        let pipe = folder.path(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let mut writer = program();
        writer
            .arg("--store")
            .arg(&store)
            .args(["export", "--output"])
            .arg(&pipe)
            .args(more);
        let mut writer = writer.stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(fs::read_to_string(&pipe).unwrap(), lines);
        assert!(writer.wait().unwrap().success());
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
}

#[cfg(unix)]
#[test]
fn devices_and_sockets_are_written_through() {
    use std::io::Read as _;
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    use std::os::unix::net::UnixListener;

    let folder = Folder::new();
    let store = folder.demo();
    let link = folder.path("null.jsonl");
    symlink("/dev/null", &link).unwrap();
    for more in [&[][..], &["--force"]] {
        export(&store, &link, more).ok();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
    let shown = export(
        &store,
        Path::new("/dev/stdout"),
        &["--format", "csv", "--type", "InvoicePaid"],
    )
    .ok();
    assert!(shown.starts_with("position,"), "{shown}");
    let full = folder.path("full.jsonl");
    symlink("/dev/full", &full).unwrap();
    if Path::new("/dev/full").exists() {
        assert!(
            export(&store, &full, &[])
                .failed(1)
                .contains("full.jsonl: no space left on the device; free space")
        );
    }
    let message = export(&store, &folder.path("no/x.jsonl"), &[]).failed(1);
    assert!(
        message.contains("x.jsonl: the folder ") && message.contains("/no does not exist; create it"),
        "{message}"
    );
    let socket = folder.path("s.jsonl");
    let listener = UnixListener::bind(&socket).unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    export(&store, &socket, &[]).ok();
    assert_eq!(reader.join().unwrap().lines().count(), 3_000);
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
}

#[cfg(unix)]
#[test]
fn links_stay_and_what_they_lead_to_is_written() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let store = folder.demo();
    fs::create_dir(folder.path("there")).unwrap();
    let (target, link) = (folder.path("there/log.jsonl"), folder.path("link.jsonl"));
    symlink(&target, &link).unwrap();
    // For a dangling link, the file is created at its target.
    export(&store, &link, &[]).ok();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        (lines(&target), names_beside(&target)),
        (3_000, vec!["log.jsonl".to_owned()])
    );
    // Now the target exists, and both names are rejected.
    for path in [&link, &target] {
        assert!(export(&store, path, &[]).failed(2).contains("it is there already"));
    }
    export(&store, &link, &["--force", "--type", "InvoicePaid"]).ok();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(lines(&target) < 3_000);
    // A link to the input is the input.
    let own = folder.path("own.jsonl");
    symlink(&target, &own).unwrap();
    assert!(
        export(&target, &own, &["--force"])
            .failed(2)
            .contains("this command reads it")
    );
    symlink("nowhere/at/all.jsonl", folder.path("lost.jsonl")).unwrap();
    export(&store, &folder.path("lost.jsonl"), &[]).failed(1);
}

fn start(store: &Path, target: &Path, more: &[&str]) -> Child {
    let mut command = program();
    command
        .arg("--store")
        .arg(store)
        .args(["export", "--output"])
        .arg(target)
        .args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn two_exports_to_one_file_broke_it() {
    let folder = Folder::new();
    let store = folder.path("log.jsonl.gz");
    run(program().args(["demo", "--events", "20000", "--output"]).arg(&store)).ok();
    let few = "InvoicePaid";
    let part = lines(&{
        let path = folder.path("few.jsonl");
        export(&store, &path, &["--type", few]).ok();
        path
    });
    fs::create_dir(folder.path("out")).unwrap();
    let target = folder.path("out/o.jsonl.gz");
    for force in [&["--force"][..], &[]] {
        if target.exists() {
            fs::remove_file(&target).unwrap();
        }
        let mut all = start(&store, &target, force);
        let mut some = start(&store, &target, &[&["--type", few], force].concat());
        let codes = [all.wait().unwrap().code(), some.wait().unwrap().code()];
        // With --force the last one wins; without it, the first one wins and the other fails.
        let is_well = if force.is_empty() {
            codes.contains(&Some(0)) && codes.iter().any(|code| matches!(code, Some(1 | 2)))
        } else {
            codes == [Some(0); 2]
        };
        assert!(is_well, "{force:?}: {codes:?}");
        assert!([20_000, part].contains(&lines(&target)));
        assert_eq!(names_beside(&target), ["o.jsonl.gz"]);
    }
}

/// Sends `signals` to a program that is writing a file, and checks that nothing of the file is left.
#[cfg(unix)]
fn interrupted(signals: &[&str]) {
    let folder = Folder::new();
    fs::create_dir(folder.path("out")).unwrap();
    let target = folder.path("out/demo.jsonl");
    let mut command = program();
    command
        .args(["demo", "--events", "1000000000", "--output"])
        .arg(&target);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    while names_beside(&target).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    for signal in signals {
        let id = child.id().to_string();
        std::process::Command::new("kill")
            .args([*signal, &id])
            .status()
            .unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(names_beside(&target), [""; 0], "{said}");
}

/// The second signal came between the creation of the temporary file and its entry in the list of files to remove.
#[cfg(unix)]
#[test]
fn a_second_interrupt_left_a_file_that_was_being_made() {
    for _ in 0..20 {
        interrupted(&["-INT", "-INT"]);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_export_leaves_nothing() {
    interrupted(&["-INT"]);
    interrupted(&["-TERM"]);
    interrupted(&["-INT", "-INT"]);
    interrupted(&["-TERM", "-INT"]);
}

#[test]
fn a_name_and_a_format_that_contradict_each_other_were_not_refused() {
    let folder = Folder::new();
    let store = folder.demo();
    for (name, format, told) in [
        ("x.jsonl", "csv", "its name says jsonl, but --format csv"),
        ("x.csv.gz", "json", "its name says csv, but --format json"),
        ("x.json", "jsonl", "its name says json, but --format jsonl"),
        ("x.jsonl", "table", "a file is no table"),
        ("-", "table", "a log is no table"),
    ] {
        let path = if name == "-" { name.into() } else { folder.path(name) };
        let message = export(&store, &path, &["--format", format]).failed(2);
        assert!(message.contains(told), "{message}");
        assert!(!path.exists());
        let demo = ["demo", "--events", "3", "--format", format, "--output"];
        assert!(run(program().args(demo).arg(&path)).failed(2).contains(told));
    }
    for (name, format) in [("y.jsonl", "jsonl"), ("y.csv", "csv"), ("y.json", "json")] {
        export(&store, &folder.path(name), &["--format", format]).ok();
        assert_eq!(lines(&folder.path(name)), 3_000);
    }
    let into = folder.path("z.csv");
    let import = ["import", "--format", "json", "--into", into.to_str().unwrap()];
    run(program().args(import).arg(&store)).ok();
    assert_eq!(lines(&into), 3_000);
    for into in ["-", "z.txt"] {
        run(program().args(["import", "--into", into]).arg(&store)).failed(2);
    }
}

/// A store of events whose data and metadata JSON or CSV can represent, or not.
fn odd_store(folder: &Folder) {
    let url = format!("file:{}", folder.path("odd").display());
    let store = Store::open_url(&url).unwrap();
    let event = || NewEvent::new("T").timestamp("2026-01-31T12:00:00Z".parse().unwrap());
    let events = vec![
        event().data("{\"a\":\"\u{fffd}\"}"),
        event().data("no JSON, but text"),
        event().data([0, 0xff, 0x80]),
        event().metadata([0xfe]),
        event().metadata("[1]"),
        event().metadata("[1]").correlation("c"),
    ];
    let stream = StreamId::new("X", "a");
    store.append(&stream, Expected::Any, events).unwrap();
    store.close().unwrap();
}

#[test]
fn bytes_that_are_no_text_were_replaced_in_an_export_without_a_word() {
    let folder = Folder::new();
    odd_store(&folder);
    let store = folder.path("odd");
    for name in ["a.jsonl", "a.json", "a.jsonl.gz", "a.csv"] {
        let ran = export(&store, &folder.path(name), &[]);
        assert!(ran.stderr.contains("6 events written to"), "{name}: {}", ran.stderr);
        // JSON represents every byte.
        let warning = ran.stderr.contains("warning: 4 events not whole");
        assert_eq!(warning, name == "a.csv", "{name}: {}", ran.stderr);
        assert_eq!(ran.stderr.contains("warning"), warning, "{name}: {}", ran.stderr);
    }
    for (arguments, altered) in [
        (&["events", "--format", "csv"][..], "4 events"),
        (&["events", "--format", "csv", "--limit", "3"], "1 event"),
        (&["stream", "a", "--format", "csv"], "4 events"),
        (
            &["export", "--output", "-", "--until", "3", "--format", "csv"],
            "1 event",
        ),
    ] {
        let ran = ask(&store, arguments);
        assert!(
            ran.stderr.contains(&format!("warning: {altered} not whole")),
            "{}",
            ran.stderr
        );
    }
    for arguments in [
        &["events", "--format", "jsonl"][..],
        &["stream", "a", "--format", "json"],
        &["export", "--output", "-", "--until", "3"],
    ] {
        let ran = ask(&store, arguments);
        assert!(!ran.stderr.contains("warning"), "{arguments:?}: {}", ran.stderr);
        // One event has that character.
        assert_eq!(ran.ok().matches('\u{fffd}').count(), 1, "{arguments:?}");
    }
    for arguments in [&["events"][..], &["export", "--output", "-", "--until", "2"]] {
        assert!(!ask(&store, arguments).stderr.contains("warning"), "{arguments:?}");
    }
}
