-- Book missing terms once, and return the number of entries. Rows of older releases
-- have terms that no entry has. Only current ones are booked: grants with credits, also
-- reserved ones, and limits that apply.
CREATE OR REPLACE FUNCTION ledger.adopt(p_account uuid, OUT booked bigint)
LANGUAGE plpgsql AS $$
DECLARE
  w wallet_wallet;
  g wallet_grant;
  b wallet_budget;
  e wallet_entry;
  before bigint;
BEGIN
  w := ledger.locked_wallet(p_account);
  before := w.seq;
  FOR g IN
    SELECT * FROM wallet_grant x WHERE x.wallet_id = w.id
      AND (x.has_credits OR x.id IN (SELECT d.grant_id FROM wallet_reservation r
        JOIN wallet_draw d ON d.reservation_id = r.id
        WHERE r.wallet_id = w.id AND r.status = 'open'))
      AND NOT EXISTS (SELECT FROM wallet_entry p WHERE p.grant_id = x.id
        AND p.terms IS NOT NULL)
    ORDER BY x.id
  LOOP
    e := NULL;
    e.movement_id := gen_random_uuid();
    e.grant_id := g.id;
    e.app_id := coalesce(g.app_id, g.given_by_id);
    e.actor := 'system:adopt';
    e := ledger.next_entry(e, 'terms', 'nothing', 'terms', 0);
    e.terms := ledger.grant_terms(g);
    w := ledger.book(w, e);
  END LOOP;
  PERFORM ledger.store(w);
  IF w.overdraft_limit_micro <> 0 AND NOT EXISTS (SELECT FROM wallet_entry p
    WHERE p.wallet_id = w.id AND p.kind = 'limit' AND p.app_id IS NULL)
  THEN
    w := ledger.book_limit(w, NULL, w.overdraft_limit_micro, 'system:adopt');
  END IF;
  FOR b IN
    SELECT * FROM wallet_budget x WHERE x.wallet_id = w.id AND NOT EXISTS (
      SELECT FROM wallet_entry p WHERE p.wallet_id = w.id AND p.kind = 'limit'
        AND p.app_id = x.app_id)
    ORDER BY x.id
  LOOP
    w := ledger.book_limit(w, b.app_id, b.limit_micro, 'system:adopt');
  END LOOP;
  booked := w.seq - before;
END $$;

-- The invariants report a limit without an entry, so book these at installation.
SELECT count(ledger.adopt(w.account_id)) FROM wallet_wallet w
WHERE w.overdraft_limit_micro <> 0 AND NOT EXISTS (
  SELECT FROM wallet_entry e
  WHERE e.wallet_id = w.id AND e.kind = 'limit' AND e.app_id IS NULL);
