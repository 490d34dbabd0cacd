//! A network for members of etcd: each in a namespace of its own, a router between them, and rules in the
//! router that lose what one sends to another. Nobody is told of a loss. Needs root, `ip` and `nsenter`.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Somebody in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// The test itself.
    Client,
    Member(usize),
}

/// See the module's documentation. Dropping it removes everything.
pub(crate) struct Network {
    name: String,
    subnet: String,
    members: usize,
    /// Who loses what they send, and to whom, as the router's rules say it.
    lost: Mutex<Vec<(String, String)>>,
}

impl Network {
    pub(crate) fn new(members: usize) -> Self {
        let (process, count) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let subnet = format!("10.{}.{}", 192 + process % 32, (process / 32 + count) % 250);
        let network =
            Self { name: format!("se{process}n{count}"), subnet, members, lost: Mutex::default() };
        let router = network.router();
        run(&["ip", "netns", "add", &router]);
        network.inside(&router, &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        for at in 0..members {
            let space = network.space(at);
            run(&["ip", "netns", "add", &space]);
            run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
            network.link(Some(&space), Party::Member(at));
        }
        network.link(None, Party::Client);
        network
    }

    fn router(&self) -> String {
        format!("{}r", self.name)
    }

    fn space(&self, at: usize) -> String {
        format!("{}m{at}", self.name)
    }

    /// The last digits of the router's and of the party's end of the link between them.
    fn ends(&self, party: Party) -> (usize, usize) {
        let number = match party {
            Party::Member(at) => at,
            Party::Client => self.members,
        };
        (number * 4 + 1, number * 4 + 2)
    }

    /// A party's address.
    pub(crate) fn address(&self, party: Party) -> String {
        format!("{}.{}", self.subnet, self.ends(party).1)
    }

    /// Links a party to the router; its namespace is the test's own when none is named.
    fn link(&self, space: Option<&str>, party: Party) {
        let (router, subnet) = (self.router(), &self.subnet);
        let (near, far) = self.ends(party);
        let (inner, outer) = (format!("{}p{near}", self.name), format!("{}l", self.name));
        run(&["ip", "link", "add", &outer, "type", "veth", "peer", "name", &inner]);
        run(&["ip", "link", "set", &inner, "netns", &router]);
        let near = format!("{subnet}.{near}");
        run(&["ip", "-n", &router, "addr", "add", &format!("{near}/30"), "dev", &inner]);
        run(&["ip", "-n", &router, "link", "set", &inner, "up"]);
        let there = |arguments: &[&str]| {
            let space = space.map(|space| ["-n", space]);
            let before = ["ip"].into_iter().chain(space.into_iter().flatten());
            run(&before.chain(arguments.iter().copied()).collect::<Vec<_>>());
        };
        if let Some(space) = space {
            run(&["ip", "link", "set", &outer, "netns", space]);
        }
        there(&["addr", "add", &format!("{subnet}.{far}/30"), "dev", &outer]);
        there(&["link", "set", &outer, "up"]);
        there(&["route", "add", &format!("{subnet}.0/24"), "via", &near]);
    }

    fn inside(&self, space: &str, arguments: &[&str]) {
        let space = format!("--net=/run/netns/{space}");
        run(&[&["nsenter", &space, "--"], arguments].concat());
    }

    /// A program, to be run by a member.
    pub(crate) fn command(&self, at: usize, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.space(at))).arg("--").arg(program);
        command
    }

    /// Loses what the first of each pair sends to the second.
    pub(crate) fn lose(&self, pairs: &[(Party, Party)]) {
        for (from, to) in pairs {
            let (from, to) = (self.address(*from), self.address(*to));
            self.rule("add", &from, &to);
            self.lost.lock().unwrap().push((from, to));
        }
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&self) {
        for (from, to) in self.lost.lock().unwrap().drain(..) {
            self.rule("delete", &from, &to);
        }
    }

    /// A rule of the router's that comes before every route.
    fn rule(&self, what: &str, from: &str, to: &str) {
        let router = self.router();
        run(&["ip", "-n", &router, "rule", what, "from", from, "to", to, "blackhole"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Links go with the namespaces at one end of them.
        let spaces = (0..self.members).map(|at| self.space(at)).chain([self.router()]);
        for space in spaces.collect::<Vec<_>>() {
            let _gone = Command::new("ip").args(["netns", "delete", &space]).status();
        }
        let outer = format!("{}l", self.name);
        let mut removed = Command::new("ip");
        removed.args(["link", "delete", &outer]).stderr(Stdio::null());
        let _gone = removed.status();
    }
}

fn run(arguments: &[&str]) {
    let done = Command::new(arguments[0]).args(&arguments[1..]).output();
    let done = done.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
}
