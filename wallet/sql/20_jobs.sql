-- The life of a job's credits: reserve, extend, then settle, release or expire.
-- A refusal is an outcome, never an exception, and moves nothing. It may have booked
-- what was due by time, which every reader already counts.

-- Reserve credits for a job until a time to live ends. An amount of 0 books nothing.
-- Outcomes: reserved, insufficient_credits, spending_limit_reached, or one of
-- `ledger.forbidden`.
CREATE OR REPLACE FUNCTION ledger.reserve_by(
  p_by text, p_account uuid, p_app uuid, p_job uuid, p_amount bigint,
  p_ttl_seconds int, p_actor text, p_reason text,
  OUT outcome text, OUT movement_id uuid, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint, OUT restricted_micro bigint,
  OUT expires_at timestamptz, OUT limit_micro bigint, OUT spent_micro bigint
) LANGUAGE plpgsql AS $$
DECLARE
  w wallet_wallet;
  b wallet_budget;
  e wallet_entry;
BEGIN
  w := ledger.locked_wallet(p_account);
  e.booked_at := greatest(ledger.now(), w.booked_at);
  SELECT * INTO b FROM ledger.budget_in(w.id, p_app, ledger.month(e.booked_at));
  limit_micro := b.limit_micro;
  spent_micro := b.spent_micro;
  restricted_micro := ledger.restricted(w.id, p_app);
  expires_at := e.booked_at + make_interval(secs => p_ttl_seconds);
  outcome := ledger.forbidden(p_account, p_app, p_by);
  IF outcome IS NOT NULL THEN
    NULL;
  ELSIF p_amount > w.available_micro - w.debt_micro - restricted_micro
     AND p_amount > 0 THEN
    outcome := 'insufficient_credits';
  ELSIF p_amount > b.limit_micro - b.spent_micro AND p_amount > 0 THEN
    outcome := 'spending_limit_reached';
  ELSE
    outcome := 'reserved';
    IF p_amount > 0 THEN
      movement_id := gen_random_uuid();
      INSERT INTO wallet_reservation (id, wallet_id, app_id, amount_micro, status,
                                      expires_at)
      VALUES (p_job, w.id, p_app, p_amount, 'open', expires_at);
      PERFORM ledger.draw(w.id, movement_id, p_job, p_app, false, p_amount);
      e.movement_id := movement_id;
      e.reservation_id := p_job;
      e.job_id := p_job;
      e.app_id := p_app;
      e.actor := p_actor;
      IF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
      e := ledger.next_entry(e, 'reserve', 'available', 'reserved', p_amount);
      e.terms := ledger.reservation_terms(expires_at);
      w := ledger.book(w, e);
      PERFORM ledger.store(w);
      IF b.id IS NOT NULL THEN b := ledger.spend(b, p_amount); END IF;
    END IF;
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
  IF b.id IS NOT NULL THEN
    restricted_micro := ledger.withheld(w, b, restricted_micro);
  END IF;
END $$;

