//! Commands, attaching, terminals and ports.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use cri::*;
use support::{World, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn request(id: &str, cmd: &[&str]) -> ExecRequest {
    let cmd = cmd.iter().map(|text| (*text).to_owned()).collect();
    ExecRequest { container_id: id.to_owned(), cmd, stdout: true, ..ExecRequest::default() }
}

async fn text(stream: Option<BoxRead>) -> String {
    let mut text = String::new();
    stream.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_have_streams_and_exit_codes() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "sleep 1000").await;
    let response = world.exec(&id, "echo out; echo err >&2; exit 7").await;
    assert_eq!(response.exit_code, 7);
    assert_eq!((&response.stdout[..], &response.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let streams = ExecRequest { stdin: true, stderr: true, ..request(&id, &["/bin/cat"]) };
    let mut streams = world.runtime.exec(&streams).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    let big = "0123456789abcdef".repeat(20_000);
    let (sent, read) = tokio::join!(
        async {
            stdin.write_all(big.as_bytes()).await.unwrap();
            stdin.shutdown().await.unwrap();
            drop(stdin);
        },
        text(streams.stdout)
    );
    let () = sent;
    assert!(read == big);
    assert_eq!(streams.exit.await, Ok(0));
    let none = world.runtime.exec(&request(&id, &["/nothing"])).await.unwrap_err();
    assert!(none.to_string().contains("/nothing: no such file or directory"), "{none}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_killed() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "sleep 1000").await;
    let cmd = ["/bin/sleep", "77"].map(str::to_owned).to_vec();
    let request = ExecSyncRequest { container_id: id.clone(), cmd, timeout: 1 };
    let error = world.runtime.exec_sync(&request).await.unwrap_err();
    assert!(error.is_deadline_exceeded(), "{error}");
    let list = world.exec_text(&id, "busybox ps -o args").await;
    assert!(!list.contains("sleep 77"), "{list}");
    world.runtime.stop_container(&id, 0).await.unwrap();
    let error = world.runtime.exec_sync(&request).await.unwrap_err();
    assert!(matches!(error, Error::FailedPrecondition(_)), "{error}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_can_have_a_terminal() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "sleep 1000").await;
    let script = "tty; read line; echo got $line; until stty size 2>/dev/null; do sleep 0.01; done; \
                  echo $TERM; exit 4";
    let with_tty =
        ExecRequest { tty: true, stdin: true, ..request(&id, &["/bin/sh", "-c", script]) };
    let mut streams = world.runtime.exec(&with_tty).await.unwrap();
    let size = TerminalSize { width: 101, height: 37 };
    streams.resize.as_ref().unwrap().send(size).await.unwrap();
    let mut stdout = streams.stdout.take().unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while !seen.contains("/dev/pts/") {
        let count = stdout.read(&mut buffer).await.unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    streams.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    stdout.read_to_string(&mut seen).await.unwrap();
    for expected in ["got hello\r\n", "37 101\r\n", "xterm\r\n"] {
        assert!(seen.contains(expected), "{seen}");
    }
    assert_eq!(streams.exit.await, Ok(4));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_attach_and_leave() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let script = "while read line; do echo you said $line; done; echo closed; exit 9";
    let mut config = world.container_config("main", &["/bin/sh", "-c", script]);
    config.stdin = true;
    let id = world.start(&sandbox, &config).await;
    let attach = AttachRequest {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..AttachRequest::default()
    };
    for word in ["first", "second"] {
        let mut streams = world.runtime.attach(&attach).await.unwrap();
        let line = format!("{word}\n");
        streams.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        let mut answer = vec![0; "you said \n".len() + word.len()];
        streams.stdout.as_mut().unwrap().read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("you said {word}\n"));
    }
    until("both lines are in the log", || {
        world.log_text("main.log") == "you said first\nyou said second"
    })
    .await;
    assert_eq!(world.runtime.container_status(&id).await.unwrap().state, ContainerState::Running);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_is_given_once_ends_with_its_client() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let mut config = world.container_config("main", &["/bin/sh", "-c", "cat; echo closed; exit 9"]);
    (config.stdin, config.stdin_once) = (true, true);
    let id = world.start(&sandbox, &config).await;
    let attach = AttachRequest {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        ..AttachRequest::default()
    };
    let mut streams = world.runtime.attach(&attach).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"words\n").await.unwrap();
    drop(stdin);
    assert_eq!(text(streams.stdout).await, "words\nclosed\n");
    assert_eq!(streams.exit.await, Ok(9));
    assert_eq!(world.log_text("main.log"), "words\nclosed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_can_have_a_terminal() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let mut config = world.container_config("main", &["/bin/sh"]);
    (config.stdin, config.tty) = (true, true);
    let id = world.start(&sandbox, &config).await;
    let attach = AttachRequest {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        tty: true,
        ..AttachRequest::default()
    };
    let mut streams = world.runtime.attach(&attach).await.unwrap();
    streams.stdin.as_mut().unwrap().write_all(b"echo $((6*7)); exit 3\n").await.unwrap();
    let seen = text(streams.stdout).await;
    assert!(seen.contains("\r\n42\r\n"), "{seen:?}");
    assert_eq!(streams.exit.await, Ok(3));
    assert!(world.log("main.log").contains(" stdout F 42\r"), "{}", world.log("main.log"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_a_pod_can_be_reached() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "echo up; nc -l -p 8080 -e /bin/cat").await;
    until("it listens", || world.log_text("main.log") == "up").await;
    let mut waited = 0;
    let mut stream = loop {
        match world.runtime.port_forward(&sandbox, 8080).await {
            Ok(stream) => break stream,
            Err(error) if waited == 200 => panic!("{error}"),
            Err(_) => waited += 1,
        }
        clock::Clock::system().sleep(std::time::Duration::from_millis(10)).await;
    };
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    let refused = world.runtime.port_forward(&sandbox, 9).await.err().unwrap();
    assert!(refused.to_string().contains("port 9"), "{refused}");
    world.runtime.stop_container(&id, 0).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_log_goes_on_in_a_new_file() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let script = "while read line; do echo $line; done";
    let mut config = world.container_config("main", &["/bin/sh", "-c", script]);
    config.stdin = true;
    let id = world.start(&sandbox, &config).await;
    let attach =
        AttachRequest { container_id: id.clone(), stdin: true, ..AttachRequest::default() };
    let mut streams = world.runtime.attach(&attach).await.unwrap();
    let stdin = streams.stdin.as_mut().unwrap();
    stdin.write_all(b"before\n").await.unwrap();
    until("the first line is written", || world.log_text("main.log") == "before").await;
    std::fs::rename(world.logs().join("main.log"), world.logs().join("main.log.1")).unwrap();
    world.runtime.reopen_container_log(&id).await.unwrap();
    stdin.write_all(b"after\n").await.unwrap();
    until("the second line is written", || world.log_text("main.log") == "after").await;
    assert_eq!(world.log_text("main.log.1"), "before");
    world.end().await;
}
