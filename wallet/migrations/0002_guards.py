"""The schema of the ledger's functions, and what the tables refuse by themselves."""

from django.db import migrations

# Entries never change. The other tables change only by the ledger's functions, and
# nothing here is ever deleted. Tests empty their own databases by TRUNCATE, which is
# let through only where the database's name says test and the connection asks for it.
GUARDS = """
CREATE SCHEMA IF NOT EXISTS ledger;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' AND current_database() LIKE 'test\\_%'
     AND current_setting('focus.allow_truncate', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'the ledger is immutable: % on % refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER entries_never_change BEFORE UPDATE OR DELETE ON wallet_entry
  FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
"""
NEVER_EMPTIED = "".join(
    f"""
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON wallet_{table}
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
"""
    for table in ["wallet", "grant", "reservation", "draw", "entry"]
)
NEVER_DELETED = "".join(
    f"""
CREATE TRIGGER never_deleted BEFORE DELETE ON wallet_{table}
  FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
"""
    for table in ["wallet", "grant", "reservation", "draw"]
)
# Room for updates in place: these rows change with every movement.
FILL = """
ALTER TABLE wallet_wallet SET (fillfactor = 60);
ALTER TABLE wallet_grant SET (fillfactor = 70);
ALTER TABLE wallet_reservation SET (fillfactor = 80);
ALTER TABLE wallet_draw SET (fillfactor = 80);
"""


class Migration(migrations.Migration):
    dependencies = [("wallet", "0001_initial")]

    operations = [
        migrations.RunSQL(
            GUARDS + NEVER_EMPTIED + NEVER_DELETED + FILL, "DROP SCHEMA ledger CASCADE"
        )
    ]