-- Charge the real cost of a job.
-- * Up to the reservation, the charge comes from it and the rest is returned.
-- * Beyond it, and after an expiry (`late`), the charge is a fresh one under the app's
--   overage policy and within its budget. `uncovered` is the unpaid part of the cost.
-- * If the app may no longer take the account's credits, the charge stops at the
--   reservation. The policy `held` asks for that from the start.
-- Outcomes: settled, already_resolved, and under the policy `reject` those of
-- `ledger.reserve_by` for a lack of credits.
CREATE OR REPLACE FUNCTION ledger.settle(
  p_account uuid, p_app uuid, p_app_slug text, p_job uuid, p_cost bigint,
  p_policy text, p_actor text, p_reason text,
  OUT outcome text, OUT movement_id uuid, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint, OUT restricted_micro bigint,
  OUT charged_micro bigint, OUT returned_micro bigint, OUT uncovered_micro bigint,
  OUT late boolean, OUT booked_at timestamptz, OUT required_micro bigint,
  OUT limit_micro bigint, OUT spent_micro bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  w wallet_wallet; r wallet_reservation; b wallet_budget; e wallet_entry;
  held bigint := 0;
  kept bigint; fresh bigint := 0; owed bigint := 0; enough boolean;
BEGIN
  w := ledger.locked_wallet(p_account);
  e.booked_at := greatest(ledger.now(), w.booked_at);
  SELECT * INTO r FROM wallet_reservation WHERE id = p_job AND wallet_id = w.id;
  late := FOUND AND r.status = 'expired';
  IF r.status = 'open' THEN held := r.amount_micro; END IF;
  SELECT * INTO b FROM ledger.budget_in(w.id, p_app, ledger.month(e.booked_at));
  limit_micro := b.limit_micro;
  spent_micro := b.spent_micro;
  kept := least(p_cost, held);
  returned_micro := held - kept;
  restricted_micro := ledger.restricted(w.id, p_app);
  uncovered_micro := 0;
  -- `held` charges the reservation alone, so a late settlement charges nothing.
  IF p_cost > held AND p_policy <> 'held' THEN
    required_micro := p_cost - held;
    IF ledger.forbidden(p_account, p_app, 'app') IS NOT NULL THEN
      p_policy := 'held';
    ELSE
      SELECT * INTO fresh, owed, enough
      FROM ledger.overage(w, b, restricted_micro, p_policy, required_micro);
    END IF;
    uncovered_micro := required_micro - fresh - owed;
  END IF;
  charged_micro := kept + fresh + owed;

  IF r.status IN ('settled', 'released') OR (held = 0 AND EXISTS (
       SELECT FROM wallet_entry WHERE key = 'settle:' || p_job)) THEN
    outcome := 'already_resolved';
  ELSIF uncovered_micro > 0 AND p_policy = 'reject' THEN
    outcome := CASE WHEN enough THEN 'spending_limit_reached' ELSE 'insufficient_credits'
      END;
  ELSE
    outcome := 'settled';
    movement_id := gen_random_uuid(); e.movement_id := movement_id;
    e.reservation_id := r.id; e.job_id := p_job; e.app_id := p_app;
    e.actor := p_actor;
    IF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
    w := ledger.book_settlement(w, e, 'revenue:' || p_app_slug, held, kept, fresh,
      owed, uncovered_micro);
    PERFORM ledger.store(w);
    IF b.id IS NOT NULL THEN b := ledger.respend(b, p_job, returned_micro, fresh + owed);
    END IF;
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
  IF b.id IS NOT NULL THEN
    restricted_micro := ledger.withheld(w, b, restricted_micro);
  END IF;
  booked_at := greatest(w.booked_at, ledger.now());
END $$;

-- Split a cost beyond the reservation: `fresh` comes from the balance, `owed` becomes
-- debt. `enough` says whether the balance alone covers the cost.
CREATE OR REPLACE FUNCTION ledger.overage(
  w wallet_wallet, b wallet_budget, p_restricted bigint, p_policy text, p_cost bigint,
  OUT fresh bigint, OUT owed bigint, OUT enough boolean
) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  spendable bigint := greatest(0, w.available_micro - w.debt_micro - p_restricted);
  -- Without a budget NULL, which least() ignores.
  room bigint := CASE WHEN b.id IS NOT NULL
    THEN greatest(0, b.limit_micro - b.spent_micro) END;
BEGIN
  enough := p_cost <= spendable;
  fresh := least(p_cost, spendable, room);
  owed := 0;
  IF p_policy = 'overflow' THEN
    owed := least(p_cost - fresh, greatest(0, w.overdraft_limit_micro - w.debt_micro),
      room - fresh);
  END IF;
END $$;

-- Book the entries of a settlement that are not zero: charge, return, overage,
-- overdraft. The first entry resolves the reservation. Without a reservation it carries
-- the money key instead. A settlement that charges nothing writes no entry: the job's
-- row alone records it, and the caller holds the lock of that row.
CREATE OR REPLACE FUNCTION ledger.book_settlement(
  w wallet_wallet, e wallet_entry, p_revenue text, p_held bigint, p_kept bigint,
  p_fresh bigint, p_owed bigint, p_uncovered bigint
) RETURNS wallet_wallet LANGUAGE plpgsql AS $$
DECLARE first boolean := true;
DECLARE part record;
BEGIN
  IF p_held > 0 THEN
    UPDATE wallet_reservation SET status = 'settled', resolved_at = ledger.now()
    WHERE id = e.reservation_id;
    PERFORM ledger.give_back(e.reservation_id, p_held - p_kept);
  END IF;
  PERFORM ledger.draw(w.id, e.movement_id, NULL, e.app_id, false, p_fresh);
  FOR part IN
    SELECT * FROM (VALUES
      ('charge', 'reserved', p_revenue, p_kept),
      ('return', 'reserved', 'available', p_held - p_kept),
      ('overage', 'available', p_revenue, p_fresh),
      ('overdraft', 'debt', p_revenue, p_owed)
    ) AS p(kind, debit, credit, amount) WHERE p.amount > 0
  LOOP
    e := ledger.next_entry(e, part.kind, part.debit, part.credit, part.amount);
    IF first THEN
      e.resolves := p_held > 0;
      e.uncovered_micro := p_uncovered;
      IF p_held = 0 THEN e.key := 'settle:' || e.job_id; END IF;
      first := false;
    END IF;
    w := ledger.book(w, e);
  END LOOP;
  -- Returned credits of a grant that expired in the meantime expire at once.
  IF p_held > p_kept THEN w := ledger.catch_up(w); END IF;
  RETURN w;
END $$;

-- The longest time between a job's start and the end of its reservation.
CREATE OR REPLACE FUNCTION ledger.longest_reservation() RETURNS interval
LANGUAGE sql IMMUTABLE AS $$ SELECT interval '7 days' $$;

-- Let a reservation end a time to live from now, if that is later than its end so far.
-- An entry of the kind `extend` has the new terms and moves no credits. `p_ends_at` is
-- the end so far of a job without a reservation, which books nothing.
-- The app needs a live consent (`ledger.forbidden`): a reservation after its agreed end
-- takes more than the person allowed before.
-- Outcomes: extended; unchanged; already_resolved; expired; ttl_too_long, where
-- `max_ttl_seconds` is the longest possible one; or one of `ledger.forbidden`.
CREATE OR REPLACE FUNCTION ledger.extend(
  p_account uuid, p_app uuid, p_job uuid, p_began_at timestamptz,
  p_ends_at timestamptz, p_ttl_seconds int, p_actor text,
  OUT outcome text, OUT available_micro bigint, OUT reserved_micro bigint,
  OUT debt_micro bigint, OUT restricted_micro bigint, OUT expires_at timestamptz,
  OUT max_ttl_seconds int
) LANGUAGE plpgsql AS $$
DECLARE
  w wallet_wallet; r wallet_reservation; b wallet_budget; e wallet_entry;
  latest timestamptz := p_began_at + ledger.longest_reservation();
  wanted timestamptz;
BEGIN
  w := ledger.locked_wallet(p_account);
  e.booked_at := greatest(ledger.now(), w.booked_at);
  wanted := e.booked_at + make_interval(secs => p_ttl_seconds);
  SELECT * INTO r FROM wallet_reservation WHERE id = p_job AND wallet_id = w.id;
  expires_at := coalesce(r.expires_at, p_ends_at);
  outcome := CASE WHEN r.status IN ('settled', 'released') THEN 'already_resolved'
    -- By the time of this decision, which is later than that of `locked_wallet`.
    WHEN r.status = 'expired' OR expires_at <= e.booked_at THEN 'expired' END;
  outcome := coalesce(outcome, ledger.forbidden(p_account, p_app, 'app'));
  IF outcome IS NOT NULL THEN
    NULL;
  ELSIF wanted > latest THEN
    outcome := 'ttl_too_long';
    max_ttl_seconds := floor(extract(epoch FROM latest - e.booked_at));
  ELSIF wanted <= expires_at THEN
    outcome := 'unchanged';
  ELSE
    outcome := 'extended';
    expires_at := wanted;
    IF r.id IS NOT NULL THEN
      UPDATE wallet_reservation x SET expires_at = wanted WHERE x.id = r.id;
      e.movement_id := gen_random_uuid();
      e.reservation_id := p_job; e.job_id := p_job; e.app_id := p_app;
      e.actor := p_actor;
      e := ledger.next_entry(e, 'extend', 'nothing', 'terms', 0);
      e.terms := ledger.reservation_terms(wanted);
      w := ledger.book(w, e);
      PERFORM ledger.store(w);
    END IF;
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
  restricted_micro := ledger.restricted(w.id, p_app);
  SELECT * INTO b FROM ledger.budget_in(w.id, p_app, ledger.month(e.booked_at));
  IF FOUND THEN restricted_micro := ledger.withheld(w, b, restricted_micro); END IF;
END $$;

-- Return a whole reservation. A missing or expired reservation moves nothing.
CREATE OR REPLACE FUNCTION ledger.release(
  p_account uuid, p_app uuid, p_job uuid, p_actor text, p_reason text,
  OUT outcome text, OUT available_micro bigint, OUT reserved_micro bigint,
  OUT debt_micro bigint, OUT restricted_micro bigint, OUT returned_micro bigint,
  OUT booked_at timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
  w wallet_wallet;
  r wallet_reservation;
  b wallet_budget;
BEGIN
  w := ledger.locked_wallet(p_account);
  SELECT * INTO r FROM wallet_reservation WHERE id = p_job AND wallet_id = w.id;
  returned_micro := 0;
  IF NOT FOUND THEN
    outcome := 'nothing_reserved';
  ELSIF r.status = 'open' THEN
    outcome := 'released';
    returned_micro := r.amount_micro;
    w := ledger.end_reservation(w, r, 'release', p_actor, p_reason);
    w := ledger.catch_up(w);
    PERFORM ledger.store(w);
  ELSIF r.status = 'expired' THEN
    outcome := 'expired';
  ELSE
    outcome := 'already_resolved';
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
  booked_at := greatest(w.booked_at, ledger.now());
  restricted_micro := ledger.restricted(w.id, p_app);
  SELECT * INTO b FROM ledger.budget_in(w.id, p_app, ledger.month(booked_at));
  IF FOUND THEN
    restricted_micro := ledger.withheld(w, b, restricted_micro);
  END IF;
END $$;

-- Book what is due in one wallet by now, and return the number of entries. Safe to
-- repeat, also concurrently.
CREATE OR REPLACE FUNCTION ledger.expire(p_account uuid, OUT booked bigint)
LANGUAGE plpgsql AS $$
DECLARE
  w wallet_wallet;
  before bigint;
BEGIN
  SELECT seq INTO before FROM wallet_wallet WHERE account_id = p_account
  FOR NO KEY UPDATE;
  w := ledger.locked_wallet(p_account);
  booked := w.seq - coalesce(before, 0);
END $$;
