-- Credits in, credits out without a job, and the balance as of now.

-- Grant credits once per money key. Paid credits and staff adjustments repay debt
-- first. Outcomes: granted, duplicate.
CREATE OR REPLACE FUNCTION ledger.grant(
  p_account uuid, p_source text, p_category text, p_amount bigint, p_priority int,
  p_expires_at timestamptz, p_app uuid, p_given_by uuid, p_from text, p_actor text,
  p_reason text, p_key text,
  OUT outcome text, OUT movement_id uuid, OUT grant_id bigint,
  OUT available_micro bigint, OUT reserved_micro bigint, OUT debt_micro bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  w wallet_wallet;
  g wallet_grant;
  e wallet_entry;
  repaid bigint := 0;
BEGIN
  w := ledger.locked_wallet(p_account);
  SELECT x.movement_id, x.grant_id INTO movement_id, grant_id
  FROM wallet_entry x WHERE x.key = p_key;
  IF FOUND THEN
    outcome := 'duplicate';
  ELSE
    outcome := 'granted';
    movement_id := gen_random_uuid();
    IF p_category = 'paid' OR p_source = 'adjustment' THEN
      repaid := least(p_amount, w.debt_micro);
    END IF;
    INSERT INTO wallet_grant (wallet_id, source, category, priority, granted_micro,
      remaining_micro, expires_at, app_id, given_by_id)
    VALUES (w.id, p_source, p_category, p_priority, p_amount, p_amount - repaid,
      p_expires_at, p_app, p_given_by)
    RETURNING * INTO g;
    grant_id := g.id;
    e.movement_id := movement_id;
    e.grant_id := grant_id;
    e.app_id := coalesce(p_app, p_given_by);
    e.actor := p_actor;
    IF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
    e := ledger.next_entry(e, 'grant', p_from, 'available', p_amount);
    e.key := p_key;
    e.terms := ledger.grant_terms(g);
    w := ledger.book(w, e);
    IF repaid > 0 THEN
      INSERT INTO wallet_draw (movement_id, grant_id, amount_micro, returned_micro)
      VALUES (movement_id, grant_id, repaid, 0);
      w := ledger.book(w, ledger.next_entry(e, 'repay', 'available', 'debt', repaid));
    END IF;
    PERFORM ledger.store(w);
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
END $$;

-- Take credits at once, without a job, once per money key for ever.
-- * `consume` is an app's: from unrestricted grants and its own, to its revenue.
-- * `adjust` is for staff: from any grant, back to issuance.
-- * A repeated key returns `duplicate` with the first movement's facts. An app that may
--   not take the account's credits gets its refusal instead, and no such facts.
CREATE OR REPLACE FUNCTION ledger.take_by(
  p_by text, p_account uuid, p_app uuid, p_kind text, p_to text, p_amount bigint,
  p_actor text, p_reason text, p_key text,
  OUT outcome text, OUT movement_id uuid, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint, OUT restricted_micro bigint,
  OUT first_amount_micro bigint, OUT first_balance_micro bigint,
  OUT limit_micro bigint, OUT spent_micro bigint, OUT booked_at timestamptz
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  w wallet_wallet;
  b wallet_budget;
  e wallet_entry;
  anything boolean := p_kind = 'adjust';
BEGIN
  w := ledger.locked_wallet(p_account);
  e.booked_at := greatest(ledger.now(), w.booked_at);
  SELECT * INTO b FROM ledger.budget_in(w.id, p_app, ledger.month(e.booked_at));
  limit_micro := b.limit_micro;
  spent_micro := b.spent_micro;
  restricted_micro := CASE WHEN anything THEN 0 ELSE ledger.restricted(w.id, p_app) END;
  SELECT x.movement_id, x.amount_micro, x.available_after - x.debt_after
  INTO movement_id, first_amount_micro, first_balance_micro
  FROM wallet_entry x WHERE x.key = p_key AND x.wallet_id = w.id AND x.kind = p_kind;
  outcome := ledger.forbidden(p_account, p_app, p_by);
  IF outcome IS NOT NULL THEN
    NULL;
  ELSIF movement_id IS NOT NULL THEN
    outcome := 'duplicate';
  ELSIF p_amount > w.available_micro - w.debt_micro - restricted_micro THEN
    outcome := 'insufficient_credits';
  ELSIF p_amount > b.limit_micro - b.spent_micro THEN
    outcome := 'spending_limit_reached';
  ELSE
    outcome := 'taken';
    movement_id := gen_random_uuid();
    PERFORM ledger.draw(w.id, movement_id, NULL, p_app, anything, p_amount);
    e.movement_id := movement_id;
    e.app_id := p_app;
    e.actor := p_actor;
    IF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
    e := ledger.next_entry(e, p_kind, 'available', p_to, p_amount);
    e.key := p_key;
    w := ledger.book(w, e);
    PERFORM ledger.store(w);
    IF b.id IS NOT NULL THEN b := ledger.spend(b, p_amount); END IF;
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
  IF b.id IS NOT NULL THEN
    restricted_micro := ledger.withheld(w, b, restricted_micro);
  END IF;
  booked_at := e.booked_at;
END $$;

-- Make many charges in one round trip, each with its own outcome. Wallets are locked in
-- the order of account ids, so two calls cannot deadlock. `position` counts from 1.
CREATE OR REPLACE FUNCTION ledger.consume_many(
  p_app uuid, p_app_slug text, p_actor text, p_accounts uuid[], p_amounts bigint[],
  p_reasons text[], p_keys text[]
) RETURNS TABLE (
  "position" bigint, outcome text, movement_id uuid, available_micro bigint,
  reserved_micro bigint, debt_micro bigint, restricted_micro bigint,
  first_amount_micro bigint, first_balance_micro bigint, limit_micro bigint,
  spent_micro bigint, booked_at timestamptz
) LANGUAGE plpgsql AS $$
DECLARE i record;
BEGIN
  FOR i IN
    SELECT * FROM unnest(p_accounts, p_amounts, p_reasons, p_keys)
      WITH ORDINALITY AS item(account, amount, reason, key, place)
    ORDER BY item.account, item.place
  LOOP
    RETURN QUERY SELECT i.place, t.* FROM ledger.take_by('app', i.account, p_app,
      'consume', 'revenue:' || p_app_slug, i.amount, p_actor, i.reason, i.key) AS t;
  END LOOP;
END $$;

-- The balance as of now, before any sweep: reservations past their expiry count as
-- free, grants past theirs as expired. Reads one snapshot and locks nothing. With
-- `p_app`, `restricted_micro` is the part that this app may not spend.
CREATE OR REPLACE FUNCTION ledger.balance(
  p_account uuid, p_app uuid,
  OUT available_micro bigint, OUT reserved_micro bigint, OUT debt_micro bigint,
  OUT restricted_micro bigint
) LANGUAGE plpgsql STABLE AS $$
DECLARE
  w wallet_wallet;
  b wallet_budget;
  t timestamptz := ledger.now();
BEGIN
  SELECT * INTO w FROM wallet_wallet WHERE account_id = p_account;
  IF NOT FOUND THEN
    available_micro := 0; reserved_micro := 0; debt_micro := 0; restricted_micro := 0;
    RETURN;
  END IF;
  debt_micro := w.debt_micro;
  reserved_micro := w.reserved_micro - (
    SELECT coalesce(sum(amount_micro), 0) FROM ledger.overdue(w.id, t));
  WITH freed AS (
    SELECT d.grant_id, sum(d.amount_micro - d.returned_micro) AS amount
    FROM ledger.overdue(w.id, t) r JOIN wallet_draw d ON d.reservation_id = r.id
    GROUP BY d.grant_id
  ), live AS (
    SELECT g.app_id, g.remaining_micro AS amount FROM wallet_grant g
    WHERE g.wallet_id = w.id AND g.has_credits
      AND (g.expires_at IS NULL OR g.expires_at > t)
    UNION ALL
    SELECT g.app_id, f.amount FROM freed f JOIN wallet_grant g ON g.id = f.grant_id
    WHERE g.expires_at IS NULL OR g.expires_at > t
  )
  SELECT coalesce(sum(amount), 0), coalesce(sum(amount) FILTER (
    WHERE p_app IS NOT NULL AND app_id IS NOT NULL AND app_id <> p_app), 0)
  INTO available_micro, restricted_micro FROM live;
  SELECT * INTO b FROM ledger.budget_in(w.id, p_app, ledger.month(t));
  IF FOUND THEN
    -- An overdue reservation is free, as above, and so it does not count as spent.
    b.spent_micro := b.spent_micro - (
      SELECT coalesce(sum(o.amount_micro), 0)
      FROM ledger.overdue_in(w.id, t, b.month) o WHERE o.app_id = p_app);
    w.available_micro := available_micro;
    restricted_micro := ledger.withheld(w, b, restricted_micro);
  END IF;
END $$;
