"""Random bearer credentials: 256 bits shown once, of which only the SHA-256 is kept."""
from __future__ import annotations

import hashlib
import secrets

from soc.secret import Secret

__all__ = ["digest_of", "new_credential"]

_LONGEST = 256


def new_credential(prefix: str = "") -> Secret:
    """A fresh credential: the prefix and 43 characters of base64url."""
    return Secret(prefix + secrets.token_urlsafe(32))


def digest_of(credential: Secret | str) -> str:
    """What is kept and looked up of a credential: its SHA-256 in hex. Over-long ones hash to what nothing has."""
    text = credential.reveal() if isinstance(credential, Secret) else credential
    if len(text) > _LONGEST:
        return ""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
