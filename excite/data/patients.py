"""Names for the patients of DICOM files that do not tell their identifiers."""

from __future__ import annotations

import hashlib
import hmac
import os

PREFIX = "patient-"  # of the names
PATIENT_KEY = "EXCITE_PATIENT_KEY"
"""The environment variable with the secret with which identifiers of patients are hashed."""


def patient_name(identifier: str, issuer: str = "") -> str:
    """A name for a patient: a keyed hash (HMAC-SHA-256, 64 bits) of the identifier.

    The key is ``EXCITE_PATIENT_KEY``. Without it, the key is known to everyone, and whoever has a list of
    identifiers can tell which of them are in a data set: the name is then a pseudonym, not anonymous.

    >>> patient_name("4711") == patient_name(" 4711 "), patient_name("")
    (True, '')
    """
    if not identifier.strip():
        return ""
    key = os.environ.get(PATIENT_KEY, "excite").encode(errors="surrogateescape")
    text = f"{identifier.strip()}\0{issuer.strip()}".encode(errors="surrogateescape")
    return f"{PREFIX}{hmac.new(key, text, hashlib.sha256).hexdigest()[:16]}"


def key_fingerprint() -> str:
    """Tells one ``EXCITE_PATIENT_KEY`` from another, without telling the key."""
    return patient_name("key")
