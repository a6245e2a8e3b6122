"""Images from the web, only from hosts that the server was told of.

The host's addresses are looked up once, all of them must be public, and one of these is connected
to: what a name stands for cannot change in between. Redirects are not followed. Size and time are
bounded.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from janusflow.config.errors import ImageError, JanusFlowError, PromptError

SECONDS = 10.0
"""For all of one image."""
CHUNK_BYTES = 1 << 16
PORTS = {"http": 80, "https": 443}


def is_web(url: str) -> bool:
    """Whether this is an address on the web."""
    return url[:8].lower().startswith(("http://", "https://"))


def fetch_image(url: str, *, hosts: Collection[str], max_bytes: int) -> bytes:
    """The bytes of an image on the web.

    Args:
        url: http or https.
        hosts: names that may be fetched from, exactly.
        max_bytes: more are refused.

    Raises:
        PromptError: its host is none of these, or not on the public network.
        ImageError: it cannot be fetched.
    """
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    except ValueError as error:
        raise PromptError(f"image {url!r:.80} has no proper address ({error}).") from None
    if name not in {host.lower() for host in hosts} or parts.username is not None:
        raise PromptError(
            f"image {url!r:.80}: host {name!r:.80} is not one that images are fetched from. Send "
            "the image as a data: URI, or start the server with --allow-image-hosts."
        )
    until = time.monotonic() + SECONDS
    try:
        connection = _connect(parts.scheme, name, public_address(name, port), port)
        try:
            return _read(connection, parts, max_bytes=max_bytes, until=until)
        finally:
            connection.close()
    except JanusFlowError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ImageError(f"image {url!r:.80} cannot be fetched ({error!r:.120}).") from None


def public_address(name: str, port: int) -> str:
    """An address of a host, if all of its addresses are on the public network.

    Raises:
        PromptError: one is of this machine, of a private network, or otherwise special.
    """
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_public(address):
            raise PromptError(
                f"host {name!r:.80} is at {address}, which is not on the public network: send the "
                "image as a data: URI."
            )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public network's."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and (inner := ip.ipv4_mapped or ip.sixtofour) is not None:
        ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _connect(scheme: str, name: str, address: str, port: int) -> http.client.HTTPConnection:
    """A connection to this very address; a certificate must be the name's."""
    connection = http.client.HTTPConnection(name, port, timeout=SECONDS)
    plain = socket.create_connection((address, port), timeout=SECONDS)
    if scheme == "https":
        plain = ssl.create_default_context().wrap_socket(plain, server_hostname=name)
    connection.sock = plain
    return connection


def _read(
    connection: http.client.HTTPConnection, parts: SplitResult, *, max_bytes: int, until: float
) -> bytes:
    target = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    connection.request("GET", f"{target}{query}", headers={"User-Agent": "janusflow"})
    response = connection.getresponse()
    if response.status != http.client.OK:
        told = " (redirects are not followed)" if 300 <= response.status < 400 else ""
        raise ValueError(f"status {response.status}{told}")
    content = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        content += chunk
        if len(content) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"not there within {SECONDS:g} seconds")
    return bytes(content)
