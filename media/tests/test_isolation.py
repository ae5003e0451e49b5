"""The engine knows no other package of the project, no web framework, no network."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1]
LIBRARIES = {"PIL", "cv2", "imageio_ffmpeg", "media", "ncnn", "numpy"}
NETWORK = {"asyncio", "ftplib", "http", "smtplib", "socket", "ssl", "urllib"}
CODE = [p for p in sorted(FOLDER.rglob("*.py")) if "tests" not in p.parts]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.stem)
def test_a_module_imports_only_its_libraries(path: Path) -> None:
    imported = _imports(path)
    assert imported <= LIBRARIES | (sys.stdlib_module_names - NETWORK)


def test_a_file_is_short_and_a_folder_is_small() -> None:
    for path in FOLDER.rglob("*.py"):
        assert len(path.read_text().splitlines()) < 400, path
        assert len(list(path.parent.glob("*.py"))) < 15, path.parent


def test_a_restoration_opens_no_socket(tmp_path: Path) -> None:
    """Python reports each socket to audit hooks, also those that libraries open."""
    from PIL import Image

    Image.effect_noise((96, 96), 60).convert("RGB").save(tmp_path / "in.png")
    request = {"source": "in.png", "full": "full.png", "preview": "preview.jpg"}
    program = (
        "import sys, os\n"
        f"sys.path.insert(0, {str(FOLDER.parent)!r})\n"
        "def hook(event, arguments):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'os.exec', 'os.fork')):\n"
        "        os._exit(77)\n"
        "sys.addaudithook(hook)\n"
        "from media.__main__ import main\n"
        "sys.exit(main(['restore']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(request),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])["report"]
    assert [step["step"] for step in report["steps"]] == ["denoise"]
