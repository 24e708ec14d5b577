//! `annals bench` and Ctrl-C, while a call to a backend hangs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::support::{Folder, program};

const STATE: &str = r#"{"ephemeral":true,"visible":0}"#;

/// A server that says what it is, and answers no append. Returns its URL, and what hears of the first append.
fn hanging() -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, receive) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let send = send.clone();
            thread::spawn(move || answer(stream, &send));
        }
    });
    (url, receive)
}

fn answer(mut stream: TcpStream, appended: &Sender<()>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    while let Some(request) = lines.next() {
        let headers = lines.by_ref().take_while(|line| !line.is_empty()).count();
        assert!(headers > 0);
        if request.starts_with("POST") {
            appended.send(()).ok();
            // The connection stays open as long as the program does.
            lines.by_ref().for_each(drop);
        }
        let length = STATE.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        drop(stream.write_all(format!("{head}{STATE}").as_bytes()));
    }
}

/// Measures on a server that hangs, and sends `signals` signals while the first append does.
fn interrupted(folder: &Folder, signals: usize) -> Output {
    let (url, appended) = hanging();
    let child = program()
        .args(["bench", "run", "--set", "data.events_per_stream=1", "--backends", &url])
        .arg("--out")
        .arg(folder.path("result"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    appended.recv().unwrap();
    for _ in 0..signals {
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }
    child.wait_with_output().unwrap()
}

#[test]
fn a_call_that_hangs_kept_a_run_after_an_interrupt() {
    let folder = Folder::new();
    let ended = interrupted(&folder, 1);
    let message = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{message}");
    assert!(
        message.contains("did not return within 5 s (http, phase load)"),
        "{message}"
    );
    assert!(!folder.path("result").exists());
}

#[test]
fn a_second_interrupt_left_folders_of_a_run() {
    let folder = Folder::new();
    // Two signals that come together are one.
    let ended = interrupted(&folder, 20);
    assert_eq!(ended.status.code(), Some(130));
    let left = std::fs::read_dir(folder.path("result")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}
