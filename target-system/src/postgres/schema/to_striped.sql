-- From whole balances to striped ones. Whoever still takes accounts.balance for all that an account holds is refused
-- from here on.
LOCK TABLE accounts, account_stripes IN ACCESS EXCLUSIVE MODE;

ALTER TABLE accounts RENAME COLUMN balance TO main_balance;

CREATE OR REPLACE VIEW account_balances AS
SELECT a.id, a.currency, a.opening, (a.main_balance + s.balance)::bigint AS balance,
       greatest(a.last_seq, s.last_seq) AS last_seq
FROM accounts a CROSS JOIN LATERAL (
    SELECT coalesce(sum(balance), 0) AS balance, coalesce(max(last_seq), 0) AS last_seq
    FROM account_stripes WHERE account = a.id
) AS s;

-- What is cached is not told of payments from now on.
UPDATE cache_epoch SET id = ('x' || left(md5(gen_random_uuid()::text), 16))::bit(64)::bigint, redis = NULL;
DELETE FROM cache_holders;

UPDATE ledger_layout SET striped = true;
