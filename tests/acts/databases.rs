//! Databases, caches and queues.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use squall_chaos::acts::order::{Answer, Target, Why};
use squall_record::clock::Clock;
use squall_record::fault::{Delay, Effect};

use crate::containers::{Container, left_out};
use crate::guard::{Guard, heal};
use crate::harness::{stdout, told, wait_for};
use crate::nats::Nats;
use crate::place::{Kind, Place};
use crate::redis::Redis;
use crate::server::Server;

/// Whether a server of this kind would need an engine that is not to be used.
fn leave_out(kind: Kind) -> bool {
    std::env::var_os("STACK_TESTS").is_some_and(|v| v == "no")
        && kind.place() == Place::Container
        && left_out()
}

fn postgres() -> Vec<Target> {
    vec![Target::Postgres { url_env: "TEST_POSTGRES".to_owned() }]
}

fn redis() -> Vec<Target> {
    vec![Target::Redis { url_env: "TEST_REDIS".to_owned() }]
}

/// Sessions of squall's at the server.
fn sessions(server: &Server) -> String {
    server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'squall chaos'").unwrap()
}

/// A Postgres with a table of ten rows.
pub fn till(folder: &Path) -> Server {
    let server = Server::start(folder);
    server.sql("CREATE TABLE till (id int PRIMARY KEY, n int)").unwrap();
    server.sql("INSERT INTO till SELECT n, 0 FROM generate_series(1, 10) n").unwrap();
    server
}

/// The first row, if nobody has locked it.
pub fn can_lock(server: &Server) -> bool {
    server.sql("SELECT id FROM till ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED").unwrap() == "1"
}

#[test]
fn a_postgres_is_free_again_when_the_guard_is_left_alone_and_also_when_it_is_killed() {
    if leave_out(Kind::Postgres) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = till(folder.path());
    let url = server.url();
    let env = [("TEST_POSTGRES", url.as_str())];
    let lock = || Effect::RowLock { table: "till".to_owned(), rows: 3 };
    for killed in [false, true] {
        let mut guard = Guard::start(folder.path(), &env);
        guard.begin("lock", lock(), postgres(), 60_000).unwrap();
        guard.begin("slow", Effect::SlowQueries { sessions: 2 }, postgres(), 60_000).unwrap();
        guard.begin("starve", Effect::Starve { connections: 5 }, postgres(), 60_000).unwrap();
        assert!(!can_lock(&server));
        // Longer than the server would wait for one that is gone.
        std::thread::sleep(Duration::from_millis(if killed { 0 } else { 2300 }));
        assert!(!can_lock(&server), "the lock is held");
        assert!(sessions(&server).parse::<u32>().unwrap() >= 7, "{}", sessions(&server));
        if killed {
            guard.kill();
        } else {
            guard.left_alone();
        }
        let clock = Clock::start();
        wait_for("the lock to go", || can_lock(&server).then_some(()));
        wait_for("the sessions to go", || (sessions(&server) == "0").then_some(()));
        assert!(clock.now_s() < 4.0, "{} s", clock.now_s());
    }
    let mut guard = Guard::start(folder.path(), &env);
    let starved = guard.begin("starve", Effect::Starve { connections: 500 }, postgres(), 60_000).unwrap();
    assert!(starved.contains("of 500, and gets no more"), "{starved}");
    guard.end("starve");
    wait_for("room", || server.sql("SELECT 1"));
    let other = server.hold("SELECT 1");
    let ended = guard.begin("end", Effect::TerminateBackends { every_ms: 50 }, postgres(), 60_000).unwrap();
    // Who asked before may not be gone quite yet, and counts too.
    assert!(ended.starts_with("closed ") && !ended.starts_with("closed 0 "), "{ended}");
    drop(other);
    guard.end("end");
    let none = Effect::RowLock { table: "none; DROP TABLE till".to_owned(), rows: 1 };
    let none = guard.begin("none", none, postgres(), 1000).unwrap_err();
    assert!(none.contains("there is no table") || none.contains("look for the table"), "{none}");
    assert!(!none.contains(crate::server::PASSWORD));
    let primary = guard.begin("lag", Effect::ReplicaLag, postgres(), 1000).unwrap_err();
    assert!(primary.contains("no replica"), "{primary}");
}

