"""Tells from a name whether its value is a secret: ``smtpPassword`` is one, ``partition_key`` is none. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

NameKind = Literal["", "certain", "likely", "authorization", "cookie"]
"""``certain``: whatever stands there is a secret. ``likely``: it is when it looks random. ``authorization`` and
``cookie``: a header with a grammar of its own. "": no secret."""

STEM = re.compile(
    "ke(?:y|nnwort)|token|s(?:e(?:cret|ssion|nha)|i[dg])|p(?:ass|w)|a(?:uth|pp(?:_?-?id|rise))"
    "|c(?:o(?:okie|ntrasena)|r(?:ed|umb)|srf)|jwt|h(?:ook|mac)|xsrf|losenord"
)
"""Every name that `kind_of_name` knows holds one of these, in lower case."""


def words(text: str) -> frozenset[str]:
    """The words of a list that reads well in the source."""
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_CERTAIN = words(
    "password pw apipass dbpass passcode secret token credential jwt apikey authkey accesskey secretkey "
    "privatekey accesstoken authtoken refreshtoken sessiontoken idtoken bearertoken clientsecret appsecret "
    "rapidapikey signingkey encryptionkey subscriptionkey masterkey accountkey storagekey sharedaccesskey "
    "consumersecret userpassword dbpassword smtppassword mailpassword webhookurl"
)
_CERTAIN_ENDINGS = (
    "apikey",
    "token",
    "pwd",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "accesskey",
    "secretkey",
    "privatekey",
    # German, Swedish, French, Spanish, Portuguese.
    "passwort",
    "kennwort",
    "losenord",
    "motdepasse",
    "contrasena",
    "senha",
)
_LIKELY = words("key pass auth signature sig sid sessionid appid webhook csrf xsrf hmac crumb authentication")
_KEYS = words(
    "api app access account auth private secret subscription encryption master shared signing storage consumer "
    "client service rapidapi license licence admin deploy ssh gpg pgp rsa webhook function host signature hmac "
    "security integration routing write read server device crypto decryption application developer"
)
_NO_KEYS = words(
    "primary partition foreign sort cluster clustering row cache natural surrogate unique composite join group "
    "idempotency object dedup deduplication business map dict hash range public candidate alternate index lookup "
    "order merge table column field record source entity game date storage_object concurrency resource item message "
    "translation config settings setting option menu hot arrow tab enter escape musical answer ledger blob"
)
_NO_TOKENS = words("page next continuation pagination sync cursor eos bos pad stop start end unknown")
# `password2`, `token_value`, `secretOld`: a word after the telling one that leaves it what it is.
_TRAILING = words("value text string plain plaintext raw b64 base64 hex old new current previous prod dev live")


@lru_cache(maxsize=4096)
def kind_of_name(name: str) -> NameKind:
    """What a value under ``name`` is.

    >>> kind_of_name("X-RapidAPI-Key"), kind_of_name("SecretAccessKeys"), kind_of_name("appid"), kind_of_name("key")
    ('certain', 'certain', 'likely', 'likely')
    >>> kind_of_name("primary_key"), kind_of_name("token_count"), kind_of_name("author"), kind_of_name("monkey")
    ('', '', '', '')
    """
    words = [word.lower() for word in _WORD.findall(name)]
    while words and (words[-1] in _TRAILING or (words[-1].isdigit() and len(words) > 1)):
        words.pop()
    if len(words) > 1 and words[-1] == "id" and words[-2] == "key":  # AccessKeyId
        words.pop()
    if not words:
        return ""
    last = _singular(words[-1])
    before = words[-2] if len(words) > 1 else ""
    if words[-1] in ("authorization", "cookie", "cookies"):
        return "cookie" if "cookie" in last else "authorization"
    if last == "token" and before in _NO_TOKENS:
        return ""
    if last in _CERTAIN or last.endswith(_CERTAIN_ENDINGS):
        return "certain"
    if last == "key" and before:
        if before in _NO_KEYS:
            return ""
        return "certain" if before in _KEYS or before.endswith(("api", "secret", "access")) else "likely"
    if last == "pass" and before:
        return "certain"
    if (before, last) in (("webhook", "url"), ("apprise", "url"), ("hook", "url")):
        return "certain"
    if last in _LIKELY or (before, last) in (("session", "id"), ("app", "id")):
        return "likely"
    return ""


def is_plural(name: str) -> bool:
    """``tokens=17`` is a count."""
    return name[-1:] in ("s", "S") and name[-2:-1] not in ("s", "S")


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
