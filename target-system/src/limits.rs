//! Every bound of the service that is not a setting, by name.

use std::time::Duration;

/// The most accounts; ids have eight digits.
pub const MAX_ACCOUNTS: usize = 99_999_999;
/// The greatest amount of one payment or opening balance, in minor units: one below 10¹², so
/// that no sum of 10⁶ of them leaves an `i64`.
pub const MAX_AMOUNT: i64 = 999_999_999_999;
/// The longest `Idempotency-Key`, in bytes, as Stripe has it.
pub const MAX_KEY_BYTES: usize = 255;
/// The longest user name, in bytes. It is part of every key that the user takes.
pub const MAX_SUBJECT_BYTES: usize = 64;
/// The shortest bearer token from the environment, in bytes.
pub const MIN_TOKEN_BYTES: usize = 16;

/// The largest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// The largest head of a request, in bytes: request line and headers.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most headers of a request.
pub const MAX_HEADERS: usize = 64;
/// Connections of the admin port.
pub const MAX_ADMIN_CONNECTIONS: usize = 16;
/// How long the accept loop rests when the process is out of file descriptors.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The most payments of one commit.
pub const MAX_BATCH: usize = 4096;
/// Parts of an account that are locked one by one, where balances are striped: its own row and others. As many as
/// a service has connections, nearly, so that payments of one account seldom wait for each other; and few enough to be
/// taken all at once.
pub const STRIPES: usize = 16;
/// What one of them may hold after it was paid alone: so far below an `i64` that all of them together fit in one.
pub const STRIPE_MOST: i64 = i64::MAX / (2 * STRIPES as i64);
/// How long a start that changes how a database keeps balances waits until no other process uses it.
pub const LAYOUT_WAIT: Duration = Duration::from_secs(3);
/// How often it looks meanwhile.
pub const LAYOUT_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Orders that may wait under the naive profile: more than memory should be asked to hold.
pub const NAIVE_QUEUE: u32 = 1_000_000;
/// Calls to a dependency at once under the naive profile.
pub const NAIVE_CALLS: u16 = 1024;
/// Payments that may be under way however slowly they are completed.
pub const ADMISSION_FLOOR: usize = 1024;
/// How often the rate of completion is taken.
pub const ADMISSION_TICK: Duration = Duration::from_millis(100);
/// How often the process's own strain is read.
pub const STRAIN_TICK: Duration = Duration::from_secs(1);
/// Readings in a row that take the process out of traffic, or back.
pub const STRAIN_READINGS: u32 = 3;
/// The share of a limit below which the process is relieved.
pub const STRAIN_RELIEF: f64 = 0.9;
/// Idempotency keys removed in one commit, beside two for each payment of it.
pub const EXPIRE_PER_COMMIT: usize = 16;
/// Notices of one priority that wait in this process; more are counted and forgotten.
pub const NOTIFY_QUEUE: usize = 4096;
/// Notices of one priority that wait in this process to be tried again; more become dead letters.
pub const NOTIFY_RETRIES: usize = 4096;
/// Notices that a worker takes at once.
pub const NOTIFY_AT_ONCE: usize = 256;
/// Dead letters that are kept in this process; the oldest go first.
pub const DEAD_LETTERS: usize = 1024;
/// Ids of delivered notices that a worker process remembers: some 3 MB.
pub const SEEN_NOTICES: usize = 1 << 16;
/// How long notices that wait in this process may delay its end.
pub const LAST_NOTICES: Duration = Duration::from_secs(1);
/// How long the fraud check may take before a payment goes on without it.
pub const FRAUD_TIMEOUT: Duration = Duration::from_millis(500);
/// Payers whose daily totals are known; those beyond it are judged by the amount alone. Some 8 MB.
pub const MAX_DAILY_TOTALS: usize = 256 << 10;
/// How long a connection to another service is kept without use: less than that service keeps it.
pub const PEER_IDLE: Duration = Duration::from_secs(30);
/// The longest pause before a retry.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Authorisations that are being taken back; more lapse by themselves.
pub const MAX_VOIDS: usize = 256;
/// How long taking back an authorisation may take.
pub const VOID_TIME: Duration = Duration::from_secs(5);
/// How long a request to the fraud service or the network may take there.
pub const ROLE_REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// After how long without a whole request head those close a connection.
pub const ROLE_HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long those wait for requests under way when they drain.
pub const ROLE_DRAIN: Duration = Duration::from_secs(10);
/// What the fraud service computes before it lets other requests have their turn.
pub const SCORING_SLICE: Duration = Duration::from_micros(500);
/// The longest latency of the network's stand-in.
pub const LONGEST_LATENCY: Duration = Duration::from_secs(60);
/// Spans that wait to be sent; more are counted and forgotten.
pub const SPANS_QUEUED: usize = 4096;
/// Spans that are sent together.
pub const SPANS_AT_ONCE: usize = 512;
/// How long spans wait for others to be sent with.
pub const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take for what is sent together.
pub const EXPORT_TIME: Duration = Duration::from_secs(5);
/// How long the end waits until the last spans are sent.
pub const LAST_SPANS: Duration = Duration::from_secs(1);
/// Passwords checked at once: each takes a core and 19 MiB for a while.
pub const LOGINS_AT_ONCE: usize = 2;
/// Recounts of the ledger at once, and audits without one.
pub const AUDITS_AT_ONCE: usize = 1;
/// The most payments on one page.
pub const MAX_PAGE: usize = 100;
/// Payments on a page when nothing is asked.
pub const DEFAULT_PAGE: usize = 10;

