"""User-Agent headers in words for people: "Chrome 141 on Windows"."""

from ua_parser import OS, UserAgent, parse_os, parse_user_agent

# Names that the library spells differently from the systems themselves.
_SYSTEMS = {"Mac OS X": "macOS"}


def describe(header: str) -> str:
    """Return the browser and the system that `header` names, or `header` itself.

    No version of the system is shown: browsers send the same one for all newer systems
    ("Windows NT 10.0", "Mac OS X 10_15_7"). The text is as untrusted as the header.
    """
    browser, system = parse_user_agent(header), parse_os(header)
    if browser is None:
        return header
    name = _browser(browser)
    return f"{name} on {_system(system)}" if system else name


def _browser(browser: UserAgent) -> str:
    return f"{browser.family} {browser.major}" if browser.major else browser.family


def _system(system: OS) -> str:
    return _SYSTEMS.get(system.family, system.family)
