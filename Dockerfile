# One image for web, worker, beat and migrate; docker-compose.yml sets each command.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DJANGO_SETTINGS_MODULE=focus.settings \
    MEDIA_ROOT=/data/media \
    WEB_HOST=0.0.0.0 \
    WEB_WORKERS=2 \
    WEB_THREADS=4 \
    PORT=8000

# The servers write to a home folder. A named volume inherits the owner of /data.
RUN useradd --uid 10001 --create-home focus \
    && install --directory --owner=focus --group=focus /data/media

WORKDIR /app
COPY requirements.txt ./
RUN pip install --require-hashes --requirement requirements.txt

COPY manage.py ./
COPY focus focus/
COPY accounts accounts/
COPY wallet wallet/
COPY jobs jobs/
COPY payments payments/
COPY docs/webhooks.md docs/

# collectstatic needs settings. These secrets are random and exist in this step only.
RUN python -m compileall -q . \
    && python -c "from cryptography.hazmat.primitives import serialization as s; \
       from cryptography.hazmat.primitives.asymmetric import ec; \
       print(ec.generate_private_key(ec.SECP256R1()).private_bytes( \
       s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode())" > /tmp/key \
    && python -c "from cryptography.hazmat.primitives import serialization as s; \
       from cryptography.hazmat.primitives.asymmetric import ed25519; \
       print(ed25519.Ed25519PrivateKey.generate().private_bytes( \
       s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode())" > /tmp/anchor \
    && SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" \
    && export SECRET_KEY \
    && TOKEN_PEPPER="$SECRET_KEY" SEALING_KEY="$SECRET_KEY" JWT_PRIVATE_KEY_FILE=/tmp/key \
       ANCHOR_PRIVATE_KEY_FILE=/tmp/anchor \
       DATABASE_URL=postgresql://build/build REDIS_URL=redis://build \
       python manage.py collectstatic --noinput \
    && rm /tmp/key /tmp/anchor

USER 10001
EXPOSE 8000

# Healthy while web answers and reaches the database; a dead worker does not count.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import http.client, json; \
     link = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); \
     link.request('GET', '/api/health/'); \
     checks = json.load(link.getresponse())['checks']; \
     raise SystemExit(checks['database'] != 'ok')"]

CMD ["python", "-m", "focus.server"]
