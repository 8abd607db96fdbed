-- Logins and payment methods. Neither a token nor a card's number is in here, nor a hash of one.

-- A refresh token is signed, and says which login it is of and the how manieth. Only the last is good, and for a
-- short while the one before it.
CREATE TABLE logins (
    id         bytea       PRIMARY KEY CHECK (length(id) = 16),
    username   text        NOT NULL,
    -- The last token's number.
    nth        integer     NOT NULL,
    rotated_at timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL
);

CREATE INDEX logins_username_ends_at ON logins (username, ends_at);
CREATE INDEX logins_ends_at ON logins (ends_at);

CREATE TABLE payment_methods (
    id         bytea       PRIMARY KEY CHECK (length(id) = 16),
    owner      text        NOT NULL,
    brand      text        NOT NULL,
    last4      text        NOT NULL CHECK (last4 ~ '^[0-9]{4}$'),
    exp_month  smallint    NOT NULL CHECK (exp_month BETWEEN 1 AND 12),
    exp_year   smallint    NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
