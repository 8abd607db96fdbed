-- Which cache of balances is right: what docs/decisions/0005-cache.md calls the epoch.

CREATE TABLE cache_epoch (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Random. What was cached in another epoch is never read.
    id    bigint  NOT NULL,
    -- The run of the Redis server that is the cache in this epoch; nothing is cached while there is none.
    redis text
);

INSERT INTO cache_epoch (id) VALUES (0);

-- The processes that answer from the cache, and have to know of a payment before it is acknowledged.
CREATE TABLE cache_holders (
    holder bigint PRIMARY KEY,
    epoch  bigint NOT NULL
);
