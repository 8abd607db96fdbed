-- The ledger: accounts, payments, and two entries for each payment that sum to zero.

CREATE TABLE accounts (
    id       integer PRIMARY KEY CHECK (id BETWEEN 1 AND 99999999),
    currency text    NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- Minor units. What an account got from the world when it was opened.
    opening  bigint  NOT NULL CHECK (opening >= 0),
    balance  bigint  NOT NULL CHECK (balance >= 0),
    -- The last payment that touched it; 0 when none has.
    last_seq bigint  NOT NULL DEFAULT 0
-- Room for new versions of a row beside the old one, so that an update touches no index.
) WITH (fillfactor = 50);

CREATE SEQUENCE account_ids AS integer MINVALUE 1 MAXVALUE 99999999;

-- Numbers of payments. They rise within an account and have gaps.
CREATE SEQUENCE payment_seqs AS bigint MINVALUE 1;

CREATE TABLE payments (
    seq        bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    payer      integer     NOT NULL,
    payee      integer     NOT NULL,
    amount     bigint      NOT NULL CHECK (amount > 0),
    currency   text        NOT NULL,
    PRIMARY KEY (seq, created_at)
) PARTITION BY RANGE (created_at);

CREATE TABLE entries (
    account       integer     NOT NULL,
    seq           bigint      NOT NULL,
    created_at    timestamptz NOT NULL,
    -- Minor units; negative for the payer.
    amount        bigint      NOT NULL CHECK (amount <> 0),
    balance_after bigint      NOT NULL CHECK (balance_after >= 0),
    PRIMARY KEY (account, seq, created_at)
) PARTITION BY RANGE (created_at);

-- What an account held before and after each of its payments.
CREATE VIEW balance_history AS
SELECT account, seq, created_at, amount, balance_after - amount AS balance_before, balance_after
FROM entries;

-- A row holds all that an answer is made of, so that a repeated request reads one row.
CREATE TABLE idempotency_keys (
    -- The caller, a zero byte, the key as sent.
    key        bytea       PRIMARY KEY,
    payer      integer     NOT NULL,
    payee      integer     NOT NULL,
    amount     bigint      NOT NULL,
    currency   text        NOT NULL,
    created_at timestamptz NOT NULL,
    -- The payment that it stands for, or why there is none.
    seq        bigint,
    decline    smallint,
    CHECK ((seq IS NULL) <> (decline IS NULL))
);

-- Keys are removed by age. They are inserted in its order, so a block range is enough.
CREATE INDEX idempotency_keys_created_at ON idempotency_keys USING brin (created_at);

-- Makes the tables of this month and of `ahead` more. A month is taken away with
-- ALTER TABLE payments DETACH PARTITION payments_2026_11, and so are its entries.
CREATE FUNCTION make_months(ahead integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    begins timestamptz;
BEGIN
    -- One process at a time.
    PERFORM pg_advisory_xact_lock(126931137817708);
    FOREACH parent IN ARRAY ARRAY['payments', 'entries'] LOOP
        FOR month IN 0..ahead LOOP
            begins := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => month))
                      AT TIME ZONE 'UTC';
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || to_char(begins AT TIME ZONE 'UTC', '_YYYY_MM'), parent, begins,
                ((begins AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
        END LOOP;
    END LOOP;
END $$;
