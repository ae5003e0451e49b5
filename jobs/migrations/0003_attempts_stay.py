"""The database itself refuses to change a finished attempt, or to forget a young one."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION jobs_attempts_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'running' THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' AND OLD.started_at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'attempts are append-only: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER jobs_attempts_stay
    BEFORE UPDATE OR DELETE ON jobs_attempt
    FOR EACH ROW EXECUTE FUNCTION jobs_attempts_stay();
"""
BACKWARD = """
DROP TRIGGER jobs_attempts_stay ON jobs_attempt;
DROP FUNCTION jobs_attempts_stay();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_webhooks")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
