"""An origin belongs to one app, and the database itself refuses a second one.

An array has no unique index over its elements, so a trigger keeps a row for each origin.
Where two apps have the same origin already, the older app keeps it.
"""

from django.db import migrations, models

FORWARD = """
CREATE TABLE accounts_apporigin (
    origin varchar(255) PRIMARY KEY,
    app_id uuid NOT NULL REFERENCES accounts_app (id)
      ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX accounts_apporigin_app ON accounts_apporigin (app_id);

INSERT INTO accounts_apporigin (origin, app_id)
SELECT DISTINCT ON (origin) origin, a.id
FROM accounts_app a, unnest(a.origins) AS origin
ORDER BY origin, a.created_at, a.id;
UPDATE accounts_app a SET origins = ARRAY(
    SELECT o.origin FROM accounts_apporigin o WHERE o.app_id = a.id ORDER BY o.origin
)
WHERE EXISTS (
    SELECT FROM unnest(a.origins) AS mine
    JOIN accounts_apporigin o ON o.origin = mine WHERE o.app_id <> a.id
);

CREATE FUNCTION accounts_app_keeps_origins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM accounts_apporigin o
    WHERE o.app_id = NEW.id AND o.origin <> ALL (NEW.origins);
    INSERT INTO accounts_apporigin (origin, app_id)
    SELECT DISTINCT mine, NEW.id FROM unnest(NEW.origins) AS mine
    WHERE NOT EXISTS (
        SELECT FROM accounts_apporigin o WHERE o.origin = mine AND o.app_id = NEW.id
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER accounts_app_keeps_origins
    AFTER INSERT OR UPDATE OF origins ON accounts_app
    FOR EACH ROW EXECUTE FUNCTION accounts_app_keeps_origins();
"""
BACKWARD = """
DROP TRIGGER accounts_app_keeps_origins ON accounts_app;
DROP FUNCTION accounts_app_keeps_origins();
DROP TABLE accounts_apporigin;
"""
# Apps that no vendor published were made by staff, as those of create_app are.
FAMILY = """
UPDATE accounts_app a SET family = true
WHERE a.owner_id IS NULL OR EXISTS (
    SELECT FROM accounts_securityevent e
    WHERE e.kind = 'app_created' AND e.facts ->> 'app' = a.slug
      AND e.actor IN ('manage.py create_app', 'manage.py demo')
);
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0017_usernames")]
    operations = [
        migrations.AddField(
            model_name="app",
            name="family",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Its tokens may also read a person's linked accounts' tokens "
                "(xToken, oauthToken).",
                verbose_name="Focus family",
            ),
        ),
        migrations.RunSQL(FAMILY, migrations.RunSQL.noop),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
