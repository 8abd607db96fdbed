-- Notices of payments that the queue has not taken yet, each written in the transaction of its payment.
CREATE TABLE outbox (
    seq        bigint      PRIMARY KEY,
    created_at timestamptz NOT NULL,
    payer      integer     NOT NULL,
    payee      integer     NOT NULL,
    amount     bigint      NOT NULL,
    currency   text        NOT NULL
-- Every row is deleted soon after it was inserted: what is left of it is swept by number, not by share.
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
