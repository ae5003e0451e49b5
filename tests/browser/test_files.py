"""Signed addresses in a real browser: shown, played, saved, and never run."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs.files import downloads
from tests.browser.chromium import visit
from tests.files import published

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FFMPEG = shutil.which("ffmpeg") or ""


@pytest.fixture(autouse=True)
def _here(web: str, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = web


def made(folder: Path, name: str, *arguments: str) -> bytes:
    if not FFMPEG:
        pytest.skip("needs ffmpeg")
    path = folder / name
    source = ["-f", "lavfi", "-i", "testsrc=size=320x180:rate=25:duration=8"]
    command = [FFMPEG, "-loglevel", "error", *source, *arguments, str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.read_bytes()


def test_a_page_of_another_origin_shows_a_photo_and_seeks_in_a_video(
    alice: User, tmp_path: Path
) -> None:
    png = made(tmp_path, "a.png", "-frames:v", "1")
    webm = made(tmp_path, "a.webm", "-c:v", "libvpx", "-b:v", "2M")
    photo = published(
        alice, tmp_path, name="a.png", content_type="image/png", content=png
    )
    video = published(
        alice, tmp_path, name="a.webm", content_type="video/webm", content=webm
    )

    def acts(page: Any) -> None:
        # An opaque origin, and no cookie of ours.
        page.set_content(
            f'<img src="{downloads.address(photo)}">'
            f'<video preload="auto" muted src="{downloads.address(video)}"></video>'
        )
        page.wait_for_function("document.images[0].naturalWidth === 320")
        page.wait_for_function("document.querySelector('video').readyState >= 2")
        page.evaluate("document.querySelector('video').currentTime = 6")
        page.wait_for_function(
            "(v => !v.seeking && v.currentTime === 6 && v.readyState >= 2)"
            "(document.querySelector('video'))"
        )
        part = page.evaluate(
            """async address => {
                const answer = await fetch(address, {headers: {Range: 'bytes=1-3'}});
                const range = answer.headers.get('Content-Range');
                return [answer.status, range, await answer.text()];
            }""",
            downloads.address(photo),
        )
        assert part == [206, f"bytes 1-3/{len(png)}", "PNG"]

    visit(acts)


def test_a_photo_and_a_video_open_in_a_window_of_their_own(
    alice: User, tmp_path: Path
) -> None:
    png = made(tmp_path, "a.png", "-frames:v", "1")
    webm = made(tmp_path, "a.webm", "-c:v", "libvpx", "-b:v", "2M")
    photo = published(
        alice, tmp_path, name="a.png", content_type="image/png", content=png
    )
    video = published(
        alice, tmp_path, name="a.webm", content_type="video/webm", content=webm
    )

    def acts(page: Any) -> None:
        page.goto(downloads.address(photo))
        page.wait_for_function("document.images[0].naturalWidth === 320")
        page.goto(downloads.address(video))
        page.wait_for_function("document.querySelector('video').readyState >= 2")

    # The favicon of a window without a page of ours.
    visit(acts, but="404")


@pytest.mark.parametrize(
    ("name", "content_type", "content"),
    [
        ("a.html", "text/html", b"<script>document.title = 'run'</script>"),
        (
            "a.svg",
            "image/svg+xml",
            b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
        ),
    ],
)
def test_a_page_and_a_drawing_are_saved_and_not_opened(
    alice: User, tmp_path: Path, name: str, content_type: str, content: bytes
) -> None:
    file = published(
        alice, tmp_path, name=name, content_type=content_type, content=content
    )

    def acts(page: Any) -> None:
        with page.expect_download() as saved:
            page.set_content(f'<a href="{downloads.address(file)}">it</a>')
            page.click("a")
        assert saved.value.suggested_filename == name
        assert Path(saved.value.path()).read_bytes() == content
        assert page.title() == ""

    visit(acts)
