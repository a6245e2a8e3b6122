"""Checksums of what was fetched."""

import base64
import hashlib

from janusflow.config.errors import DataError


def require_integrity(content: bytes, integrity: str, *, what: str, where: str) -> None:
    """Refuse bytes that are not what is meant.

    Args:
        content: what was fetched.
        integrity: ALGORITHM-HASH in base64, as the web writes it (subresource integrity).
        what: the name that was asked for.
        where: it was found.

    Raises:
        DataError: the checksum is another.
    """
    algorithm, _, wanted = integrity.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    if found != wanted:
        raise DataError(
            f"{where} has {algorithm} {found}, wanted {wanted} of {what}:"
            " delete it and fetch it again; nothing of it is used."
        )
