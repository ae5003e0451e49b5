"""A webhook address never reaches a private address (SSRF).

The vectors come from the lists of Svix and smokescreen, from published advisories, and
from spellings of 127.0.0.1 that libraries read differently.
"""

import socket
from typing import Any

import pytest

from focus.outgoing import safe_http
from focus.outgoing.public_addresses import BadAddress, check_url, is_public

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::a00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.17.0.1",
    "::ffff:8.8.8.8",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "2400:cb00::1",
]
# Each is 127.0.0.1, another private host, or read in two ways by two libraries.
ODD = [
    r"https://2130706433/",
    r"https://0x7f000001/",
    r"https://0x7f.1/",
    r"https://0177.0.0.1/",
    r"https://127.1/",
    r"https://127.0.0.1./",
    r"https://0/",
    r"https://[::ffff:127.0.0.1]/",
    r"https://[::ffff:7f00:1]/",
    r"https://[0:0:0:0:0:0:0:1]/",
    r"https://[::1%25lo]/",
    r"https://[::127.0.0.1]/",
    r"https://[v1.x]/",
    r"https://127.0.0.1%00.example.com/",
    r"https://user@example.com/",
    r"https://u:p@example.com/",
    r"https://example.com@127.0.0.1/",
    r"https://example.com\@127.0.0.1/",
    r"https://example.com#@x/",
    r"https:///x",
    r"https://example.com:0/",
    r"https://example.com:/",
    r"https://example.com:22/",
    r"https://example.com:25/",
    r"https://example.com:6379/",
    r"https://example.com:99999/",
    r"https://example.com:8O/",
    r"https://example..com/",
    r"https://-x.example.com/",
    r"https://intranet/",
    r"https://localhost./",
    r"https://exa_mple.com/",
    r"https://%6cocalhost/",
    r"https://①②⑦.0.0.1/",
    r"https://exámple.com/",
    r"ftp://example.com/",
    r"file:///etc/passwd",
    r"gopher://example.com/",
    r"javascript:alert(1)",
    r"//example.com/",
    r"example.com",
    r"https:example.com",
    r"https:/example.com",
    r"https://example.com/#fragment",
    r"https://1.2.3/",
    r"https://1.2.3.4.5/",
    r"https://256.1.1.1/",
    r"https://example.0x7f/",
    r"http://example.com/",
    r"https://169.254.169.254/latest",
    r"https://10.0.0.1/",
    r"https://[fd00:ec2::254]/",
    r"https://[64:ff9b::7f00:1]/",
]


@pytest.fixture
def locked(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name server for the test: the addresses of each name."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def answer(host: str, port: int, *rest: Any) -> Any:
        if host not in known:
            return real(host, port, *rest)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, port, 0, 0))
            if ":" in ip
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that a socket was asked to connect to. Each is refused."""
    seen: list[str] = []

    class Wire(socket.socket):
        def connect(self, address: Any) -> None:
            seen.append(address[0])
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "socket", Wire)
    return seen


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_not_public(ip: str) -> None:
    assert not is_public(ip)


@pytest.mark.parametrize("ip", PUBLIC)
def test_public(ip: str) -> None:
    assert is_public(ip)


@pytest.mark.parametrize("url", ODD)
def test_odd_spellings_and_private_addresses_are_refused(
    url: str, locked: None, connected: list[str]
) -> None:
    with pytest.raises(BadAddress):
        check_url(url)
    assert safe_http.post(url, b"{}", {}).error == "blocked_address"
    assert connected == []


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_a_name_that_resolves_to_a_private_address_is_never_connected_to(
    ip: str, locked: None, names: dict[str, list[str]], connected: list[str]
) -> None:
    names["evil.example.com"] = [ip]
    names["mixed.example.com"] = ["93.184.216.34", ip]
    for name in names:
        with pytest.raises(BadAddress):
            check_url(f"https://{name}/")
        assert safe_http.post(f"https://{name}/", b"{}", {}).error == "blocked_address"
    assert connected == []


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_name_is_connected_to_at_the_address_of_its_lookup(
    ip: str, locked: None, names: dict[str, list[str]], connected: list[str]
) -> None:
    names["good.example.com"] = [ip]
    check_url("https://good.example.com/")
    answer = safe_http.post("https://good.example.com/", b"{}", {})
    assert (answer.error, connected) == ("refused", [ip])


def test_dns_rebinding_is_checked_at_each_connection(
    locked: None, names: dict[str, list[str]], connected: list[str]
) -> None:
    names["rebind.example.com"] = ["93.184.216.34"]
    check_url("https://rebind.example.com/")
    names["rebind.example.com"] = ["127.0.0.1"]
    answer = safe_http.post("https://rebind.example.com/", b"{}", {})
    assert (answer.error, connected) == ("blocked_address", [])


def test_an_unknown_name_may_be_registered_and_cannot_be_reached(locked: None) -> None:
    check_url("https://your-domain.invalid/webhook")
    assert safe_http.post("https://your-domain.invalid/", b"{}", {}).error == "dns"


def test_of_private_addresses_only_loopback_can_be_allowed(
    settings: Any, names: dict[str, list[str]], connected: list[str]
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    for url in (
        "http://127.0.0.1:8123/",
        "http://[::1]:8123/",
        "http://localhost:8123/",
    ):
        check_url(url)
    names["home.example.com"] = ["10.0.0.1"]
    names["plain.example.com"] = ["93.184.216.34"]
    for url in (
        "http://10.0.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/",
        "https://home.example.com/",
        "http://plain.example.com/",
    ):
        with pytest.raises(BadAddress):
            check_url(url)
        assert safe_http.post(url, b"{}", {}).error == "blocked_address"
    assert connected == []
