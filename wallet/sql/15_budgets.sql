-- Budgets: the most that an account lets one app spend in a calendar month (UTC). A
-- movement counts in the month in which its credits left the balance: a reservation in
-- the month of its creation, overage in the month of the settlement.

CREATE OR REPLACE FUNCTION ledger.month(t timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE AS $$
  SELECT date_trunc('month', t AT TIME ZONE 'UTC')::date
$$;

-- The app's budget in the month `p_month`, or no row. A new month begins with nothing
-- spent. A STABLE function that returns a set is inlined into the caller's query, so it
-- costs a movement no call.
CREATE OR REPLACE FUNCTION ledger.budget_in(p_wallet bigint, p_app uuid, p_month date)
RETURNS SETOF wallet_budget LANGUAGE sql STABLE AS $$
  SELECT id, limit_micro, greatest(month, p_month),
    CASE WHEN month < p_month THEN 0 ELSE spent_micro END, app_id, wallet_id
  FROM wallet_budget WHERE wallet_id = p_wallet AND app_id = p_app
$$;

-- Add an amount to the spending of the budget's month, and return the stored budget.
CREATE OR REPLACE FUNCTION ledger.spend(b wallet_budget, p_amount bigint)
RETURNS wallet_budget LANGUAGE plpgsql AS $$
BEGIN
  IF p_amount > 0 THEN
    UPDATE wallet_budget x SET month = b.month, spent_micro = p_amount
      + CASE x.month WHEN b.month THEN x.spent_micro ELSE 0 END
    WHERE x.id = b.id RETURNING * INTO b;
  END IF;
  RETURN b;
END $$;

-- Subtract returned credits from the budget, if the budget is still in the month in
-- which the reservation was made.
CREATE OR REPLACE FUNCTION ledger.unspend(
  p_wallet bigint, p_app uuid, p_job uuid, p_amount bigint
) RETURNS void LANGUAGE sql AS $$
  UPDATE wallet_budget SET spent_micro = spent_micro - p_amount
  WHERE wallet_id = p_wallet AND app_id = p_app AND p_amount > 0
    AND month = (SELECT ledger.month(booked_at) FROM wallet_entry
      WHERE job_id = p_job AND kind = 'reserve')
$$;

-- Update a budget after a settlement: part of the reservation was returned, or the
-- settlement charged more than was reserved.
CREATE OR REPLACE FUNCTION ledger.respend(
  b wallet_budget, p_job uuid, p_returned bigint, p_charged bigint
) RETURNS wallet_budget LANGUAGE plpgsql AS $$
BEGIN
  IF p_returned > 0 THEN
    PERFORM ledger.unspend(b.wallet_id, b.app_id, p_job, p_returned);
    SELECT * INTO b FROM ledger.budget_in(b.wallet_id, b.app_id, b.month);
    RETURN b;
  END IF;
  RETURN ledger.spend(b, p_charged);
END $$;

-- The available credits that an app with a budget may not spend: those restricted to
-- other apps, or those beyond the rest of the budget, whichever is more.
CREATE OR REPLACE FUNCTION ledger.withheld(
  w wallet_wallet, b wallet_budget, p_restricted bigint
) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(p_restricted,
    w.available_micro - w.debt_micro - greatest(0, b.limit_micro - b.spent_micro))
$$;

-- The spending of each app (or of one) in a month, computed from the entries. Open
-- reservations count as spent.
CREATE OR REPLACE FUNCTION ledger.spent(p_wallet bigint, p_app uuid, p_month date)
RETURNS TABLE (app_id uuid, spent_micro bigint) LANGUAGE sql STABLE AS $$
  SELECT e.app_id, sum(CASE WHEN r.id IS NULL THEN e.amount_micro
    ELSE -e.amount_micro END)::bigint
  FROM wallet_entry e
  LEFT JOIN wallet_entry r ON r.job_id = e.job_id AND r.kind = 'reserve'
    AND e.kind IN ('return', 'release', 'expire')
  WHERE e.wallet_id = p_wallet AND e.app_id = coalesce(p_app, e.app_id)
    AND e.booked_at >= p_month::timestamp AT TIME ZONE 'UTC'
    AND ledger.month(coalesce(r.booked_at, e.booked_at)) = p_month
    AND e.kind IN ('reserve', 'overage', 'overdraft', 'consume', 'return', 'release',
                   'expire')
  GROUP BY e.app_id
$$;

-- Book a budget's or an overdraft's limit: an entry that moves no credits.
CREATE OR REPLACE FUNCTION ledger.book_limit(
  w wallet_wallet, p_app uuid, p_limit bigint, p_actor text
) RETURNS wallet_wallet LANGUAGE plpgsql AS $$
DECLARE e wallet_entry;
BEGIN
  e.movement_id := gen_random_uuid();
  e.app_id := p_app;
  e.actor := p_actor;
  e := ledger.next_entry(e, 'limit', 'nothing', 'limit', 0);
  e.terms := ledger.limit_terms(p_limit);
  w := ledger.book(w, e);
  PERFORM ledger.store(w);
  RETURN w;
END $$;

-- Set an app's budget for this and every later month, or remove it (NULL). Spending
-- earlier in this month counts.
CREATE OR REPLACE FUNCTION ledger.set_budget_by(
  p_account uuid, p_app uuid, p_limit bigint, p_actor text,
  OUT limit_before_micro bigint, OUT spent_micro bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  w wallet_wallet;
  this_month date;
  spent bigint;
BEGIN
  w := ledger.locked_wallet(p_account);
  SELECT limit_micro INTO limit_before_micro FROM wallet_budget
  WHERE wallet_id = w.id AND app_id = p_app;
  IF p_limit IS DISTINCT FROM limit_before_micro THEN
    w := ledger.book_limit(w, p_app, p_limit, p_actor);
  END IF;
  this_month := ledger.month(greatest(ledger.now(), w.booked_at));
  spent := coalesce(
    (SELECT s.spent_micro FROM ledger.spent(w.id, p_app, this_month) s), 0);
  IF p_limit IS NULL THEN
    DELETE FROM wallet_budget WHERE wallet_id = w.id AND app_id = p_app;
  ELSE
    INSERT INTO wallet_budget AS b (wallet_id, app_id, limit_micro, month, spent_micro)
    VALUES (w.id, p_app, p_limit, this_month, spent)
    ON CONFLICT (wallet_id, app_id) DO UPDATE SET limit_micro = excluded.limit_micro,
      month = excluded.month, spent_micro = excluded.spent_micro;
  END IF;
  spent_micro := spent;
END $$;

-- The name in the previous release, where only the wallet's owner sets a budget.
CREATE OR REPLACE FUNCTION ledger.set_budget(
  p_account uuid, p_app uuid, p_limit bigint,
  OUT limit_before_micro bigint, OUT spent_micro bigint
) LANGUAGE sql AS $$
  SELECT * FROM ledger.set_budget_by(p_account, p_app, p_limit, 'user:' || p_account)
$$;

-- Set how much debt apps with the policy `overflow` may cause.
CREATE OR REPLACE FUNCTION ledger.set_overdraft_limit(
  p_account uuid, p_limit bigint, p_actor text, OUT limit_before_micro bigint
) LANGUAGE plpgsql AS $$
DECLARE w wallet_wallet;
BEGIN
  w := ledger.locked_wallet(p_account);
  limit_before_micro := w.overdraft_limit_micro;
  IF p_limit <> w.overdraft_limit_micro THEN
    w := ledger.book_limit(w, NULL, p_limit, p_actor);
    UPDATE wallet_wallet SET overdraft_limit_micro = p_limit WHERE id = w.id;
  END IF;
END $$;

-- The overdue reservations that count in a month, until their expiry is booked.
CREATE OR REPLACE FUNCTION ledger.overdue_in(
  p_wallet bigint, p_at timestamptz, p_month date
) RETURNS SETOF wallet_reservation LANGUAGE sql STABLE AS $$
  SELECT r.* FROM ledger.overdue(p_wallet, p_at) r
  JOIN wallet_entry e ON e.job_id = r.id AND e.kind = 'reserve'
  WHERE ledger.month(e.booked_at) = p_month
$$;

-- Every app with a budget or with spending this month, as of now. Overdue reservations
-- do not count as spent, also before a sweep books their expiry.
CREATE OR REPLACE FUNCTION ledger.spending(p_account uuid)
RETURNS TABLE (app_id uuid, limit_micro bigint, spent_micro bigint)
LANGUAGE sql STABLE AS $$
  WITH moment AS MATERIALIZED (SELECT ledger.now() AS t),
  w AS (SELECT id FROM wallet_wallet WHERE account_id = p_account),
  spent AS (
    SELECT s.app_id, s.spent_micro FROM w, moment,
      ledger.spent(w.id, NULL, ledger.month(moment.t)) s
    UNION ALL
    SELECT o.app_id, -o.amount_micro FROM w, moment,
      ledger.overdue_in(w.id, moment.t, ledger.month(moment.t)) o
  )
  SELECT app_id, b.limit_micro, coalesce(s.spent_micro, 0)
  FROM (SELECT app_id, sum(spent_micro)::bigint AS spent_micro FROM spent
        GROUP BY app_id) s
  FULL JOIN (SELECT * FROM wallet_budget WHERE wallet_id IN (SELECT id FROM w)) b
    USING (app_id)
$$;
