-- Accounts divided among several databases: which of them this is, and what is on its way to another.

-- Made at the first start, and never changed: accounts lie where this says.
CREATE TABLE shard (
    one      boolean  PRIMARY KEY DEFAULT true CHECK (one),
    number   smallint NOT NULL,
    of       smallint NOT NULL,
    split_by text     NOT NULL
);

-- A payment between two databases is two payments, one in each, with the money on its way in between. The payee's is one
-- of the number `seq` here; `origin` is its number in the payer's database, which is the one that everybody knows.
ALTER TABLE payments
    ADD COLUMN origin  bigint,
    ADD COLUMN made_at timestamptz,
    -- Of those that there are, none is from another database: nothing has to be read for it.
    ADD CHECK ((origin IS NULL) = (made_at IS NULL)) NOT VALID;

CREATE INDEX payments_origin ON payments (origin) WHERE origin IS NOT NULL;

-- Payments that the payee's database may not have yet. Every row is deleted soon after it was inserted.
CREATE TABLE transfers (
    seq     bigint      PRIMARY KEY,
    -- The payee's database.
    shard   smallint    NOT NULL,
    payer   integer     NOT NULL,
    payee   integer     NOT NULL,
    amount  bigint      NOT NULL CHECK (amount > 0),
    currency text       NOT NULL,
    made_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- Who pays with a key: payers in different databases must not pay with the same one. A key is in the database that a hash
-- of it names.
CREATE TABLE key_homes (
    key        bytea       PRIMARY KEY,
    payer      integer     NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX key_homes_created_at ON key_homes USING brin (created_at);

ALTER TABLE outbox ADD COLUMN origin bigint;
