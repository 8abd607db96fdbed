-- From striped balances to whole ones: what is in stripes is moved to the accounts' own rows.
LOCK TABLE accounts, account_stripes IN ACCESS EXCLUSIVE MODE;

-- With many stripes that takes its time; the limit of a connection is meant for payments.
SET LOCAL statement_timeout = 0;

WITH number AS MATERIALIZED (
    SELECT nextval('payment_seqs') AS seq
), moves AS (
    SELECT account, stripe, -balance AS amount FROM account_stripes
    UNION ALL
    SELECT account, 0, sum(balance) FROM account_stripes GROUP BY account
)
INSERT INTO stripe_moves (account, stripe, seq, amount)
SELECT account, stripe, seq, amount FROM moves, number WHERE amount <> 0;

UPDATE accounts a SET main_balance = a.main_balance + s.balance, last_seq = greatest(a.last_seq, s.last_seq)
FROM (
    SELECT account, sum(balance) AS balance, max(last_seq) AS last_seq FROM account_stripes GROUP BY account
) AS s
WHERE a.id = s.account;

TRUNCATE account_stripes;

CREATE OR REPLACE VIEW account_balances AS
SELECT id, currency, opening, main_balance AS balance, last_seq FROM accounts;

ALTER TABLE accounts RENAME COLUMN main_balance TO balance;

-- What was cached before balances were striped was not told of payments since.
UPDATE cache_epoch SET id = ('x' || left(md5(gen_random_uuid()::text), 16))::bit(64)::bigint, redis = NULL;
DELETE FROM cache_holders;

UPDATE ledger_layout SET striped = false;
