"""What is sealed opens with any key of the ring, for its own purpose only."""

import pytest

from accounts import sealed
from accounts.sealed import Unreadable


def test_what_was_sealed_is_unsealed_and_is_not_readable_meanwhile():
    hidden = sealed.seal(b"whsec_1", purpose="endpoint")
    assert b"whsec_1" not in hidden
    assert sealed.unseal(hidden, purpose="endpoint") == b"whsec_1"


def test_another_purpose_opens_nothing():
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
