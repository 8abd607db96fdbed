-- One payment, whole, out of one stripe and into one that nobody holds: key $1, payer $2, payee $3, amount $4, currency
-- $5, whether to write a notice $6, what the payee's stripe may hold before $7, where the notice's spans belong $8.
--
-- It waits for no stripe, but for one moment: SKIP LOCKED waits all the same for who has locked the next version of a row
-- whose update was committed while it looked (PostgreSQL 15: heap_lock_updated_tuple knows no wait policy). So it takes
-- stripes in the order that those who wait for them do: of the account with the lower id first, its own row before its
-- others: there are two texts of it, for payer and payee in either order. `(SELECT count(*) …) >= 0` says
-- nothing but that: one is looked for when the other has been.
-- Without a stripe on either side it writes nothing, and says what it has seen. A row that is locked is seen as it is now,
-- not as it was when the statement began. The number is taken once both stripes are held: within a stripe numbers rise as
-- payments are committed.
WITH known AS MATERIALIZED (
    SELECT payer, payee, amount, currency, created_at, seq, decline FROM idempotency_keys WHERE key = $1
), able AS MATERIALIZED (
    SELECT FROM accounts a, accounts b
    WHERE a.id = $2 AND b.id = $3 AND a.currency = $5 AND b.currency = $5 AND NOT EXISTS (SELECT FROM known)
), FIRST_main AS (
    SELECT 0::smallint AS stripe, main_balance AS balance FROM accounts
    WHERE id = FIRST_ID AND main_balance FIRST_WILL_DO AND EXISTS (SELECT FROM able)
    FOR NO KEY UPDATE SKIP LOCKED
), FIRST_stripe AS (
    SELECT stripe, balance FROM account_stripes
    WHERE account = FIRST_ID AND balance FIRST_WILL_DO AND EXISTS (SELECT FROM able) AND NOT EXISTS (SELECT FROM FIRST_main)
    ORDER BY stripe LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
), FIRST AS MATERIALIZED (
    SELECT * FROM FIRST_main UNION ALL SELECT * FROM FIRST_stripe
), SECOND_main AS (
    SELECT 0::smallint AS stripe, main_balance AS balance FROM accounts
    WHERE id = SECOND_ID AND main_balance SECOND_WILL_DO AND EXISTS (SELECT FROM able) AND (SELECT count(*) FROM FIRST) >= 0
    FOR NO KEY UPDATE SKIP LOCKED
), SECOND_stripe AS (
    SELECT stripe, balance FROM account_stripes
    WHERE account = SECOND_ID AND balance SECOND_WILL_DO AND EXISTS (SELECT FROM able) AND NOT EXISTS (SELECT FROM SECOND_main)
    ORDER BY stripe LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
), SECOND AS MATERIALIZED (
    SELECT * FROM SECOND_main UNION ALL SELECT * FROM SECOND_stripe
), paid AS MATERIALIZED (
    SELECT nextval('payment_seqs') AS seq, payer.stripe AS payer_stripe, payer.balance - $4 AS payer_balance,
           payee.stripe AS payee_stripe, payee.balance + $4 AS payee_balance
    FROM payer, payee
), lines AS MATERIALIZED (
    SELECT $2::int AS account, payer_stripe AS stripe, seq, -$4::bigint AS amount, payer_balance AS balance FROM paid
    UNION ALL
    SELECT $3, payee_stripe, seq, $4, payee_balance FROM paid
), key AS (
    INSERT INTO idempotency_keys (key, payer, payee, amount, currency, seq, created_at)
    SELECT $1, $2, $3, $4, $5, seq, now() FROM paid
), payment AS (
    INSERT INTO payments (seq, payer, payee, amount, currency, created_at)
    SELECT seq, $2, $3, $4, $5, now() FROM paid
), entry AS (
    INSERT INTO entries (account, seq, amount, balance_after, created_at, stripe)
    SELECT account, seq, amount, balance, now(), stripe FROM lines
), main AS (
    UPDATE accounts a SET main_balance = l.balance, last_seq = l.seq FROM lines l
    WHERE a.id = l.account AND l.stripe = 0
), part AS (
    UPDATE account_stripes s SET balance = l.balance, last_seq = l.seq FROM lines l
    WHERE s.account = l.account AND s.stripe = l.stripe AND l.stripe > 0
), notice AS (
    INSERT INTO outbox (seq, payer, payee, amount, currency, trace, created_at)
    SELECT seq, $2, $3, $4, $5, $8, now() FROM paid WHERE $6
)
SELECT k.payer, k.payee, k.amount, k.currency, k.created_at, k.seq, k.decline, p.seq, now(),
       (SELECT stripe FROM payer), (SELECT stripe FROM payee),
       CASE WHEN p.seq IS NULL THEN ARRAY(SELECT stripe FROM account_stripes WHERE account = $2 AND balance >= $4) END,
       CASE WHEN p.seq IS NULL THEN ARRAY(SELECT stripe FROM account_stripes WHERE account = $3 AND balance <= $7) END
FROM (SELECT) AS one LEFT JOIN paid p ON true LEFT JOIN known k ON true
