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
/// Idempotency keys removed in one commit, beside two for each payment of it.
pub const EXPIRE_PER_COMMIT: usize = 16;
/// Notifications waiting to be delivered; more are counted and forgotten.
pub const NOTIFY_QUEUE: usize = 4096;
/// How long the fraud check may take before a payment goes on without it.
pub const FRAUD_TIMEOUT: Duration = Duration::from_millis(500);
/// Passwords checked at once: each takes a core and 19 MiB for a while.
pub const LOGINS_AT_ONCE: usize = 2;
/// Recounts of the ledger at once.
pub const RECOUNTS_AT_ONCE: usize = 1;
/// The most payments on one page.
pub const MAX_PAGE: usize = 100;
/// Payments on a page when nothing is asked.
pub const DEFAULT_PAGE: usize = 10;

/// Validity of an access token, in seconds.
pub const ACCESS_TOKEN_S: u64 = 15 * 60;
/// Validity of a refresh token, in seconds.
pub const REFRESH_TOKEN_S: u64 = 7 * 24 * 3600;

/// Memory for blocks read back from disk, in bytes.
pub const STORE_CACHE_BYTES: u64 = 64 << 20;
/// Rows of one keyspace held in memory before they are written out sorted, in bytes. The store
/// frees them under a lock that commits need: at 16 MiB that held up every payment by 50 to 80 ms,
/// at 4 MiB by 20 to 35 (10,000 payments/s on two cores).
pub const MEMTABLE_BYTES: u64 = 4 << 20;
/// The store's journals on disk, in bytes; what recovery may have to read.
pub const JOURNAL_BYTES: u64 = 128 << 20;
