"""Record game footage with known events: ViZDoom with Freedoom, with its sound.

A player program hunts monsters. It runs and side-steps while it shoots, as people do:
a player that stands still in a fight would make movement a sign of calm. The game says
when a monster dies, when a shot hits, and when the player dies (a hard cut).

    python -m media.tests.videos.game FOLDER SEED...    records, one after another

The thresholds of the detector may be chosen with the seeds of TUNING only. HELD_OUT is
for the gate: a seed that helped to choose a threshold moves to TUNING, and a new one
takes its place.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from media import binaries

TUNING = (101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112)
HELD_OUT = (201, 202, 203, 204, 205, 206)
SECONDS = 90

TICS = 35  # Doom's own clock: 35 steps a second, and one frame a step.
WIDTH, HEIGHT = 640, 360
RATE = 44100
MONSTERS = frozenset(
    [
        "Zombieman",
        "ShotgunGuy",
        "ChaingunGuy",
        "DoomImp",
        "Demon",
        "Spectre",
        "HellKnight",
        "BaronOfHell",
        "Cacodemon",
        "LostSoul",
        "MarineChainsaw",
        "MarineChainsawVzd",
        "MarineShotgun",
    ]
)


@dataclass(frozen=True)
class Session:
    """A recording and what happened in it, in seconds."""

    video: Path
    kills: list[float]
    hits: list[float]
    cuts: list[float]
    seconds: float


def record(
    folder: Path, seed: int, seconds: int = SECONDS, hud: bool = True
) -> Session:
    """Record a session; the same seed gives the same session."""
    video = folder / f"{seed}.mp4"
    silent, sound = folder / f"{seed}.silent.mp4", folder / f"{seed}.wav"
    game, player = _start(seed, hud, folder), _Player(np.random.default_rng(seed))
    kills: list[float] = []
    hits: list[float] = []
    cuts: list[float] = []
    pieces: list[np.ndarray] = []
    encoder = subprocess.Popen(_encode(silent), stdin=subprocess.PIPE)
    assert encoder.stdin
    killed = hit = 0.0
    for tic in range(seconds * TICS):
        now = tic / TICS
        if game.is_player_dead():
            game.respawn_player()
            cuts.append(now)
        state = game.get_state()
        encoder.stdin.write(np.ascontiguousarray(state.screen_buffer).tobytes())
        pieces.append(np.array(state.audio_buffer))
        kill_count, hit_count = map(float, state.game_variables[:2])
        kills += [now] * max(0, int(kill_count - killed))
        hits += [now] * max(0, int(hit_count - hit))
        killed, hit = kill_count, hit_count
        game.make_action(player.act(state), 1)
    game.close()
    encoder.stdin.close()
    assert encoder.wait() == 0
    with wave.open(str(sound), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.concatenate(pieces).astype(np.int16).tobytes())
    join: list[str | Path] = ["-i", silent, "-i", sound]
    join += ["-c:v", "copy", "-c:a", "aac", "-shortest"]
    base = [binaries.find().ffmpeg, "-nostdin", "-y", "-loglevel", "error"]
    subprocess.run([*base, *join, video], check=True)
    silent.unlink()
    sound.unlink()
    return Session(video, kills, hits, cuts, float(seconds))


def recorded(folder: Path, seed: int) -> Session:
    """Record a session, or return the one that this folder holds already."""
    facts = folder / f"{seed}.json"
    if not facts.exists():
        made = record(folder, seed)
        content = {k: v for k, v in vars(made).items() if k != "video"}
        facts.write_text(json.dumps(content))
    return Session(video=folder / f"{seed}.mp4", **json.loads(facts.read_text()))


def _encode(target: Path) -> list[str | Path]:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}"]
    coded = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-crf",
        "20",
        "-pix_fmt",
        "yuv420p",
    ]
    base = [binaries.find().ffmpeg, "-y", "-loglevel", "error"]
    return [*base, *raw, "-r", str(TICS), "-i", "-", *coded, target]


def _start(seed: int, hud: bool, folder: Path) -> Any:
    import vizdoom

    game = vizdoom.DoomGame()
    game.load_config(str(Path(vizdoom.scenarios_path) / "deathmatch.cfg"))
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X360)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_render_hud(hud)
    game.set_render_screen_flashes(True)
    game.set_labels_buffer_enabled(True)
    game.set_audio_buffer_enabled(True)
    game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_44100)
    game.set_audio_buffer_size(1)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    button, variable = vizdoom.Button, vizdoom.GameVariable
    game.set_available_buttons(
        [
            button.ATTACK,
            button.MOVE_FORWARD_BACKWARD_DELTA,
            button.MOVE_LEFT_RIGHT_DELTA,
            button.TURN_LEFT_RIGHT_DELTA,
        ]
    )
    game.set_available_game_variables([variable.KILLCOUNT, variable.HITCOUNT])
    game.set_episode_timeout(0)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_seed(seed)
    # The effects extension of Debian's libopenal1 fails an assertion.
    game.add_game_args("+snd_efx 0")
    # The game writes its settings into the working directory.
    with contextlib.chdir(folder):
        game.init()
    return game


class _Player:
    """Hunt the nearest visible monster on the move; wander, and rest now and then."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.turn, self.side, self.ahead = 3.0, 0.0, 20.0
        self.rest, self.tics = 4 * TICS, 0

    def act(self, state: Any) -> list[float]:
        """Return attack, forward, right, turn."""
        self.tics += 1
        seen = [x for x in state.labels if x.object_name in MONSTERS and x.width > 7]
        if self.rest > 0:
            # Looking around on the spot, as people do between two fights.
            self.rest -= 1
            return [0, 0, 0, self.turn * 0.3]
        if seen:
            return self._fight(max(seen, key=lambda x: x.width * x.height))
        if self.random.random() < 0.04:
            self.turn = float(self.random.normal(0, 4))
        if self.random.random() < 0.003:
            self.rest = 7 * TICS
        return [0, 25, 0, self.turn]

    def _fight(self, target: Any) -> list[float]:
        """Aim while side-stepping to changing sides, nearer to what is far away."""
        if self.tics % 12 == 0 or self.side == 0:
            self.side = float(self.random.choice([-20, -12, 12, 20]))
            self.ahead = float(self.random.choice([-10, 5, 20]))
        near = target.height > HEIGHT * 0.4
        offset = target.x + target.width / 2 - WIDTH / 2
        aimed = abs(offset) < max(10, target.width / 2)
        ahead = min(self.ahead, -8) if near else self.ahead
        return [float(aimed), ahead, self.side, offset / 20]


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    for number in sys.argv[2:]:
        made = recorded(place, int(number))
        said = f"{number}: {len(made.kills)} kills, {len(made.cuts)} deaths\n"
        sys.stdout.write(said)
