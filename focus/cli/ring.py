"""The system's keyring, where there is a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from focus.cli.failure import Failure

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "focus-cli"
# They store nothing, or store it in the clear: then our own 0600 file is safer.
_NOT_REAL = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


def name() -> str | None:
    """What the person calls it, or None where there is no real keyring."""
    backend = _backend()
    return str(backend.name) if backend else None


def get(server: str) -> str | None:
    try:
        return _required().get_password(SERVICE, server)
    except Failure:
        raise
    except Exception as error:  # backends raise errors of their own kinds
        raise _refused(error) from None


def put(server: str, token: str) -> None:
    """Store the token and read it back: some backends drop it silently."""
    try:
        backend = _required()
        backend.set_password(SERVICE, server, token)
        kept = backend.get_password(SERVICE, server)
    except Failure:
        raise
    except Exception as error:  # as above
        raise _refused(error) from None
    if kept != token:
        raise _refused(RuntimeError("it did not keep the token"))


def drop(server: str) -> None:
    """Forget the token; one that is not there is forgotten already."""
    from keyring.errors import PasswordDeleteError

    try:
        _required().delete_password(SERVICE, server)
    except (PasswordDeleteError, Failure):
        return
    except Exception as error:  # as above
        raise _refused(error) from None


def _backend() -> KeyringBackend | None:
    # Imported late: looking for backends takes longer than most commands.
    try:
        import keyring
        from keyring.backends.chainer import ChainerBackend

        found = keyring.get_keyring()
        several = list(found.backends) if isinstance(found, ChainerBackend) else [found]
    except Exception:  # a broken plug-in or desktop session must not stop a login
        return None
    return next((backend for backend in several if _is_real(backend)), None)


def _is_real(backend: KeyringBackend) -> bool:
    return not type(backend).__module__.startswith(_NOT_REAL)


def _required() -> KeyringBackend:
    backend = _backend()
    if backend is None:
        raise Failure(
            "This machine has no keyring that can be used now. Unlock it, or run: "
            "focus login --storage file",
            error="no_keyring",
        )
    return backend


def _refused(error: Exception) -> Failure:
    # Only the kind: a backend's message could quote what it was given.
    return Failure(
        f"The keyring refused ({type(error).__name__}). Unlock it, or run: "
        "focus login --storage file",
        error="keyring_refused",
    )
