-- Functions that processes of the previous release call during a deployment. Those
-- processes check the consent before the call, and know no outcome that refuses it.
-- A migration of the next release drops these functions, and `ledger.in_month`, which
-- upgraded databases still have: a statement that runs while this text is installed
-- may be in the middle of calling it.

CREATE OR REPLACE FUNCTION ledger.reserve(
  p_account uuid, p_app uuid, p_job uuid, p_amount bigint, p_ttl_seconds int,
  p_actor text, p_reason text,
  OUT outcome text, OUT movement_id uuid, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint, OUT restricted_micro bigint,
  OUT expires_at timestamptz, OUT limit_micro bigint, OUT spent_micro bigint
) LANGUAGE sql AS $$
  SELECT * FROM ledger.reserve_by('staff', p_account, p_app, p_job, p_amount,
    p_ttl_seconds, p_actor, p_reason)
$$;

CREATE OR REPLACE FUNCTION ledger.take(
  p_account uuid, p_app uuid, p_kind text, p_to text, p_amount bigint, p_actor text,
  p_reason text, p_key text,
  OUT outcome text, OUT movement_id uuid, OUT available_micro bigint,
  OUT reserved_micro bigint, OUT debt_micro bigint, OUT restricted_micro bigint,
  OUT first_amount_micro bigint, OUT first_balance_micro bigint,
  OUT limit_micro bigint, OUT spent_micro bigint, OUT booked_at timestamptz
) LANGUAGE sql AS $$
  SELECT * FROM ledger.take_by('staff', p_account, p_app, p_kind, p_to, p_amount,
    p_actor, p_reason, p_key)
$$;
