-- Steps that the movements share. A step takes the locked wallet row (and the entry to
-- write) as a value and returns the changed row. The movement stores the wallet once.

-- The ledger's clock. Only a test, in a database named test_…, may move it.
CREATE OR REPLACE FUNCTION ledger.now() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN current_database() LIKE 'test\_%'
    THEN clock_timestamp()
      + coalesce(nullif(current_setting('focus.clock_offset', true), ''), '0')::interval
    ELSE clock_timestamp() END
$$;

-- The opening of every movement: return the account's wallet, locked until the
-- transaction ends, with everything booked that is due by time. The first movement of
-- an account creates its wallet.
-- NO KEY: a plain FOR UPDATE would deadlock with inserts that refer to the wallet.
CREATE OR REPLACE FUNCTION ledger.locked_wallet(p_account uuid) RETURNS wallet_wallet
LANGUAGE plpgsql AS $$
DECLARE w wallet_wallet;
BEGIN
  SELECT * INTO w FROM wallet_wallet WHERE account_id = p_account FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    INSERT INTO wallet_wallet (account_id, available_micro, reserved_micro, debt_micro,
                               overdraft_limit_micro, seq, head)
    VALUES (p_account, 0, 0, 0, 0, 0, decode(repeat('00', 32), 'hex'))
    ON CONFLICT (account_id) DO NOTHING;
    SELECT * INTO w FROM wallet_wallet WHERE account_id = p_account FOR NO KEY UPDATE;
  END IF;
  RETURN ledger.catch_up(w);
END $$;

-- Write the changed wallet. The caller holds its lock.
CREATE OR REPLACE FUNCTION ledger.store(w wallet_wallet) RETURNS void
LANGUAGE sql AS $$
  UPDATE wallet_wallet SET available_micro = w.available_micro,
    reserved_micro = w.reserved_micro, debt_micro = w.debt_micro,
    seq = w.seq, head = w.head, booked_at = w.booked_at
  WHERE id = w.id
$$;

-- Hash the previous hash and every column that carries money or meaning. A row's text
-- and json quote their values, so two different entries never produce the same text.
-- The text of a version never changes, so old entries stay verifiable for ever.
-- Version 1 (NULL) holds the reason itself. Version 2 holds its digest, and the terms.
CREATE OR REPLACE FUNCTION ledger.entry_hash(e wallet_entry) RETURNS bytea
LANGUAGE sql STABLE AS $$
  SELECT sha256(e.prev_hash || convert_to(CASE
    WHEN e.hash_version = 2 THEN ROW(
      e.hash_version, e.wallet_id, e.seq, e.movement_id, e.kind, e.debit, e.credit,
      e.amount_micro, e.available_after, e.reserved_after, e.debt_after,
      e.uncovered_micro, e.reservation_id, e.resolves, e.grant_id, e.app_id, e.job_id,
      e.actor, e.reason, encode(e.text_digest, 'hex'), e.terms, e.key,
      (extract(epoch FROM e.booked_at) * 1000000)::bigint)::text
    WHEN e.hash_version IS NULL THEN json_build_array(
      e.wallet_id, e.seq, e.movement_id, e.kind, e.debit, e.credit, e.amount_micro,
      e.available_after, e.reserved_after, e.debt_after, e.uncovered_micro,
      e.reservation_id, e.resolves, e.grant_id, e.app_id, e.job_id, e.actor, e.reason,
      e.key, (extract(epoch FROM e.booked_at) * 1000000)::bigint)::text
    END, 'UTF8'))
$$;

-- The terms of a grant, a reservation or a limit as text. The entry stores them, so
-- that the chain proves them.
CREATE OR REPLACE FUNCTION ledger.grant_terms(g wallet_grant) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT ROW('grant', g.source, g.category, g.priority,
    (extract(epoch FROM g.expires_at) * 1000000)::bigint, g.app_id, g.given_by_id)::text
$$;

