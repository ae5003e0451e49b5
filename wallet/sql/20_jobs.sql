-- The life of a job's credits: reserve, then settle, release or expire.
-- A refusal is an outcome, never an exception; it has moved nothing (what was due by
-- time may have been booked, as any reader would already have seen it).

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

-- Charge what a job really cost. Up to the reservation it comes from there and the
-- rest goes back; beyond it, and after an expiry (`late`), it is a fresh charge under
-- the app's overage policy and within its budget. `uncovered` is what nobody paid.
-- Where the app may not take the person's credits any more, a charge takes what is
-- still reserved and no more. The policy `held` asks for no more to begin with.
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
  -- `held` takes what is reserved and nothing else, so a late one takes nothing.
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

-- How a cost beyond the reservation is met: fresh out of the balance, owed as an
-- overdraft. `enough` says whether the balance alone would do.
CREATE OR REPLACE FUNCTION ledger.overage(
  w wallet_wallet, b wallet_budget, p_restricted bigint, p_policy text, p_cost bigint,
  OUT fresh bigint, OUT owed bigint, OUT enough boolean
) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  spendable bigint := greatest(0, w.available_micro - w.debt_micro - p_restricted);
  -- NULL without a budget, and then least() passes it over.
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

-- The entries of one settlement: charge, return, overage, overdraft, where not zero.
-- The first resolves the reservation; without one it carries the money key instead.
-- A settlement that could charge nothing writes none: there the job's row alone says
-- that it was settled, and its caller holds that row's lock.
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
  -- A grant that expired while its credits were reserved takes them with it.
  IF p_held > p_kept THEN w := ledger.catch_up(w); END IF;
  RETURN w;
END $$;

-- Give a whole reservation back. Nothing to do where there is none, or it has expired.
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

-- Book whatever is due in one wallet by now. Safe to repeat, at once or in turn.
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
