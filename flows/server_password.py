"""What opens the Prefect API is a secret of this process too: whoever has it runs commands on the workers."""

from __future__ import annotations

import os
import sys

from alerting.redaction import register_secret

_VARIABLES = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_KEY")


def register_server_passwords() -> None:
    """Masks ``name:password`` and the password alone, from the environment, and from Prefect's own settings.

    Prefect also reads profiles and files. It is asked only where it is loaded, as in every flow run: loading it takes
    a second.
    """
    given = [os.environ.get(name, "") for name in _VARIABLES]
    if "prefect.settings" in sys.modules:
        from prefect.settings import get_current_settings

        settings = get_current_settings()
        held = (settings.api.auth_string, settings.server.api.auth_string, settings.api.key)
        given += [secret.get_secret_value() for secret in held if secret]
    for value in given:
        for secret in (value, value.partition(":")[2]):
            register_secret(secret)
