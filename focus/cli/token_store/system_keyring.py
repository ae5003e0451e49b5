"""The keyring of the operating system, if there is a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from focus.cli.failure import Failure

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "focus-cli"
# These store nothing, or store clear text. Our own 0600 file is safer then.
_NOT_REAL = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


def name() -> str | None:
    """Return the keyring's name for the user, or None without a real keyring."""
    backend = _backend()
    return str(backend.name) if backend else None


def get(server: str) -> str | None:
    """Return the token of a server, or None. Raises `Failure` if the keyring fails."""
    try:
        return _required().get_password(SERVICE, server)
    except Failure:
        raise
    except Exception as error:  # backends raise errors of their own kinds
        raise _refused(error) from None


def put(server: str, token: str) -> None:
    """Store the token, and read it back, because some backends drop it silently."""
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
    """Delete the token, if there is one."""
    from keyring.errors import PasswordDeleteError

    try:
        _required().delete_password(SERVICE, server)
    except (PasswordDeleteError, Failure):
        return
    except Exception as error:  # as above
        raise _refused(error) from None


def _backend() -> KeyringBackend | None:
    # Imported late, because the search for backends takes longer than most commands.
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
    # Only the error's type: a backend's message could quote the token.
    return Failure(
        f"The keyring refused ({type(error).__name__}). Unlock it, or run: "
        "focus login --storage file",
        error="keyring_refused",
    )