/// The longest secret in a file, in bytes.
pub const MAX_SECRET_BYTES: u64 = 16 * 1024;
/// The most users.
pub const MAX_USERS: usize = 1000;
/// The largest file of users, in bytes.
pub const MAX_USERS_FILE_BYTES: u64 = 1 << 20;
/// The most accounts and ranges of accounts of one user.
pub const MAX_ACCOUNT_RANGES: usize = 1000;
/// Logins of one user; beyond them the oldest ends.
pub const MAX_LOGINS_OF_USER: usize = 1024;
/// The longest signed token, in bytes.
pub const MAX_JWT_BYTES: usize = 1024;
/// How long a refresh token that was taken may be shown again, in seconds: its answer may have been lost.
pub const REFRESH_GRACE_S: u64 = 10;
/// TLS handshakes at once; who comes beyond them is hung up on.
pub const TLS_HANDSHAKES: usize = 256;
/// How long one may take.
pub const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The largest file with certificates or a key, in bytes.
pub const MAX_PEM_BYTES: u64 = 1 << 20;
/// Years from now that a card may be good for.
pub const MAX_CARD_YEARS: u16 = 20;

/// Validity of an access token, in seconds.
pub const ACCESS_TOKEN_S: u64 = 15 * 60;
/// How long a login can be refreshed, in seconds.
pub const REFRESH_TOKEN_S: u64 = 7 * 24 * 3600;

/// One segment of the journal, in bytes: what a commit may go beyond once.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Idempotency keys that a segment of the journal says something about, one for each payment. In
/// memory that is some 30 MB, and there are three segments at most: two full ones that wait to be
/// moved to the store's tables, and the one that fills. When that is full too, commits wait.
pub const SEGMENT_PAYMENTS: usize = 128 << 10;
/// Tables of one keyspace that wait to be merged before the next segment waits for them.
pub const MAX_UNMERGED_TABLES: usize = 24;
/// Memory for blocks read back from disk, in bytes.
pub const STORE_CACHE_BYTES: u64 = 64 << 20;
/// Files that the store keeps open.
pub const STORE_FILES: usize = 512;
/// File descriptors for whatever is neither a connection nor a file of the store.
pub const OTHER_FILES: usize = 64;
/// Rows of one keyspace that the store holds in memory before they are written out sorted, in
/// bytes. Only counters and declines take this way.
pub const MEMTABLE_BYTES: u64 = 4 << 20;
/// The store's own journals on disk, in bytes.
pub const STORE_JOURNAL_BYTES: u64 = 64 << 20;

/// How often a replica's lag is measured.
pub const REPLICA_PROBE_EVERY: Duration = Duration::from_secs(1);
/// How often a replica that is measured is asked whether it has replayed what the primary had.
pub const REPLICA_LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the measuring of a lag may take beyond the greatest lag.
pub const REPLICA_PROBE_LIMIT: Duration = Duration::from_millis(500);
/// For how long a replica is asked without a new measurement.
pub const REPLICA_FIT_FOR: Duration = Duration::from_secs(3);
/// Good measurements in succession until a replica that was left out is asked again.
pub const REPLICA_GOOD_PROBES: u32 = 3;
/// How long a replica may take to give a connection, and to answer, before the primary is asked.
pub const REPLICA_READ: Duration = Duration::from_millis(250);
/// Accounts that a process remembers as changed of late, in each of two maps. When there are more,
/// all accounts are read from the primary for a while.
pub const RECENT_ACCOUNTS: usize = 100_000;