#[test]
fn a_lock_that_the_server_takes_back_is_a_fault_that_is_over_and_said_so() {
    if leave_out(Kind::Postgres) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = till(folder.path());
    let url = server.url();
    let mut guard = Guard::start(folder.path(), &[("TEST_POSTGRES", url.as_str())]);
    let lock = Effect::RowLock { table: "till".to_owned(), rows: 3 };
    for (name, effect) in [("lock", lock), ("starve", Effect::Starve { connections: 3 })] {
        guard.begin(name, effect, postgres(), 60_000).unwrap();
        server
            .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'squall chaos'")
            .unwrap();
        let heard = guard.hear();
        assert!(
            matches!(&heard, Answer::Ended { why: Why::Lost, failed, .. } if failed.is_empty()),
            "{heard:?}"
        );
    }
}

#[test]
fn a_failover_ends_the_primary_for_good_and_makes_the_replica_one() {
    if leave_out(Kind::Postgres) || left_out() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let primary = Server::start(folder.path());
    let replica = primary.replica(folder.path());
    // What squall stops is a container, whichever the primary runs in.
    let holds = Container::start("primary");
    let (old, new) = (primary.url(), replica.url());
    let env = [("TEST_PRIMARY", old.as_str()), ("TEST_REPLICA", new.as_str())];
    let mut guard = Guard::start(folder.path(), &env);
    let database = |url_env: &str| Target::Postgres { url_env: url_env.to_owned() };
    let failover = || Effect::Failover { replica: "replica".to_owned() };
    let both = || vec![database("TEST_PRIMARY"), database("TEST_REPLICA")];
    let alone = guard.begin("alone", failover(), both(), 60_000).unwrap_err();
    assert!(alone.contains("container of its stack"), "{alone}");
    assert_eq!(replica.sql("SELECT pg_is_in_recovery()").unwrap(), "t");
    let all = [both(), holds.target()].concat();
    let done = guard.begin("failover", failover(), all.clone(), 60_000).unwrap();
    assert!(done.contains("is a primary now"), "{done}");
    assert_eq!(replica.sql("SELECT pg_is_in_recovery()").unwrap(), "f");
    assert_eq!(guard.end("failover"), [""; 0], "there is no way back");
    assert_eq!(holds.status(), "exited");
    let again = guard.begin("again", failover(), all, 60_000).unwrap_err();
    assert!(again.contains("it follows nobody"), "{again}");
}

#[test]
fn a_replica_follows_again_also_after_its_guard_was_killed() {
    if leave_out(Kind::Postgres) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let primary = Server::start(folder.path());
    let replica = primary.replica(folder.path());
    let url = replica.url();
    let env = [("TEST_POSTGRES", url.as_str())];
    let paused = || replica.sql("SELECT pg_is_wal_replay_paused()").unwrap() == "t";
    let mut guard = Guard::start(folder.path(), &env);
    guard.begin("lag", Effect::ReplicaLag, postgres(), 60_000).unwrap();
    assert!(paused());
    guard.left_alone();
    assert!(!paused());

    let mut guard = Guard::start(folder.path(), &env);
    guard.begin("lag", Effect::ReplicaLag, postgres(), 60_000).unwrap();
    guard.kill();
    assert!(paused());
    let without = heal(folder.path(), &[], &[]);
    assert_eq!(without.status.code(), Some(1), "{}", told(&without));
    assert!(stdout(&without).contains("set TEST_POSTGRES to the replica's URL"), "{}", told(&without));
    let healed = heal(folder.path(), &[], &env);
    assert!(healed.status.success(), "{}", told(&healed));
    assert!(!paused());
    assert!(stdout(&heal(folder.path(), &[], &env)).contains("nothing is left"));
}

