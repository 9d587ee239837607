"""How the sessions of Google's clients leave this machine."""

from __future__ import annotations

from requests import Session


def settle_way_out(session: Session, address: str, *, is_emulator: bool) -> None:
    """Takes proxies and certificates from the environment, once; an emulator of this machine is asked without a proxy.

    Looked up for each request, they and netrc cost a fifth of a session's CPU. A login that netrc has for the address,
    or for all, would take the place of Google's token, and each request would be refused.
    """
    if not is_emulator:
        found = session.merge_environment_settings(address, {}, None, None, None)
        session.proxies, session.verify = found["proxies"], found["verify"]
    session.trust_env = False
