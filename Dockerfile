# Two images: the server's (the default: web, workers, beat and migrate) and, as target
# `media`, the same with the media engine, for media-worker. docker-compose.yml sets each
# command.

# The engine's packages have an environment of their own, as in .venv-media. From Debian
# they need nothing beyond what python:slim has.
FROM python:3.13-slim AS engine

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /build
COPY media/requirements.txt ./
RUN python -m venv /opt/media \
    && /opt/media/bin/python -m pip install --require-hashes \
       --requirement requirements.txt

FROM python:3.13-slim AS server

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

FROM server AS media

ENV MEDIA_PYTHON=/opt/media/bin/python
COPY --from=engine /opt/media /opt/media
COPY media media/

# A dead engine or web does not count; the worker must answer.
HEALTHCHECK --interval=1m --timeout=30s --start-period=30s CMD \
    ["sh", "-c", "celery -A focus.celery inspect -t 10 ping -d media@$HOSTNAME"]

CMD ["celery", "-A", "focus.celery", "worker", "-Q", "media", "-n", "media@%h", \
     "-P", "threads", "-c", "1"]

# `docker build .` makes the last stage.
FROM server
