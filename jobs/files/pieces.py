"""A stream in pieces that is closed even if no piece was ever taken."""

from collections.abc import Callable

from focus.bodies.arrivals import PIECE_BYTES


class Pieces:
    """An iterator over at most `left` bytes, for a response: Django calls `close`.

    A generator would not do: closing one that has not begun closes nothing in it.
    """

    def __init__(
        self, read: Callable[[int], bytes], close: Callable[[], None], left: int
    ) -> None:
        self._read, self._left = read, left
        self.close = close

    def __iter__(self) -> "Pieces":
        return self

    def __next__(self) -> bytes:
        piece = self._read(min(PIECE_BYTES, self._left)) if self._left > 0 else b""
        if not piece:
            self.close()
            raise StopIteration
        self._left -= len(piece)
        return piece
