"""Content types, decided by the first bytes of a file and never by its name."""

from collections.abc import Callable, Mapping

Sniffer = Callable[[bytes], bool]

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
MP4, MOV, M4V = "video/mp4", "video/quicktime", "video/x-m4v"
MKV, WEBM, AVI = "video/x-matroska", "video/webm", "video/x-msvideo"
SRT = "application/x-subrip"

_EBML = b"\x1a\x45\xdf\xa3"


def _is_mov(head: bytes) -> bool:
    # Old QuickTime files begin with another atom than `ftyp`.
    return (head[4:8] == b"ftyp" and head[8:12] == b"qt  ") or (
        head[4:8] in (b"moov", b"wide", b"mdat", b"pnot", b"free", b"skip")
    )


def _is_m4v(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:11] == b"M4V"


# Brands of the same container that are images or audio.
_NO_VIDEO = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"M4A ", b"M4B ")


def _is_mp4(head: bytes) -> bool:
    return (
        head[4:8] == b"ftyp"
        and head[8:12] not in _NO_VIDEO
        and not (_is_mov(head) or _is_m4v(head))
    )


def _is_webm(head: bytes) -> bool:
    return head.startswith(_EBML) and b"webm" in head[:128]


def _is_mkv(head: bytes) -> bool:
    return head.startswith(_EBML) and b"matroska" in head[:128]


IMAGES: Mapping[str, Sniffer] = {
    JPEG: lambda head: head.startswith(b"\xff\xd8\xff"),
    PNG: lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    WEBP: lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
}
VIDEOS: Mapping[str, Sniffer] = {
    MP4: _is_mp4,
    MOV: _is_mov,
    M4V: _is_m4v,
    WEBM: _is_webm,
    MKV: _is_mkv,
    AVI: lambda head: head.startswith(b"RIFF") and head[8:12] == b"AVI ",
}


def decide(head: bytes, accepts: Mapping[str, Sniffer]) -> str | None:
    """Return the first type of `accepts` that the file begins like, or None."""
    return next((name for name, is_it in accepts.items() if is_it(head)), None)


def accepted_for(declared: str) -> Mapping[str, Sniffer]:
    """Return the types that content may have which was announced as `declared`.

    An image must be what it says. Systems name video containers differently, so any
    video may arrive as any other. Any other type is never accepted.
    """
    if declared in IMAGES:
        return {declared: IMAGES[declared]}
    return VIDEOS if declared in VIDEOS else {}
