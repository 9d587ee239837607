"""SMTP with encryption and login against a real server that has a certificate of its own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from smtp_channels import smtp_channel

from alerting.channels import DeliveryFailed, SmtpChannel
from alerting.message import plain_mail
from deployments.local.processes import free_port

USER, PASSWORD = "gapless", "planted-smtp-password"
NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


class Inbox:
    def __init__(self) -> None:
        self.sessions: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.sessions.append(session)
        return "250 OK"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
        .not_valid_after(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(params=["starttls", "tls"])
def server(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[tuple[Inbox, int, str]]:
    """Inbox, port and kind of encryption of a server that wants a login."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(*certificate)

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        known = isinstance(given, LoginPassword) and given.password == PASSWORD.encode()
        return AuthResult(success=known and given.login == USER.encode(), handled=False)

    class Server(Controller):
        def factory(self) -> SMTP:
            starttls = own if request.param == "starttls" else None
            return SMTP(
                self.handler,
                hostname="127.0.0.1",
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=check,
                auth_required=True,
                auth_require_tls=starttls is not None,
            )

    inbox = Inbox()
    # The controller probes its port with this context when it starts; the channel under test brings its own.
    running = Server(inbox, hostname="127.0.0.1", port=free_port(), ssl_context=own if request.param == "tls" else None)
    running.start()
    yield inbox, running.port, request.param
    running.stop()


def channel(server: tuple[Inbox, int, str], trusted: Path | None, **rest: Any) -> SmtpChannel:
    given = {"username": USER, "password": PASSWORD, "security": server[2], "timeout_s": 10.0}
    trust = ssl.create_default_context(cafile=str(trusted) if trusted else None)
    return smtp_channel(server[1], tls_context=trust, **{**given, **rest})


def test_a_mail_goes_out_encrypted_and_logged_in(server, certificate):
    sending = channel(server, certificate[0])
    sending.preflight()
    sending.send(plain_mail("Hello", "text", now=NOW))
    (session,) = server[0].sessions
    assert session.authenticated
    assert session.ssl or server[2] == "tls"


def test_a_wrong_password_is_a_clear_error_that_does_not_show_it(server, certificate):
    for attempt in ("preflight", "send"):
        sending = channel(server, certificate[0], password="planted-wrong-password")
        with pytest.raises(DeliveryFailed, match=r"refused the login \(535 5.7.8\)") as caught:
            sending.preflight() if attempt == "preflight" else sending.send(plain_mail("Hello", "text", now=NOW))
        told = f"{caught.value!s} {caught.value!r} {caught.value.__cause__} {caught.value.hint}"
        assert "planted" not in told
        assert "check the mail user and password" in told
    assert server[0].sessions == []


def test_a_certificate_that_nobody_vouches_for_is_refused(server):
    with pytest.raises(DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):
        channel(server, None).preflight()


def test_without_a_login_the_server_refuses_and_it_is_told(server, certificate):
    with pytest.raises(DeliveryFailed, match="530"):
        channel(server, certificate[0], username="").send(plain_mail("Hello", "text", now=NOW))
    assert server[0].sessions == []
