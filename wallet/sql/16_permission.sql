-- Whether an app may take a person's credits, decided under the wallet's lock.

-- As `App.objects.live()`: switched on, and no closed account owns it.
CREATE OR REPLACE FUNCTION ledger.is_live(a accounts_app) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT a.active AND NOT EXISTS (
    SELECT FROM accounts_user o WHERE o.id = a.owner_id AND NOT o.is_active)
$$;

-- Why credits may not be taken now, or NULL where they may. `p_by` says by whose doing
-- they are: an 'app' needs the person's live consent; a 'person' who starts a job or
-- buys a tool gives that consent by doing so; 'staff' need none of this.
--
-- The caller holds the wallet's lock. The two locks here make a consent's end and an
-- account's closing wait for this movement's commit, so each of them either comes
-- before this decision, and is seen, or after the charge. FOR SHARE conflicts with any
-- UPDATE of the consent. KEY SHARE conflicts only with the FOR UPDATE of
-- `accounts.signin.closing.close`, not with a sign-in that locks the account, which may itself
-- go on to wait for the wallet. An app's row is not locked: it is every wallet's, and
-- a movement that is deciding while the app is switched off may still finish.
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