/// For how long a process may answer from the cache after it has seen that its epoch is the current one, and
/// how long a payment waits that not everybody could be told of.
pub const CACHE_LEASE: Duration = Duration::from_millis(500);
/// How often a process sees to that.
pub const CACHE_RENEW_EVERY: Duration = Duration::from_millis(100);
/// How long the database may take to say, to begin or to end an epoch.
pub const CACHE_DATABASE: Duration = Duration::from_secs(2);
/// Connections to the database for epochs and lags, beside those of payments.
pub const SIDE_CONNECTIONS: usize = 2;
/// How long all processes may take to say that they have heard of a payment.
pub const TELL_LIMIT: Duration = Duration::from_millis(250);
/// How long a payment waits for this process to take part in an epoch that others have begun.
pub const SESSION_WAIT: Duration = Duration::from_millis(100);
/// How long a start waits for the cache.
pub const SESSION_START: Duration = Duration::from_secs(1);
/// How long a process that leaves the cache goes on to say that it hears.
pub const CACHE_LINGER: Duration = Duration::from_millis(250);
/// The pause before a process takes part in the cache again.
pub const CACHE_REJOIN: Duration = Duration::from_millis(250);
/// The same, when epochs end soon again and again.
pub const CACHE_REJOIN_MOST: Duration = Duration::from_secs(10);
/// An epoch that has lasted so long did not end soon.
pub const CACHE_STEADY: Duration = Duration::from_secs(1);
/// Processes that may say at once that they have heard of a payment.
pub const CACHE_HOLDERS: usize = 256;
/// Parts that accounts are divided into, each with a lock.
pub const CACHE_STRIPES: usize = 4096;
/// How long a read waits for another one of the same account.
pub const FLIGHT_WAIT: Duration = Duration::from_millis(250);
/// For how long a process may put an account into Redis after it has found that it is not there.
pub const FILL_RIGHT: Duration = Duration::from_secs(1);
/// How long others wait for that.
pub const FILL_WAIT: Duration = Duration::from_millis(50);
/// How often others look whether an account was put into Redis.
pub const FILL_LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long Redis may take to answer.
pub const REDIS_ANSWER: Duration = Duration::from_millis(250);
/// How long a connection to Redis may take.
pub const REDIS_CONNECT: Duration = Duration::from_secs(1);
/// Messages from Redis that wait; with more the connection is given up.
pub const REDIS_PUSHES: usize = 1024;
/// Payments whose accounts are the most active.
pub const WARM_PAYMENTS: i64 = 10_000;

/// Databases that accounts are divided among.
pub const MAX_SHARDS: u16 = 64;
/// Numbers of payments that each of them has: the n-th gives those from n times as many on.
pub const NUMBERS_OF_A_SHARD: u64 = 10_000_000_000_000;
/// Payments between databases that a process carries through at once; more are shed.
pub const MAX_TRANSFERS: usize = 4096;
/// Accounts whose currency a process remembers; of others it has to be asked before each payment.
pub const KNOWN_ACCOUNTS: u64 = 100_000;
/// For how long.
pub const KNOWN_FOR: Duration = Duration::from_secs(60);
/// A payee that holds more is asked about before each payment from another database. What is left up to the range of an
/// `i64` cannot be paid in [`KNOWN_FOR`].
pub const WEALTHY: i64 = i64::MAX / 2;
/// Finished payments between databases whose marks wait to be removed; the marks of more are found by the recovery.
pub const FINISHED_QUEUED: usize = 65_536;
/// Marks that are removed, or recovered, in one transaction.
pub const TRANSFERS_AT_ONCE: usize = 1000;
/// How far the clocks of two databases may be apart.
pub const CLOCKS_APART: Duration = Duration::from_secs(24 * 3600);
/// For how long whose a key is is known beyond the key itself.
pub const HOME_MARGIN: Duration = Duration::from_secs(24 * 3600);
/// How often such payments are looked for.
pub const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// Marks that are counted; beyond them a count says no more.
pub const TRANSFERS_COUNTED: i64 = 1_000_000;
/// Numbers of accounts that are drawn at once for a new account of one database.
pub const NUMBERS_DRAWN: i32 = 256;
/// Accounts that are opened by one statement at start.
pub const OPENED_AT_ONCE: usize = 100_000;
/// Payments that one side knows and the other does not, while both are read: more cannot be under way.
pub const MAX_UNMATCHED: usize = 100_000;