#[test]
fn a_redis_has_its_password_again_and_answers() {
    if leave_out(Kind::Redis) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Redis::start(folder.path());
    let url = server.url();
    let env = [("TEST_REDIS", url.as_str())];
    let answers = || server.ask(&["PING"]).as_deref() == Some("PONG");
    let mut guard = Guard::start(folder.path(), &env);
    guard.begin("password", Effect::WrongPassword, redis(), 60_000).unwrap();
    assert!(!answers());
    guard.left_alone();
    assert!(answers());

    let mut guard = Guard::start(folder.path(), &env);
    guard.begin("password", Effect::WrongPassword, redis(), 60_000).unwrap();
    guard.kill();
    assert!(!answers());
    let journal = std::fs::read_dir(folder.path().join("faults")).unwrap().next().unwrap().unwrap().path();
    assert!(!std::fs::read_to_string(journal).unwrap().contains(&url), "a journal holds no URL");
    let healed = heal(folder.path(), &[], &env);
    assert!(healed.status.success() && answers(), "{}", told(&healed));

    for n in 0..300 {
        server.ask(&["SET", &format!("key-{n}"), "x"]).unwrap();
    }
    let mut guard = Guard::start(folder.path(), &env);
    guard.begin("evict", Effect::Evict { keys: 50, every_ms: 3_600_000 }, redis(), 60_000).unwrap();
    let left: u32 = server.ask(&["DBSIZE"]).unwrap().parse().unwrap();
    assert!((200..300).contains(&left), "{left}");
    guard.begin("flush", Effect::Flush, redis(), 60_000).unwrap();
    assert_eq!(server.ask(&["DBSIZE"]).as_deref(), Some("0"));
    guard.begin("hang", Effect::Hang, redis(), 60_000).unwrap();
    let clock = Clock::start();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| (server.ask(&["PING"]), clock.now_s()));
        // Several times as long as it stands still by itself.
        std::thread::sleep(Duration::from_millis(1600));
        guard.kill();
        let (_, took_s) = asked.join().unwrap();
        assert!(took_s > 1.5, "it answered after {took_s} s");
    });
    wait_for("it to answer again", || answers().then_some(()));
    let mut guard = Guard::start(folder.path(), &env);
    let took_s = || {
        let clock = Clock::start();
        (0..20).for_each(|_| drop(server.ask(&["PING"]).unwrap()));
        clock.now_s()
    };
    let usual_s = took_s();
    let latency = Effect::Latency { delay: Delay::Fixed { ms: 100.0 } };
    guard.begin("latency", latency, redis(), 60_000).unwrap();
    // A machine that is busy with something else may take its time to pause it again.
    wait_for("twenty that take longer", || (took_s() > usual_s + 0.2).then_some(()));
    guard.end("latency");
    assert!(answers());
}

/// The name of whoever the server has dropped for being slow shows in what it says of itself to a client; here it is enough
/// that the subscription is there, and gone with the guard.
#[test]
fn a_slow_consumer_is_gone_with_its_guard() {
    if leave_out(Kind::Nats) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Nats::start(folder.path());
    let url = server.url();
    let mut guard = Guard::start(folder.path(), &[("TEST_NATS", &url)]);
    let targets = || vec![Target::Nats { url_env: "TEST_NATS".to_owned() }];
    guard.begin("slow", Effect::SlowConsumer, targets(), 60_000).unwrap();
    // With `no_responders` the server says when nobody has subscribed to what is asked.
    assert!(!nobody_listens(&url));
    guard.left_alone();
    wait_for("it to be gone", || nobody_listens(&url).then_some(()));
    let mut guard = Guard::start(folder.path(), &[("TEST_NATS", "nats://payments:wrong@127.0.0.1:1")]);
    let refused = guard.begin("slow", Effect::SlowConsumer, targets(), 1000).unwrap_err();
    assert!(!refused.contains("wrong"), "{refused}");
}

pub fn nobody_listens(url: &str) -> bool {
    let (_, at) = url.rsplit_once('@').unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let connect =
        r#"{"verbose":false,"headers":true,"no_responders":true,"user":"payments","pass":"hunter2@nats"}"#;
    write!(stream, "CONNECT {connect}\r\nSUB answers 1\r\nPUB till answers 0\r\n\r\nPING\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    // One that listens to everything hears this, too, and does not answer.
    lines.take(10).any(|line| line.starts_with("HMSG answers"))
}
