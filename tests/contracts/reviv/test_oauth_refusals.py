"""reviv guide, OAuth: what is refused, and what a provider may do wrong."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests import googling
from tests.contracts.reviv.test_oauth import CALLBACK, FRONT, front, initiate
from tests.contracts.reviv.test_refresh import refused

__all__ = ["front"]

pytestmark = [pytest.mark.django_db]


class TestRefusals:
    def test_the_providers_no(self, front: str) -> None:
        query = googling.answer(initiate(APIClient()), allow=False)
        answer = APIClient().get(CALLBACK, query)
        cancelled = {
            "code": "OAUTH_ERROR",
            "message": "The sign-in was cancelled.",
            "details": {"reason": "access_denied"},
        }
        assert answer.status_code == 400
        assert answer.json() == {"error": cancelled}
        again = APIClient().get(CALLBACK, query | {"code": "x"})
        assert again.json() == {"error": cancelled}

    def test_a_person_is_sent_back_with_a_word_of_ours(self, front: str) -> None:
        for error, word in [
            ("access_denied", "access_denied"),
            ("<script>", "oauth_error"),
            ("access_denied&x=y", "oauth_error"),
        ]:
            client = APIClient(headers={"Accept": "text/html,*/*"})
            url = initiate(client, return_to="/after?a=1")
            query = {"state": googling.query_of(url)["state"], "error": error}
            answer = client.get(CALLBACK, query)
            assert answer.status_code == 302
            assert answer["Location"] == f"{FRONT}/after?a=1&error={word}"

    def test_state_and_code(self, front: str) -> None:
        client = APIClient()
        refused(client.get(CALLBACK), 400, "MISSING_STATE")
        refused(client.get(CALLBACK, {"code": "x"}), 400, "MISSING_STATE")
        answer = client.get(CALLBACK, {"error": "x"})
        assert answer.json()["error"]["code"] == "OAUTH_ERROR"
        for state in ("x", "A" * 43, "\x00", "é" * 43):
            answer = client.get(CALLBACK, {"code": "x", "state": state})
            assert answer.status_code == 400
        refused(client.get(CALLBACK, {"state": "A" * 43}), 400, "INVALID_STATE")
        state = googling.query_of(initiate(client))["state"]
        answer = client.get(CALLBACK, {"state": state})
        refused(answer, 400, "MISSING_AUTHORIZATION_CODE")
        answer = client.get(CALLBACK, {"state": state, "code": "x"})
        refused(answer, 400, "INVALID_STATE")

    def test_a_callback_works_once(self, front: str) -> None:
        client = APIClient()
        query = googling.answer(initiate(client, return_to="/x"))
        assert client.get(CALLBACK, query).status_code == 302
        refused(client.get(CALLBACK, query), 400, "INVALID_STATE")

    def test_looking_first_spends_nothing(self, front: str) -> None:
        client = APIClient()
        query = googling.answer(initiate(client, return_to="/x"))
        assert client.head(CALLBACK, query).status_code == 405
        assert client.get(CALLBACK, query).status_code == 302

    def test_anothers_code_is_not_ours(self, front: str) -> None:
        """PKCE: the code of one sign-in is worth nothing in another."""
        victim = googling.answer(initiate(APIClient()))
        mine = googling.query_of(initiate(APIClient()))
        answer = APIClient().get(
            CALLBACK, {"state": mine["state"], "code": victim["code"]}
        )
        refused(answer, 400, "OAUTH_EXCHANGE_FAILED")

    def test_other_providers(self, front: str) -> None:
        for provider in ("github", "Google", "..%2f"):
            answer = APIClient().get(f"/api/auth/oauth/callback/{provider}/")
            assert answer.status_code in (400, 404)

    @pytest.mark.parametrize(
        "mode",
        [
            "wrong_nonce",
            "odd_nonce",
            "no_nonce",
            "wrong_aud",
            "two_auds",
            "wrong_azp",
            "wrong_iss",
            "alg_none",
            "hs256",
            "expired",
            "future",
            "no_exp",
            "no_iat",
            "no_sub",
            "odd_sub",
            "other_kid",
            "other_key",
            "token_500",
            "not_json",
            "no_token",
        ],
    )
    def test_what_the_provider_may_do_wrong(self, front: str, mode: str) -> None:
        query = googling.answer(initiate(APIClient()), mode=mode)
        answer = APIClient().get(CALLBACK, query)
        refused(answer, 400, "OAUTH_EXCHANGE_FAILED")
        assert not User.objects.exists()

    @pytest.mark.slow
    def test_a_slow_provider_is_given_up(self, front: str) -> None:
        query = googling.answer(initiate(APIClient()), mode="slow")
        refused(APIClient().get(CALLBACK, query), 400, "OAUTH_EXCHANGE_FAILED")

    def test_googles_other_spelling_of_itself(self, front: str) -> None:
        query = googling.answer(initiate(APIClient()), mode="other_iss")
        assert APIClient().get(CALLBACK, query).status_code == 200
