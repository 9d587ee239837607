"""How a source is shown who asks: which setting holds the secret, and where in a call it travels. Never a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """The key travels in header ``header``, as ``prefix + secret``; ``secret`` names the setting that holds it.

    ``is_optional``: without the secret the source is asked all the same, with no such header.
    """

    header: str
    secret: str
    prefix: str = ""
    is_optional: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the settings that hold its values."""
        return (self.secret,)


@dataclass(frozen=True, slots=True)
class SecretParam:
    """The key travels in query parameter ``param``; the client keeps it out of every log, object and error."""

    param: str
    secret: str
    is_optional: ClassVar[bool] = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the settings that hold its values."""
        return (self.secret,)


@dataclass(frozen=True, slots=True)
class SecretBasic:
    """HTTP Basic: ``user`` and ``password`` name the two settings that hold the login. Both are masked everywhere."""

    user: str
    password: str
    is_optional: ClassVar[bool] = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the settings that hold its values."""
        return (self.user, self.password)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """OAuth of a Google service account: ``secret`` names the setting that holds the JSON of its key file.

    The key signs for a token of ``scope`` at the ``token_uri`` that it names; the token travels as ``Bearer``, is
    renewed before it ends, and once where the source answers 401. Key, signature and token are masked everywhere.
    """

    secret: str
    scope: str
    is_optional: ClassVar[bool] = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the settings that hold its values."""
        return (self.secret,)


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """A session that a person has opened: ``secret`` names the setting that holds it, as a ``Cookie`` header writes it.

    Of it only the cookies ``names`` are sent, and all of them have to be there. The client has no cookie jar: what else
    the server sets is left out. A new value of one of ``names`` is used from the next call on, and kept where the
    secret is (`SourceAccess.renewed`). ``is_optional``: without the secret the source is asked without a cookie, and a
    session that the server opens is not taken up.
    """

    secret: str
    names: tuple[str, ...]
    is_optional: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the settings that hold its values."""
        return (self.secret,)


Auth = SecretHeader | SecretParam | SecretBasic | TokenAuth | SessionCookie
