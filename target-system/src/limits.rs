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
/// Notifications waiting to be delivered; more are counted and forgotten.
pub const NOTIFY_QUEUE: usize = 4096;
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
/// Passwords checked at once: each takes a core and 19 MiB for a while.
pub const LOGINS_AT_ONCE: usize = 2;
/// Recounts of the ledger at once.
pub const RECOUNTS_AT_ONCE: usize = 1;
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
