//! Real containers, from their start to their end.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use cri::*;
use support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_its_end_is_known() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "echo hello; echo oops >&2; exit 3").await;
    let status = world.wait(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at >= status.created_at && status.finished_at >= status.started_at);
    let log = world.log("main.log");
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_by_key(|line| line.contains("stderr"));
    assert!(lines[0].ends_with(" stdout F hello"), "{log}");
    assert!(lines[1].ends_with(" stderr F oops"), "{log}");
    assert!(lines[0].split(' ').next().unwrap().len() == "2026-01-01T00:00:00.000000000Z".len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_sees_is_its_own() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let mut config = world.container_config("main", &["/bin/sleep", "1000"]);
    config.envs = vec![KeyValue { key: "COLOUR".to_owned(), value: "blue green".to_owned() }];
    config.working_dir = "/made/for/me".to_owned();
    let id = world.start(&sandbox, &config).await;
    for (script, expected) in [
        ("hostname", "pod"),
        ("cat /etc/hostname", "pod"),
        ("cat /etc/resolv.conf", "nameserver 10.0.0.10"),
        ("echo $COLOUR $HOSTNAME $HOME", "blue green pod /root"),
        ("pwd", "/made/for/me"),
        ("readlink /proc/1/exe", "/bin/busybox"),
        (
            "grep -E 'CapEff|CapBnd|CapInh|NoNewPrivs' /proc/self/status | tr -d '\\t' | tr '\\n' ' '",
            "CapInh:0000000000000000 CapEff:00000000a80425fb CapBnd:00000000a80425fb NoNewPrivs:0",
        ),
        ("grep SigIgn /proc/1/status | busybox cut -c20-", "00000"),
        ("grep SigBlk /proc/1/status | tr -d '\\t'", "SigBlk:0000000000000000"),
        ("ls /proc/self/fd | wc -l", "4"),
        ("cat /proc/keys | wc -c", "0"),
        (
            "(echo x > /proc/sys/kernel/domainname) 2>&1",
            "/bin/sh: can't create /proc/sys/kernel/domainname: Read-only file system",
        ),
        ("mount -t tmpfs x /tmp 2>&1", "mount: permission denied (are you root?)"),
        ("df /dev/shm | tail -n1 | awk '{print $2}'", "65536"),
        ("test -c /dev/null && test -c /dev/tty && echo devices", "devices"),
        ("cat /dev/vda 2>&1 | head -c0; echo done", "done"),
        ("ulimit -n >/dev/null && echo limits", "limits"),
    ] {
        let script = script.replace("readlink", "busybox readlink").replace("grep", "busybox grep");
        let script = ["tr", "wc", "touch", "df", "tail", "awk", "head"]
            .iter()
            .fold(script, |s, a| s.replace(&format!("| {a} "), &format!("| busybox {a} ")));
        let script = if script.starts_with("touch") || script.starts_with("df") {
            format!("busybox {script}")
        } else {
            script
        };
        assert_eq!(world.exec_text(&id, &script).await, expected, "{script}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_pod_share_network_ipc_and_shm_but_not_processes() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let a = world.run(&sandbox, "a", "echo from-a > /dev/shm/file; sleep 1000").await;
    let b = world.run(&sandbox, "b", "sleep 1000").await;
    let namespace = |kind: &str| format!("busybox readlink /proc/self/ns/{kind}");
    for (kind, shared) in
        [("net", true), ("ipc", true), ("uts", true), ("pid", false), ("mnt", false)]
    {
        let of_a = world.exec_text(&a, &namespace(kind)).await;
        let of_b = world.exec_text(&b, &namespace(kind)).await;
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_eq!(of_a == of_b, shared, "{kind}");
        assert_ne!(of_a, host.to_string_lossy(), "{kind}");
    }
    assert_eq!(world.exec_text(&b, "cat /dev/shm/file").await, "from-a");
    let list = world.exec_text(&b, "busybox ps -o args").await;
    assert!(list.contains("sleep 1000") && !list.contains("from-a"), "{list}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_process_namespace_has_all_processes_and_no_zombies() {
    let world = World::new().await;
    let mut config = world.sandbox_config("pod");
    config.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
    let sandbox = world.runtime.run_pod_sandbox(&config, "").await.unwrap();
    let shared = |name: &str, script: &str| {
        let mut config = world.container_config(name, &["/bin/sh", "-c", script]);
        config.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
        config
    };
    let a = world.start(&sandbox, &shared("a", "sleep 1001; true")).await;
    let b = world.start(&sandbox, &shared("b", "(sleep 0.01 &) ; sleep 1002; true")).await;
    let text = world.exec_text(&a, "busybox ps -o pid,args").await;
    assert!(text.contains("sleep 1001") && text.contains("sleep 1002"), "{text}");
    world.runtime.stop_container(&b, 0).await.unwrap();
    let text = world.exec_text(&a, "busybox ps -o stat,args").await;
    assert!(!text.contains("sleep 1002") && !text.contains("\nZ"), "{text}");
    assert_eq!(world.runtime.container_status(&b).await.unwrap().exit_code, 137);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_groups_come_from_the_image_and_the_pod() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let mut config = world.container_config("main", &["/bin/sleep", "1000"]);
    config.linux.security_context.run_as_user = Some(33);
    config.linux.security_context.supplemental_groups = vec![1234];
    config.linux.security_context.no_new_privs = true;
    let id = world.start(&sandbox, &config).await;
    assert_eq!(world.exec_text(&id, "id -u; id -g; id -G").await, "33\n34\n34 50 1234");
    let status = "busybox grep -E 'CapEff|NoNew' /proc/1/status | busybox tr -d '\\t'";
    assert_eq!(world.exec_text(&id, status).await, "CapEff:0000000000000000\nNoNewPrivs:1");
    let user = world.runtime.container_status(&id).await.unwrap().user.unwrap();
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (33, 34, vec![34, 50, 1234]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_says_why() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    for (name, command, expected) in [
        ("none", "/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("path", "nothere", "exec: \"nothere\": executable file not found in $PATH"),
        ("file", "/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("directory", "/etc", "exec: \"/etc\": is a directory"),
    ] {
        let config = world.container_config(name, &[command]);
        let created = world.create(&sandbox, &config);
        let id = created.await;
        let error = world.runtime.start_container(&id).await.unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
        let status = world.runtime.container_status(&id).await.unwrap();
        assert_eq!(status.state, ContainerState::Exited);
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.ends_with(expected), "{}", status.message);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_first_and_kills_later() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let polite = "trap 'echo bye; exit 5' TERM; echo ready; while true; do sleep 0.1; done";
    let id = world.run(&sandbox, "polite", polite).await;
    support::until("it listens", || world.log_text("polite.log") == "ready").await;
    world.runtime.stop_container(&id, 30).await.unwrap();
    let status = world.runtime.container_status(&id).await.unwrap();
    assert_eq!(status.exit_code, 5);
    assert_eq!(world.log_text("polite.log"), "ready\nbye");
    let id = world.run(&sandbox, "deaf", "trap '' TERM; sleep 1000").await;
    let begin = std::time::Instant::now();
    world.runtime.stop_container(&id, 1).await.unwrap();
    assert!(begin.elapsed().as_secs_f32() >= 1.0);
    let status = world.runtime.container_status(&id).await.unwrap();
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    world.runtime.stop_container(&id, 1).await.unwrap();
    world.runtime.stop_container("unknown", 1).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_done_twice_and_nothing_is_left() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let again = world.runtime.run_pod_sandbox(&world.sandbox_config("pod"), "").await;
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    let id = world.run(&sandbox, "main", "sleep 1000").await;
    let config = world.container_config("main", &["/bin/true"]);
    let again = world.runtime.create_container(&sandbox, &config, &Default::default()).await;
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    for _ in 0..2 {
        world.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    }
    let status = world.runtime.pod_sandbox_status(&sandbox).await.unwrap();
    assert_eq!(status.status.state, PodSandboxState::NotReady);
    assert_eq!(status.containers_statuses[0].exit_code, 137);
    for _ in 0..2 {
        world.runtime.remove_container(&id).await.unwrap();
        world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    }
    assert!(world.runtime.container_status(&id).await.unwrap_err().is_not_found());
    assert!(world.runtime.pod_sandbox_status(&sandbox).await.unwrap_err().is_not_found());
    world.check_nothing_is_left();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_the_story() {
    use futures::StreamExt;
    let world = World::new().await;
    let mut events = world.runtime.events().await.unwrap();
    let sandbox = world.sandbox("pod").await;
    let id = world.run(&sandbox, "main", "true").await;
    world.wait(&id).await;
    world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    use ContainerEventType::{Created, Deleted, Started, Stopped};
    let mut of_container = Vec::new();
    let mut of_sandbox = Vec::new();
    while of_sandbox.last() != Some(&Deleted) {
        let event = events.next().await.unwrap();
        assert_eq!((event.pod_uid.as_str(), &event.pod_sandbox_id), ("uid-pod", &sandbox));
        let list = if event.container_id == id { &mut of_container } else { &mut of_sandbox };
        list.push(event.event_type);
    }
    assert_eq!(of_container, [Created, Started, Stopped, Deleted]);
    assert_eq!(of_sandbox, [Created, Started, Deleted]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_mounted_as_asked() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let host = world.directory.path().join("volume");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("file"), "from the host").unwrap();
    let mount = |path: &str, readonly| Mount {
        container_path: path.to_owned(),
        host_path: host.display().to_string(),
        readonly,
        ..Mount::default()
    };
    let mut config = world.container_config("main", &["/bin/sleep", "1000"]);
    config.mounts = vec![
        mount("/data", false),
        mount("/fixed", true),
        Mount { recursive_read_only: true, ..mount("/deep/inside", true) },
    ];
    config.linux.security_context.readonly_rootfs = true;
    let id = world.start(&sandbox, &config).await;
    assert_eq!(
        world.exec_text(&id, "cat /data/file /fixed/file").await,
        "from the hostfrom the host"
    );
    assert_eq!(world.exec_text(&id, "echo new > /data/new && cat /deep/inside/new").await, "new");
    assert_eq!(std::fs::read_to_string(host.join("new")).unwrap(), "new\n");
    for path in ["/fixed/x", "/deep/inside/x", "/x"] {
        assert_ne!(world.exec(&id, &format!("echo > {path}")).await.exit_code, 0, "{path}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seccomp_confines_as_asked() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let strict = world.directory.path().join("strict.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;
    std::fs::write(&strict, text).unwrap();
    let profile = |profile_type, localhost_ref: &str| {
        Some(SecurityProfile { profile_type, localhost_ref: localhost_ref.to_owned() })
    };
    let cases = [
        ("none", None, "0", "made"),
        ("default", profile(ProfileType::RuntimeDefault, ""), "2", "made"),
        ("strict", profile(ProfileType::Localhost, &strict.display().to_string()), "2", "denied"),
    ];
    for (name, seccomp, mode, made) in cases {
        for no_new_privs in [false, true] {
            let name = format!("{name}-{no_new_privs}");
            let mut config = world.container_config(&name, &["/bin/sleep", "1000"]);
            config.linux.security_context.seccomp = seccomp.clone();
            config.linux.security_context.no_new_privs = no_new_privs;
            let id = world.start(&sandbox, &config).await;
            let script = "busybox grep Seccomp: /proc/1/status | busybox cut -f2; \
                          busybox mkdir /tmp/d 2>/dev/null && echo made || echo denied";
            assert_eq!(world.exec_text(&id, script).await, format!("{mode}\n{made}"), "{name}");
            let unshare = world.exec(&id, "busybox unshare -m true").await.exit_code;
            assert_ne!(unshare, 0, "{name}");
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn privileged_containers_may_do_everything() {
    let world = World::new().await;
    let sandbox = world.sandbox("pod").await;
    let mut config = world.container_config("main", &["/bin/sleep", "1000"]);
    config.linux.security_context.privileged = true;
    config.linux.security_context.seccomp = Some(SecurityProfile::default());
    let id = world.start(&sandbox, &config).await;
    assert_eq!(world.exec_text(&id, "mount -t tmpfs x /tmp && echo mounted").await, "mounted");
    assert_eq!(world.exec_text(&id, "busybox grep Seccomp: /proc/1/status").await, "Seccomp:\t0");
    assert_eq!(
        world.exec_text(&id, "busybox test -w /proc/sys/kernel && echo writable").await,
        "writable"
    );
    world.end().await;
}
