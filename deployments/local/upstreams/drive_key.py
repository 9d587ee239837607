"""The service account of the Drive sample: a key pair made of two constants, which guards nothing but the sample.

As arithmetic, so that neither a key file lies in the repository nor a library for cryptography has to be installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

_P = int(
    "f76335686c0d4fd1d000bbceeb2c031575539b3c55b57a16395ebdb362f6696d4326060d3f4195c47c2a8d54de951aa8"
    "6f5f923f9171910f0065691d550dd3432c9bd951b1a486a2777dfa6cf74ebc133e77775253ddae9bd03ac0fc34445166"
    "446dff660c50d15468f2ec3f771938ebf92872171c8fcce1ae94132683cba14d",
    16,
)
_Q = int(
    "ca7ec078d25af35139591dae2a95917f138a3fd86e092abf17b955131aa41c5e8d3097f2951f1388b290b924cf3ff90f"
    "cd7c3605b756c1f67c44b49828c6701e9f8f2f3b63b5596eb66c83a35ba04d2e8e450ef56a2541829bacc58aac976ce2"
    "510b521878956ee09d4f321f928e0b2704d7b6fa04c448ffd4f18f805b28d3c7",
    16,
)
_E = 65_537
_N = _P * _Q
_D = pow(_E, -1, (_P - 1) * (_Q - 1))
_N_BYTES = (_N.bit_length() + 7) // 8
# DigestInfo of SHA-256, https://www.rfc-editor.org/rfc/rfc8017#section-9.2
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")

DRIVE_ACCOUNT = "gapless@sample-project.iam.gserviceaccount.com"
_KEY_ID = "5a3b1c"


def key_file(token_uri: str) -> str:
    """The JSON key as Google gives it for download; the token endpoint is that of the sample."""
    numbers = (0, _N, _E, _D, _P, _Q, _D % (_P - 1), _D % (_Q - 1), pow(_Q, -1, _P))
    der = base64.b64encode(_tagged(0x30, b"".join(map(_integer, numbers)))).decode()
    lines = [der[begin : begin + 64] for begin in range(0, len(der), 64)]
    edge = "RSA PRIVATE KEY-----"
    document = {
        "type": "service_account",
        "project_id": "sample-project",
        "private_key_id": _KEY_ID,
        "private_key": "\n".join([f"-----BEGIN {edge}", *lines, f"-----END {edge}", ""]),
        "client_email": DRIVE_ACCOUNT,
        "token_uri": token_uri,
    }
    return json.dumps(document)


def is_sample_key(value: object) -> bool:
    """Whether a setting is such a key file, whatever port it names."""
    try:
        document = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("client_email") == DRIVE_ACCOUNT


def verified_claims(assertion: str) -> Mapping[str, Any]:
    """What a signed assertion claims. Raises ``ValueError`` for another key, another algorithm, and what is no JWT."""
    head, claims, signature = assertion.split(".")
    told = json.loads(_unpadded(head))
    if told.get("alg") != "RS256" or told.get("kid") != _KEY_ID:
        raise ValueError("Invalid JWT: another algorithm or key")
    digest = _SHA256 + hashlib.sha256(f"{head}.{claims}".encode()).digest()
    wanted = b"\x00\x01" + b"\xff" * (_N_BYTES - 3 - len(digest)) + b"\x00" + digest
    signed = pow(int.from_bytes(_unpadded(signature), "big"), _E, _N).to_bytes(_N_BYTES, "big")
    if signed != wanted:
        raise ValueError("Invalid JWT Signature.")
    found: Mapping[str, Any] = json.loads(_unpadded(claims))
    return found


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _integer(number: int) -> bytes:
    return _tagged(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _tagged(tag: int, content: bytes) -> bytes:
    """DER: tag, length, content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
