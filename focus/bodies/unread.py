"""The reasons why a body was not read. Django wraps each in an UnreadablePostError."""


class Unread(OSError):
    """The client disconnected, or its body does not fit its headers."""


class TooSlow(Unread):
    """The body took longer than its deadline."""


class TooBusy(Unread):
    """Too many requests wait for slow clients already."""
