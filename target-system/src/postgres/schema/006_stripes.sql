-- Stripes: parts of an account's balance that are locked one by one (docs/decisions/0007-striped-balances.md).

-- How this database keeps balances. While they are striped, accounts.balance is called main_balance, so that the database
-- itself refuses whoever takes it for all that an account holds.
CREATE TABLE ledger_layout (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    striped boolean NOT NULL
);

INSERT INTO ledger_layout (striped) VALUES (false);

-- Stripe 0 is the account's own row. An account has no others until payments have met at it.
CREATE TABLE account_stripes (
    account  integer  NOT NULL,
    stripe   smallint NOT NULL CHECK (stripe BETWEEN 1 AND 15),
    balance  bigint   NOT NULL CHECK (balance >= 0),
    last_seq bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (account, stripe)
) WITH (fillfactor = 50);

-- What was moved between the stripes of an account; of one number it sums to zero. Numbers are those of payments, so that
-- entries and moves of a stripe have one order.
CREATE TABLE stripe_moves (
    account integer  NOT NULL,
    stripe  smallint NOT NULL,
    seq     bigint   NOT NULL,
    amount  bigint   NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (account, stripe, seq)
);

-- What is on its way to another database (005) is on accounts below zero, one for each other database n: -(n + 1). Nobody
-- locks one, so its balance is known by adding up alone. Not in one transaction with a change of payments: who reads both
-- begins with entries.
ALTER TABLE entries ALTER COLUMN balance_after DROP NOT NULL;

-- The stripe that was debited or credited; what was there before and after is of that stripe.
ALTER TABLE entries ADD COLUMN stripe smallint NOT NULL DEFAULT 0;

CREATE OR REPLACE VIEW balance_history AS
SELECT account, seq, created_at, amount, balance_after - amount AS balance_before, balance_after, stripe
FROM entries WHERE account > 0;

-- The stripes of all accounts. The name of a column does not matter to a view, so this holds for both layouts.
CREATE VIEW account_parts AS
SELECT id AS account, 0::smallint AS stripe, opening, balance, last_seq FROM accounts
UNION ALL
SELECT account, stripe, 0, balance, last_seq FROM account_stripes;

-- What an account holds, whatever the layout is; another one while balances are striped.
CREATE VIEW account_balances AS
SELECT id, currency, opening, balance, last_seq FROM accounts;
