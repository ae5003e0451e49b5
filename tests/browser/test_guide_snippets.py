"""The Focus guide's JavaScript, run as printed with tokens that an app has."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.models import App, Consent, User
from focus.money import MICRO
from tests import processes
from tests.browser.chromium import CHROMIUM, QUIET
from tests.doors.browsing import PASSWORD

GUIDE = (settings.BASE_DIR / "docs" / "guides" / "focus.md").read_text()
HOST = "https://account.thefocus.ai"


def block(begins: str) -> str:
    """Return the guide's code block with this line, without calls of Clerk's SDK."""
    blocks = re.findall(r"```js\n(.*?)```", GUIDE, re.DOTALL)
    [found] = [text for text in blocks if begins in text]
    gone = re.compile(r"^import .*$|^const \{.*\} = useAuth\(\);$", re.MULTILINE)
    return gone.sub("", found)


def snippets(host: str) -> dict[str, str]:
    """Each snippet as the body of an async function; `getToken` is the caller's."""
    complete, fail = block("jobs/complete").split("// Fail and optionally")
    create = block('fetch("https://account.thefocus.ai/api/jobs", {')
    token = "const token = await getToken();\n"
    named = {
        "wallet": block("OPTION B"),
        "complete": create + complete,
        "fail": create + "// " + fail,
        "list": token + block("status=started&limit=50"),
        "session": block("api/sessionToken"),
    }
    return {name: text.replace(HOST, host) for name, text in named.items()}


# Records the response to each call of a snippet.
WATCH = """
const answers = [];
const real = globalThis.fetch;
globalThis.fetch = async (...call) => {
  const answer = await real(...call);
  answers.push([answer.status, await answer.clone().json()]);
  return answer;
};
const act = async (body, token) => {
  const run = Object.getPrototypeOf(async function () {}).constructor;
  await run("getToken", body)(async () => token);
};
"""
NAMES = ["wallet", "complete", "fail", "list"]
STATUSES = [200, 200, 201, 200, 201, 200, 200]


@pytest.fixture
def page_of_app(tmp_path: Path, transactional_db: None) -> Iterator[str]:
    """Serve a page of another origin on the same site, like an app's."""
    port = processes.free_port()
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Video</title>")
    command = ("http.server", str(port), "-d", str(folder))
    with processes.running(*command, log=tmp_path / "pages.log"):
        processes.until(lambda: processes.answers(port), seconds=60)
        yield f"http://localhost:{port}"


@pytest.fixture
def alice(transactional_db: None) -> User:
    """A person with a password hash that the server process accepts."""
    made = Argon2PasswordHasher().encode(PASSWORD, "salt for a test")
    return User.objects.create(email="alice@example.com", password=made)


@pytest.fixture
def app(page_of_app: str) -> App:
    return App.objects.create(
        slug="video",
        name="Focus Video",
        starter_credits_micro=20 * MICRO,
        origins=[page_of_app],
    )


def check(answers: list[Any]) -> None:
    assert [status for status, _ in answers] == STATUSES, answers
    wallet = answers[1][1]
    assert wallet["app_grant"] == {
        "slug": "video",
        "starter_credits": 20,
        "granted": True,
    }
    assert answers[3][1]["charged"] == 3
    assert answers[6][1] == {"jobs": [], "next_cursor": None}


def test_in_a_browser_on_the_apps_page(
    web: str, page_of_app: str, app: App, alice: User
) -> None:
    from playwright.sync_api import sync_playwright

    texts = snippets(web)
    run = f"""async ([texts, names, token]) => {{
        {WATCH}
        for (const name of names) await act(texts[name], token);
        globalThis.fetch = real;
        return answers;
    }}"""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        page = browser.new_context().new_page()
        page.goto(page_of_app)
        refused = page.evaluate(run, [texts, ["session"], ""])[0]
        assert refused[0] == 401
        # Guide 1A: to the shared sign-in, and back with ?token=.
        page.goto(refused[1]["signin_url"])
        page.fill("#email", "alice@example.com")
        page.fill("#password", PASSWORD)
        page.click("button[value=enter]")
        page.wait_for_url(f"{page_of_app}/?token=*")
        landing = page.url.partition("token=")[2]
        check(page.evaluate(run, [texts, NAMES, landing]))
        # Guide 1A: "fetch a session token from the backend using cookies".
        [[status, body]] = page.evaluate(run, [texts, ["session"], ""])
        assert status == 200
        answers = page.evaluate(run, [texts, NAMES, body["token"]])
        assert [status for status, _ in answers] == STATUSES
        # By cookies alone, as "Errors & CORS" has it.
        by_cookie = {
            name: re.sub(r"Authorization: `Bearer \$\{token\}`,?", "", text)
            for name, text in texts.items()
        }
        answers = page.evaluate(run, [by_cookie, NAMES, ""])
        assert [status for status, _ in answers] == STATUSES
        # The token opens none of the account's own addresses.
        own = f"await fetch('{web}/api/tokens', {{ credentials: 'include' }})"
        [[status, refusal]] = page.evaluate(run, [{"own": own}, ["own"], ""])
        assert (status, refusal["error"]) == (403, "token_bound_to_app")
        browser.close()
    assert Consent.objects.get().app == app


def landing_token(web: str, app: App) -> str:
    """Return the token of a sign-in for the app's page, made without a browser."""
    with requests.Session() as session:
        target = {"redirect_to": f"{app.origins[0]}/"}
        form = session.get(f"{web}/signin", params=target, timeout=30).text
        csrf = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert csrf
        answer = session.post(
            f"{web}/signin",
            data={
                **target,
                "csrfmiddlewaretoken": csrf[1],
                "email": "alice@example.com",
                "password": PASSWORD,
                "intent": "enter",
            },
            allow_redirects=False,
            timeout=30,
        )
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"].partition("token=")[2]


def test_in_node_with_the_token_that_the_page_got(
    web: str, app: App, alice: User, tmp_path: Path
) -> None:
    token = landing_token(web, app)
    script = tmp_path / "guide.mjs"
    call = f"const [texts, names, token] = {json.dumps([snippets(web), NAMES, token])};"
    script.write_text(
        f"{call}\n{WATCH}\nfor (const name of names) await act(texts[name], token);\n"
        "console.log(JSON.stringify(answers));\n"
    )
    done = subprocess.run(
        ["node", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))
