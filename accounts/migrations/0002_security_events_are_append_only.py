"""The database itself refuses to change or remove a line of the audit."""

from django.db import migrations

# Tests empty their tables with TRUNCATE: allowed in a database named test_…, and
# only on a connection that asked for it.
FORWARD = """
CREATE FUNCTION accounts_events_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE'
       AND current_database() LIKE 'test\\_%'
       AND current_setting('focus.allow_truncate', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'security events are append-only: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER accounts_events_stay
    BEFORE UPDATE OR DELETE ON accounts_securityevent
    FOR EACH ROW EXECUTE FUNCTION accounts_events_stay();
CREATE TRIGGER accounts_events_stay_whole
    BEFORE TRUNCATE ON accounts_securityevent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_events_stay();
"""
BACKWARD = """
DROP TRIGGER accounts_events_stay_whole ON accounts_securityevent;
DROP TRIGGER accounts_events_stay ON accounts_securityevent;
DROP FUNCTION accounts_events_stay();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
