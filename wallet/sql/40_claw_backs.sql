-- Refunded or disputed money takes back the credits that it bought. Money that is won
-- back reinstates them. The money key of its grant names the purchase.

-- Draw up to an amount for a claw-back, and return the drawn amount. Order: the grant
-- of the purchase, then spending order, last the credits restricted to other apps.
CREATE OR REPLACE FUNCTION ledger.draw_back(
  g wallet_grant, p_movement uuid, p_claw_back bigint, p_amount bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  other record;
  need bigint := p_amount;
  part bigint;
BEGIN
  FOR other IN
    SELECT id, remaining_micro FROM wallet_grant
    WHERE wallet_id = g.wallet_id AND has_credits
    ORDER BY id <> g.id, (app_id IS NOT NULL AND app_id IS DISTINCT FROM g.app_id),
             (app_id IS NULL), priority, expires_at NULLS LAST, (category = 'paid'), id
  LOOP
    EXIT WHEN need = 0;
    part := least(need, other.remaining_micro);
    UPDATE wallet_grant SET remaining_micro = remaining_micro - part
    WHERE id = other.id;
    INSERT INTO wallet_draw (movement_id, claw_back_id, grant_id, amount_micro,
                             returned_micro)
    VALUES (p_movement, p_claw_back, other.id, part, 0);
    need := need - part;
  END LOOP;
  RETURN p_amount - need;
END $$;

-- The wallet's claw-back that was booked under a money key, or no row.
CREATE OR REPLACE FUNCTION ledger.claw_back_of(p_wallet bigint, p_key text)
RETURNS SETOF wallet_clawback LANGUAGE sql STABLE AS $$
  SELECT c.* FROM wallet_entry e
  JOIN wallet_clawback c ON c.movement_id = e.movement_id
  WHERE e.key = p_key AND e.wallet_id = p_wallet AND e.kind = 'claw_back'
$$;

-- Take back credits of a refunded or disputed purchase, once per key for ever. Credits
-- that jobs have reserved stay reserved. Missing credits become debt.
-- Outcomes: clawed_back, duplicate, unknown_purchase, exceeds_purchase.
CREATE OR REPLACE FUNCTION ledger.claw_back(
  p_account uuid, p_purchase text, p_amount bigint, p_actor text, p_reason text,
  p_key text,
  OUT outcome text, OUT movement_id uuid, OUT grant_id bigint, OUT taken_micro bigint,
  OUT owed_micro bigint, OUT left_micro bigint, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  w wallet_wallet;
  g wallet_grant;
  c wallet_clawback;
  e wallet_entry;
BEGIN
  w := ledger.locked_wallet(p_account);
  SELECT * INTO c FROM ledger.claw_back_of(w.id, p_key);
  SELECT p.* INTO g FROM wallet_entry x JOIN wallet_grant p ON p.id = x.grant_id
  WHERE x.key = p_purchase AND x.wallet_id = w.id AND x.kind = 'grant'
    AND p.category = 'paid';
  IF c.id IS NOT NULL THEN
    outcome := 'duplicate';
  ELSIF g.id IS NULL THEN
    outcome := 'unknown_purchase';
  ELSIF p_amount > g.granted_micro - g.clawed_back_micro THEN
    outcome := 'exceeds_purchase';
  ELSE
    outcome := 'clawed_back';
    c.id := nextval('wallet_clawback_id_seq');
    c.grant_id := g.id;
    c.movement_id := gen_random_uuid();
    c.amount_micro := p_amount;
    c.debt_micro := p_amount - ledger.draw_back(g, c.movement_id, c.id, p_amount);
    INSERT INTO wallet_clawback (id, grant_id, movement_id, amount_micro, debt_micro)
    VALUES (c.id, c.grant_id, c.movement_id, c.amount_micro, c.debt_micro);
    UPDATE wallet_grant SET clawed_back_micro = clawed_back_micro + p_amount
    WHERE id = g.id;
    e.movement_id := c.movement_id;
    e.grant_id := g.id;
    e.actor := p_actor;
    IF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
    w := ledger.book_claw_back(w, e, c, p_key);
    PERFORM ledger.store(w);
  END IF;
  movement_id := c.movement_id;
  grant_id := coalesce(c.grant_id, g.id);
  taken_micro := c.amount_micro - c.debt_micro;
  owed_micro := c.debt_micro;
  left_micro := g.granted_micro - g.clawed_back_micro;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
END $$;

-- Book the entries of a claw-back: from the available credits, and as debt.
CREATE OR REPLACE FUNCTION ledger.book_claw_back(
  w wallet_wallet, e wallet_entry, c wallet_clawback, p_key text
) RETURNS wallet_wallet LANGUAGE plpgsql AS $$
DECLARE
  part record;
  next_key text := p_key;
BEGIN
  FOR part IN
    SELECT * FROM (VALUES
      ('available', c.amount_micro - c.debt_micro), ('debt', c.debt_micro)
    ) AS p(debit, amount) WHERE p.amount > 0
  LOOP
    e := ledger.next_entry(e, 'claw_back', part.debit, 'stripe', part.amount);
    e.key := next_key;
    next_key := NULL;
    w := ledger.book(w, e);
  END LOOP;
  RETURN w;
END $$;

-- Reinstate a whole claw-back, once for ever.
-- 1. Debt that is still owed is forgiven.
-- 2. Drawn credits return to the grants that they came from.
-- 3. Debt that was repaid in the meantime becomes a grant on the purchase's terms.
-- Outcomes: reinstated, duplicate, already_reinstated, unknown_claw_back.
CREATE OR REPLACE FUNCTION ledger.reinstate(
  p_account uuid, p_claw_back text, p_actor text, p_reason text, p_key text,
  OUT outcome text, OUT movement_id uuid, OUT repaid_micro bigint,
  OUT returned_micro bigint, OUT granted_micro bigint, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  w wallet_wallet;
  c wallet_clawback;
  e wallet_entry;
BEGIN
  w := ledger.locked_wallet(p_account);
  SELECT * INTO c FROM ledger.claw_back_of(w.id, p_claw_back);
  IF c.id IS NULL THEN
    outcome := 'unknown_claw_back';
  ELSIF c.reinstatement_id IS NOT NULL THEN
    movement_id := c.reinstatement_id;
    SELECT 'duplicate' INTO outcome FROM wallet_entry x
    WHERE x.key = p_key AND x.movement_id = c.reinstatement_id;
    outcome := coalesce(outcome, 'already_reinstated');
  ELSE
    outcome := 'reinstated';
    movement_id := gen_random_uuid();
    e.movement_id := movement_id;
    repaid_micro := least(c.debt_micro, w.debt_micro);
    returned_micro := c.amount_micro - c.debt_micro;
    granted_micro := c.debt_micro - repaid_micro;
    UPDATE wallet_clawback SET reinstatement_id = e.movement_id WHERE id = c.id;
    UPDATE wallet_grant SET clawed_back_micro = clawed_back_micro - c.amount_micro
    WHERE id = c.grant_id;
    UPDATE wallet_grant g SET remaining_micro = g.remaining_micro + d.amount_micro
    FROM wallet_draw d WHERE d.claw_back_id = c.id AND g.id = d.grant_id;
    UPDATE wallet_draw SET returned_micro = amount_micro WHERE claw_back_id = c.id;
    e.grant_id := c.grant_id;
    e.actor := p_actor;
    IF p_reason <> '' THEN e := ledger.say(w, e, p_reason); END IF;
    e.key := p_key;
    w := ledger.book_reinstatement(w, e, repaid_micro, returned_micro, granted_micro);
    -- A grant that expired during the dispute expires now.
    w := ledger.catch_up(w);
    PERFORM ledger.store(w);
  END IF;
  available_micro := w.available_micro;
  reserved_micro := w.reserved_micro;
  debt_micro := w.debt_micro;
END $$;

-- Book the entries of a reinstatement that are not zero. The first carries the key.
CREATE OR REPLACE FUNCTION ledger.book_reinstatement(
  w wallet_wallet, e wallet_entry, p_repaid bigint, p_returned bigint, p_granted bigint
) RETURNS wallet_wallet LANGUAGE plpgsql AS $$
DECLARE
  part record;
  g wallet_grant;
  next_key text := e.key;
BEGIN
  FOR part IN
    SELECT * FROM (VALUES
      ('reinstate', 'debt', p_repaid), ('reinstate', 'available', p_returned),
      ('grant', 'available', p_granted)
    ) AS p(kind, credit, amount) WHERE p.amount > 0
  LOOP
    e := ledger.next_entry(e, part.kind, 'stripe', part.credit, part.amount);
    e.key := next_key;
    next_key := NULL;
    IF part.kind = 'grant' THEN
      INSERT INTO wallet_grant (wallet_id, source, category, priority, granted_micro,
        remaining_micro, expires_at, app_id)
      SELECT wallet_id, 'reinstated', category, priority, p_granted, p_granted,
        expires_at, app_id
      FROM wallet_grant WHERE id = e.grant_id RETURNING * INTO g;
      e.grant_id := g.id;
      e.terms := ledger.grant_terms(g);
    END IF;
    w := ledger.book(w, e);
  END LOOP;
  RETURN w;
END $$;
