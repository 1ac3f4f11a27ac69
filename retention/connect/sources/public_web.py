"""Fetch from web addresses that are not on the desk's own network.

A redirect or a changed DNS entry could lead to an internal service, so each connection resolves the
name, checks the address, and connects to this very address.
"""

import ipaddress
import socket
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

from retention.connect.sources.source_records import SourceProblem
from retention.privacy import unpacking
from retention.settings import Settings
from retention.text import gettext

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not for the public, whatever this Python version's `is_global` says of them.
_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # of carriers
        "168.63.129.16/32",  # of Azure's own services
        "169.254.0.0/16",  # link-local, with the metadata of clouds
        "192.0.0.0/24",  # of protocols
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",  # of measurements
        "240.0.0.0/4",  # reserved
        "::/96",  # an embedded IPv4 address
        "64:ff9b:1::/48",  # an embedded IPv4 address, in a form of the network's own
        "2001::/23",  # of protocols, such as Teredo
        "fc00::/7",  # private
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, as fc00::/7 was called before
    )
)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _CheckedBackend(httpcore2.SyncBackend):
    def __init__(self, settings: Settings) -> None:
        self._allowed = settings.private_source_networks

    def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for address in addresses:
            self._check(host, ipaddress.ip_address(address.partition("%")[0]))
        for address in addresses[:-1]:
            try:
                return super().connect_tcp(address, port, *args, **options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return super().connect_tcp(addresses[-1], port, *args, **options)

    def _check(self, host: str, address: _Address) -> None:
        inner = _embedded(address)
        if any(inner in network for network in self._allowed):
            return
        is_closed = any(inner in network for network in _CLOSED)
        if is_closed or not inner.is_global or inner.is_multicast:
            text = gettext(
                "{host} leads to the private address {address}; an admin of the machine can allow "
                "it with RETENTION_PRIVATE_SOURCES={address}."
            )
            raise SourceProblem("unreadable", text=text.format(host=host, address=inner))


def _embedded(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address leads to, if there is one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


@contextmanager
def answer(settings: Settings, url: str, options: Mapping[str, Any]) -> Iterator[httpx2.Response]:
    """Open a web address.

    ``user`` and ``password``, or ``token``, give access. They go to the first host only.
    """
    auth = (options["user"], options.get("password", "")) if options.get("user") else None
    headers = {"authorization": f"Bearer {options['token']}"} if options.get("token") else {}
    headers["accept-encoding"] = "gzip"
    transport = httpx2.HTTPTransport()
    # httpx2 offers no public way to choose the addresses that it connects to.
    transport._pool = httpcore2.ConnectionPool(
        ssl_context=httpx2.create_ssl_context(), network_backend=_CheckedBackend(settings)
    )
    try:
        with (
            httpx2.Client(
                transport=transport, timeout=60, follow_redirects=True, max_redirects=5, auth=auth
            ) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            status = response.status_code
            if status in (401, 403):
                raise SourceProblem("access_denied", detail=f"HTTP {status}")
            if not response.is_success and status != 404:
                raise SourceProblem("unavailable", detail=f"HTTP {status}")
            yield response
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise SourceProblem("unavailable", detail=type(error).__name__) from error


def save(settings: Settings, response: httpx2.Response, target: Path) -> None:
    """Write an answer's body, up to the limit of its sent, its decoded and its unpacked size."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise SourceProblem("unavailable", detail=f"content-encoding {encoding}"[:100])
    check = partial(_check_size, settings, target.name)
    check(int(response.headers.get("content-length") or 0))
    pieces: Iterator[bytes] = response.iter_raw(1 << 16)
    if encoding == "gzip":
        pieces = _inflated(pieces)
    with target.open("wb") as file:
        size = 0
        for piece in pieces:
            size += len(piece)
            check(size)
            file.write(piece)
    _check_unpacked(target, check)


def _check_size(settings: Settings, name: str, size: int) -> None:
    if size > settings.source_limit_mb * 2**20:
        text = gettext(
            "{name} has more than {limit:,} MB, sent or unpacked; split it, or raise "
            "RETENTION_SOURCE_LIMIT_MB."
        )
        text = text.format(name=name, limit=settings.source_limit_mb)
        raise SourceProblem("unreadable", text=text)


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate gzip data in pieces of at most 1 MB; it may have several members."""
    machine = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            waiting = piece
            while waiting:
                yield machine.decompress(waiting, 1 << 20)
                waiting = machine.unconsumed_tail or machine.unused_data
                if machine.eof:
                    machine = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise SourceProblem("unavailable", detail=str(error)[:100]) from error


def _check_unpacked(path: Path, check: Callable[[int], None]) -> None:
    """Check the decompressed size; workbooks have a check of their own."""
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())
    try:
        if zipfile.is_zipfile(path):
            with unpacking.open_zip(path) as archive:
                check(sum(member.file_size for member in archive.infolist()))
        elif compression:
            with unpacking.unpacked(path, compression) as pieces:
                for size in accumulate(map(len, pieces)):
                    check(size)
    except unpacking.TooLargeUnpacked as error:
        raise SourceProblem("unreadable", text=str(error)) from None
    except OSError:  # damaged, or no such packing: the import says so
        return
