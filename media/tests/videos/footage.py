"""Make small videos with ffmpeg's own sources: ordinary, unusual and hostile ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

from media import binaries

FPS = 30
BURSTS = (13.0, 34.0, 52.0)  # Each lasts three seconds.
CUTS = [10.0, 20.0, 30.0, 40.0, 50.0]
FAST = ("-c:v", "libx264", "-preset", "ultrafast")


def run(*arguments: str | Path) -> None:
    """Run ffmpeg without the engine's flags, loudly if it fails."""
    base = [binaries.find().ffmpeg, "-nostdin", "-y", "-loglevel", "error"]
    subprocess.run([*base, *arguments], check=True)


def plain(
    path: Path,
    *,
    size: str = "160x120",
    seconds: float = 2,
    rate: int = 30,
    sound: bool = True,
    filters: str = "null",
    options: tuple[str, ...] = FAST,
) -> Path:
    """Make a moving test card with a tone."""
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    if sound:
        inputs += ["-f", "lavfi", "-i", f"sine=f=440:d={seconds}:r=48000"]
    run(*inputs, "-vf", filters, *options, path)
    return path


def only_sound(path: Path) -> Path:
    run("-f", "lavfi", "-i", "sine=d=2", path)
    return path


def reel(path: Path, size: str = "320x180") -> Path:
    """Make 60 s of six shots with three bursts of noise and motion."""
    shots = [
        f"testsrc2=s={size}:r={FPS}",
        f"mandelbrot=s={size}:r={FPS}:maxiter=60",
        f"color=c=0x305070:s={size}:r={FPS}",
        f"smptebars=s={size}:r={FPS}",
        f"gradients=s={size}:r={FPS}:speed=0.01:seed=7",
        f"rgbtestsrc=s={size}:r={FPS}",
    ]
    inputs = [
        part for shot in shots for part in ("-f", "lavfi", "-t", "10", "-i", shot)
    ]
    gate = "+".join(f"between(t,{b},{b + 3})" for b in BURSTS)
    loud = f"0.02*sin(2*PI*220*t)+({gate})*0.5*(random(0)-0.5)"
    graph = "".join(f"[{i}:v]format=yuv420p,setsar=1[v{i}];" for i in range(6))
    graph += "".join(f"[v{i}]" for i in range(6)) + "concat=n=6:v=1:a=0,"
    graph += (
        f"noise=alls=60:allf=t:enable='{gate}'[v];aevalsrc='{loud}':s=44100:d=60[a]"
    )
    run(*inputs, "-filter_complex", graph, "-map", "[v]", "-map", "[a]", *FAST, path)
    return path


def lecture(path: Path) -> Path:
    """Make half a minute of a machine voice over one calm picture."""
    text = (
        "The river rises in the hills and falls two hundred metres before the town. "
        "Its old bridge was built by a guild of masons, and they were never paid! "
        "Ask me why. Because the council, in the winter of that year, moved away. "
        "Today the bridge carries trams, bicycles, and every morning eleven thousand "
        "people who do not look down. Below them the water is clean again. Look at it."
    )
    voice = path.with_suffix(".wav")
    subprocess.run(
        ["espeak-ng", "-v", "en-us", "-s", "140", "-w", voice, text], check=True
    )
    picture = "smptebars=s=160x120:r=15"
    run("-f", "lavfi", "-i", picture, "-i", voice, "-shortest", *FAST, path)
    return path


def turned(path: Path) -> Path:
    """Make a video that its container turns by 90 degrees, as a phone does."""
    flat = plain(path.with_name("flat.mp4"), size="320x180")
    if binaries.find().source == "system":
        turn: tuple[str, ...] = ("-i", str(flat), "-metadata:s:v:0", "rotate=90")
    else:  # ffmpeg from 7 on has no such metadata.
        turn = ("-display_rotation", "270", "-i", str(flat))
    run(*turn, "-c", "copy", path)
    flat.unlink()
    return path


def variable(path: Path) -> Path:
    """Make a video of 30 and then 7.5 frames a second."""
    keep = "select='lt(t,2)+not(mod(n,4))'"
    return plain(path, seconds=4, filters=keep, options=(*FAST, "-fps_mode", "vfr"))


def high_range(path: Path, transfer: str) -> Path:
    marks = f"color_trc={transfer}:color_primaries=bt2020:colorspace=bt2020nc"
    flags = [part for mark in marks.split(":") for part in ("-" + mark).split("=")]
    return plain(path, filters=f"setparams={marks}", options=(*FAST, *flags))


def cut_short(path: Path, share: float = 0.6) -> Path:
    """Make ten seconds of which the upload lost the end, after a complete index."""
    options = (*FAST, "-g", "30", "-movflags", "+faststart")
    plain(path, seconds=10, options=options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def without_index(path: Path) -> Path:
    """Make a recording of a phone that died: no index follows the frames."""
    plain(path)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])
    return path


def scrambled(path: Path) -> Path:
    """Make a video with a good index and nothing but noise behind it."""
    plain(path, sound=False, options=(*FAST, "-movflags", "+faststart"))
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin:] = bytes((i * 31 + 7) % 251 for i in range(len(content) - begin))
    path.write_bytes(content)
    return path


def bomb(path: Path) -> Path:
    """Make a small file of 96 megapixels a frame."""
    source = "color=s=12000x8000:d=0.4:r=5"
    run("-f", "lavfi", "-i", source, "-c:v", "mjpeg", "-q:v", "31", path)
    return path


def lying_bomb(path: Path) -> Path:
    """Make a bomb in a container that says 640 x 360."""
    bomb(path)
    content = path.read_bytes()
    real, said = (12000, 8000), (640, 360)
    # The sample entry has 16-bit sizes and the track header has 16.16 ones.
    for before, after in (
        (_pack(real, 2), _pack(said, 2)),
        (_pack([side << 16 for side in real], 4), _pack([s << 16 for s in said], 4)),
    ):
        assert before in content
        content = content.replace(before, after)
    path.write_bytes(content)
    return path


def _pack(numbers: tuple[int, int] | list[int], size: int) -> bytes:
    return b"".join(number.to_bytes(size, "big") for number in numbers)
