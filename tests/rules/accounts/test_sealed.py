"""Sealed secrets open with any key of the ring, and for their purpose only."""

import pytest

from accounts import sealed
from accounts.sealed import Unreadable


def test_unsealing_returns_the_secret_that_the_sealed_bytes_hide():
    hidden = sealed.seal(b"whsec_1", purpose="endpoint")
    assert b"whsec_1" not in hidden
    assert sealed.unseal(hidden, purpose="endpoint") == b"whsec_1"


def test_unsealing_for_another_purpose_fails():
    hidden = sealed.seal(b"whsec_1", purpose="endpoint")
    with pytest.raises(Unreadable):
        sealed.unseal(hidden, purpose="link")


def test_the_first_key_seals_and_each_unseals(settings):
    settings.SEALING_KEYS = ["old"]
    hidden = sealed.seal(b"secret", purpose="link")
    settings.SEALING_KEYS = ["new", "old"]
    assert sealed.unseal(hidden, purpose="link") == b"secret"
    newer = sealed.seal(b"secret", purpose="link")
    settings.SEALING_KEYS = ["new"]
    assert sealed.unseal(newer, purpose="link") == b"secret"
    with pytest.raises(Unreadable):
        sealed.unseal(hidden, purpose="link")
