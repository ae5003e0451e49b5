"""Why a body was not read. Django makes an UnreadablePostError of each of these."""


class Unread(OSError):
    """The client went away, or its body was not what it had announced."""


class TooSlow(Unread):
    """The body took longer than it may."""


class TooBusy(Unread):
    """Too many requests wait for slow clients already."""