CREATE OR REPLACE FUNCTION ledger.reservation_terms(p_expires_at timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'until ' || (extract(epoch FROM p_expires_at) * 1000000)::bigint
$$;

-- The end in the terms of a reservation, in microseconds, or NULL for other text.
CREATE OR REPLACE FUNCTION ledger.end_in_terms(p_terms text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
  SELECT substring(p_terms FROM '^until ([0-9]{1,18})$')::bigint
$$;

CREATE OR REPLACE FUNCTION ledger.limit_terms(p_limit bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT 'limit ' || coalesce(p_limit::text, 'none')
$$;

-- Store free text beside the chain and set its digest in the entry. The digest is
-- salted: once text and salt are erased, a guess at a short text cannot be confirmed.
CREATE OR REPLACE FUNCTION ledger.say(w wallet_wallet, e wallet_entry, p_text text)
RETURNS wallet_entry LANGUAGE plpgsql AS $$
DECLARE salt uuid;
BEGIN
  salt := gen_random_uuid();
  INSERT INTO wallet_text (wallet_id, salt, said) VALUES (w.id, salt, p_text)
  RETURNING id INTO e.text_id;
  e.text_digest := ledger.text_digest(salt, p_text);
  RETURN e;
END $$;

CREATE OR REPLACE FUNCTION ledger.text_digest(p_salt uuid, p_text text) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
  SELECT sha256(uuid_send(p_salt) || convert_to(p_text, 'UTF8'))
$$;

-- Write one entry and move the wallet's balances by it. booked_at is read under the
-- lock and never decreases, so order by time is order by seq. A movement that checked a
-- month's budget passes the moment of that check, so that both are in the same month.
CREATE OR REPLACE FUNCTION ledger.book(w wallet_wallet, e wallet_entry)
RETURNS wallet_wallet LANGUAGE plpgsql AS $$
BEGIN
  CASE e.debit
    WHEN 'available' THEN w.available_micro := w.available_micro - e.amount_micro;
    WHEN 'reserved' THEN w.reserved_micro := w.reserved_micro - e.amount_micro;
    WHEN 'debt' THEN w.debt_micro := w.debt_micro + e.amount_micro;
    ELSE NULL;
  END CASE;
  CASE e.credit
    WHEN 'available' THEN w.available_micro := w.available_micro + e.amount_micro;
    WHEN 'reserved' THEN w.reserved_micro := w.reserved_micro + e.amount_micro;
    WHEN 'debt' THEN w.debt_micro := w.debt_micro - e.amount_micro;
    ELSE NULL;
  END CASE;
  w.seq := w.seq + 1;
  w.booked_at := greatest(coalesce(e.booked_at, ledger.now()), w.booked_at);
  e.id := nextval('wallet_entry_id_seq');
  e.wallet_id := w.id;
  e.seq := w.seq;
  e.available_after := w.available_micro;
  e.reserved_after := w.reserved_micro;
  e.debt_after := w.debt_micro;
  e.uncovered_micro := coalesce(e.uncovered_micro, 0);
  e.resolves := coalesce(e.resolves, false);
  e.reason := coalesce(e.reason, '');
  e.booked_at := w.booked_at;
  e.prev_hash := w.head;
  e.hash_version := 2;
  e.hash := ledger.entry_hash(e);
  w.head := e.hash;
  INSERT INTO wallet_entry SELECT e.*;
  RETURN w;
END $$;

-- Return the movement's next entry. It keeps actor, reason, app, job, reservation and
-- grant. Facts of the first entry alone (resolves, key, terms, uncovered) are reset.
CREATE OR REPLACE FUNCTION ledger.next_entry(
  e wallet_entry, p_kind text, p_debit text, p_credit text, p_amount bigint
) RETURNS wallet_entry LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  e.kind := p_kind;
  e.debit := p_debit;
  e.credit := p_credit;
  e.amount_micro := p_amount;
  e.resolves := false;
  e.key := NULL;
  e.terms := NULL;
  e.uncovered_micro := 0;
  RETURN e;
END $$;

-- Draw an amount from the wallet's grants. Order: restricted to the app, priority,
-- sooner expiry, promotional before paid. With `p_any` (staff), grants that are
-- restricted to other apps count too. The caller has checked that there is enough.
CREATE OR REPLACE FUNCTION ledger.draw(
  p_wallet bigint, p_movement uuid, p_reservation uuid, p_app uuid, p_any boolean,
  p_amount bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  g record;
  need bigint := p_amount;
  part bigint;
BEGIN
  IF need = 0 THEN RETURN; END IF;
  FOR g IN
    SELECT id, remaining_micro FROM wallet_grant
    WHERE wallet_id = p_wallet AND has_credits
      AND (app_id IS NULL OR app_id = p_app OR p_any)
    ORDER BY (app_id IS NULL), priority, expires_at NULLS LAST,
             (category = 'paid'), id
  LOOP
    part := least(need, g.remaining_micro);
    UPDATE wallet_grant SET remaining_micro = remaining_micro - part WHERE id = g.id;
    INSERT INTO wallet_draw (movement_id, reservation_id, grant_id, amount_micro,
                             returned_micro)
    VALUES (p_movement, p_reservation, g.id, part, 0);
    need := need - part;
    EXIT WHEN need = 0;
  END LOOP;
  IF need > 0 THEN
    -- Not a refusal: the caller has checked, so the wallet and its grants disagree.
    RAISE EXCEPTION 'wallet %: grants are % micro-credits short', p_wallet, need
      USING ERRCODE = 'data_corrupted';
  END IF;
END $$;

-- Return a reservation's credits to the grants that it drew from, the last draw first.
CREATE OR REPLACE FUNCTION ledger.give_back(p_reservation uuid, p_amount bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  d record;
  need bigint := p_amount;
  part bigint;
BEGIN
  IF need = 0 THEN RETURN; END IF;
  FOR d IN
    SELECT id, grant_id, amount_micro - returned_micro AS held FROM wallet_draw
    WHERE reservation_id = p_reservation ORDER BY id DESC
  LOOP
    part := least(need, d.held);
    UPDATE wallet_draw SET returned_micro = returned_micro + part WHERE id = d.id;
    UPDATE wallet_grant SET remaining_micro = remaining_micro + part
    WHERE id = d.grant_id;
    need := need - part;
    EXIT WHEN need = 0;
  END LOOP;
  IF need > 0 THEN
    RAISE EXCEPTION 'reservation %: draws are % micro-credits short', p_reservation, need
      USING ERRCODE = 'data_corrupted';
  END IF;
END $$;

-- End an open reservation and return all of it, as `release` or `expire`.
CREATE OR REPLACE FUNCTION ledger.end_reservation(
  w wallet_wallet, r wallet_reservation, p_kind text, p_actor text, p_reason text
) RETURNS wallet_wallet LANGUAGE plpgsql AS $$
DECLARE e wallet_entry;
BEGIN
  UPDATE wallet_reservation SET resolved_at = ledger.now(),
    status = CASE p_kind WHEN 'expire' THEN 'expired' ELSE 'released' END
  WHERE id = r.id;
  PERFORM ledger.unspend(w.id, r.app_id, r.id, r.amount_micro);
  PERFORM ledger.give_back(r.id, r.amount_micro);
  e.movement_id := gen_random_uuid();
  e.reservation_id := r.id;
  e.job_id := r.id;
  e.app_id := r.app_id;
  e.actor := p_actor;
  -- The reason of an expiry is the ledger's own code. Other reasons are free text.
  IF p_kind = 'expire' THEN e.reason := p_reason;
  ELSIF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
  e := ledger.next_entry(e, p_kind, 'reserved', 'available', r.amount_micro);
  e.resolves := true;
  RETURN ledger.book(w, e);
END $$;

-- The open reservations past their expiry: their credits are free, booked or not.
CREATE OR REPLACE FUNCTION ledger.overdue(p_wallet bigint, p_at timestamptz)
RETURNS SETOF wallet_reservation LANGUAGE sql STABLE AS $$
  SELECT * FROM wallet_reservation
  WHERE wallet_id = p_wallet AND status = 'open' AND expires_at <= p_at
$$;

-- Book what is due by now: free the reservations past their expiry, and expire the
-- grants past theirs. Stores the wallet if anything was due.
CREATE OR REPLACE FUNCTION ledger.catch_up(w wallet_wallet) RETURNS wallet_wallet
LANGUAGE plpgsql AS $$
DECLARE
  r wallet_reservation;
  g record;
  e wallet_entry;
  t timestamptz := ledger.now();
  before bigint := w.seq;
BEGIN
  IF w.reserved_micro > 0 THEN
    FOR r IN SELECT * FROM ledger.overdue(w.id, t) ORDER BY expires_at, id
    LOOP
      w := ledger.end_reservation(w, r, 'expire', 'system:expiry', 'not settled in time');
    END LOOP;
  END IF;
  FOR g IN SELECT id, app_id, remaining_micro FROM wallet_grant
    WHERE wallet_id = w.id AND has_credits AND expires_at <= t
    ORDER BY expires_at, id
  LOOP
    e := NULL;
    e.movement_id := gen_random_uuid();
    e.grant_id := g.id;
    e.app_id := g.app_id;
    e.actor := 'system:expiry';
    e.reason := 'the grant expired';
    UPDATE wallet_grant SET remaining_micro = 0 WHERE id = g.id;
    INSERT INTO wallet_draw (movement_id, grant_id, amount_micro, returned_micro)
    VALUES (e.movement_id, g.id, g.remaining_micro, 0);
    e := ledger.next_entry(e, 'lapse', 'available', 'breakage', g.remaining_micro);
    w := ledger.book(w, e);
  END LOOP;
  IF w.seq <> before THEN PERFORM ledger.store(w); END IF;
  RETURN w;
END $$;

-- The credits in the wallet that only other apps may spend.
CREATE OR REPLACE FUNCTION ledger.restricted(p_wallet bigint, p_app uuid)
RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(remaining_micro), 0)::bigint FROM wallet_grant
  WHERE wallet_id = p_wallet AND has_credits AND app_id IS DISTINCT FROM p_app
    AND app_id IS NOT NULL
$$;
