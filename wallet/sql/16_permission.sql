-- Whether an app may take an account's credits, decided under the wallet's lock.

-- As `App.objects.live()`: the app is active, and its owner's account is not closed.
CREATE OR REPLACE FUNCTION ledger.is_live(a accounts_app) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT a.active AND NOT EXISTS (
    SELECT FROM accounts_user o WHERE o.id = a.owner_id AND NOT o.is_active)
$$;

-- The outcome that refuses to take credits now, or NULL. `p_by` names the party that
-- asks. An 'app' needs the account's live consent. A 'person' who starts a job or buys
-- a tool consents by doing so. 'staff' need neither consent nor an open account.
--
-- The caller holds the wallet's lock. Two locks here order this decision and a change:
-- 1. FOR SHARE on the consent conflicts with any UPDATE, so a revocation waits for this
--    movement's commit. It either commits before this decision, which sees it, or
--    takes effect after the charge.
-- 2. FOR KEY SHARE on the account does the same with the FOR UPDATE of
--    `accounts.signin.closing.close`. It does not conflict with a sign-in that locks
--    the account and may then wait for the wallet: that would be a deadlock.
-- An app's row is not locked, because every wallet would contend for it. A movement
-- that decides while the app is being deactivated may still finish.
CREATE OR REPLACE FUNCTION ledger.forbidden(p_account uuid, p_app uuid, p_by text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  granted boolean := true;
  is_open boolean;
  live boolean;
BEGIN
  IF p_by = 'staff' THEN RETURN NULL; END IF;
  IF p_by = 'app' THEN
    SELECT c.revoked_at IS NULL INTO granted FROM accounts_consent c
    WHERE c.user_id = p_account AND c.app_id = p_app FOR SHARE;
  END IF;
  SELECT u.is_active INTO is_open FROM accounts_user u
  WHERE u.id = p_account FOR KEY SHARE;
  SELECT ledger.is_live(a) INTO live FROM accounts_app a WHERE a.id = p_app;
  RETURN CASE
    WHEN p_by = 'app' AND (granted AND is_open) IS NOT TRUE THEN 'app_not_granted'
    WHEN is_open IS NOT TRUE THEN 'account_closed'
    WHEN live IS NOT TRUE THEN 'app_inactive'
  END;
END $$;
