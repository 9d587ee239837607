"""Writes docs/configuration.md from the settings: ``python -m flows.settings_reference > docs/configuration.md``."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from flows.settings import Settings
from scrapers.registry import scraper, sources

_HEAD = """# Configuration

<!-- Generated from flows/settings.py by `python -m flows.settings_reference`. -->

Environment variables with their defaults; `make up` writes local values to `.gapless/env`. `[]` is a JSON list, `{}` a
JSON object by source; limits also go by account: `GAPLESS_SOURCE_RATE_PER_MINUTE='{"balldontlie": 60}'`.
"""

_GROUPS = {
    "project": "Google Cloud",
    "source_urls": "Sources",
    "mail_to": "Mail",
    "max_concurrency": "Runs",
    "blackouts": "Limits and costs of a run",
}
"""Heading by the first setting below it."""

_OTHERS = """
## Variables of others

* `PREFECT_API_URL`, `PREFECT_API_AUTH_STRING`, `PREFECT_CLIENT_MAX_RETRIES`: [worker](deploy-gcp.md#worker)
* `GOOGLE_APPLICATION_CREDENTIALS`: [identity](deploy-gcp.md#identity)
* `GAPLESS_COMMIT`: set by the image
* `STORAGE_EMULATOR_HOST`, `BIGQUERY_EMULATOR_HOST`: emulators, with scheme; both or neither
"""

_SECRETS = """
## Secrets

A secret is read from `GAPLESS_SOURCE_SECRETS` or `GAPLESS_SMTP_PASSWORD`, else from a Prefect Secret block: that of
`bdl_api_key` is `gapless-bdl-api-key`. Apprise URLs have no block.

"""

_AFTER_SECRETS = """
Create a block in the UI (Blocks, +, Secret), or in a shell, out of its history:

```sh
printf '%s' "$KEY" | python -c "import sys; from prefect.blocks.system import Secret; \\
  Secret(value=sys.stdin.read()).save('gapless-bdl-api-key', overwrite=True)"
```
"""


def render() -> str:
    """The whole page."""
    return "".join([_HEAD, *map(_row, Settings.model_fields), _OTHERS, _SECRETS, *_secret_rows(), _AFTER_SECRETS])


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    heading = f"\n## {_GROUPS[name]}\n\n|Variable|Meaning|\n|-|-|\n" if name in _GROUPS else ""
    return f"{heading}|`GAPLESS_{name.upper()}={_default(field)}`|{field.description or ''}|\n"


def _default(field: FieldInfo) -> str:
    """As it would be exported, without quotes: ``8``, ``[2,4]``; ``{}`` and ``[]`` also say what form is expected."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return value if isinstance(value, str) else json.dumps(_short(value), separators=(",", ":"))


def _short(value: Any) -> Any:
    """Whole numbers without their fraction."""
    if isinstance(value, list):
        return [_short(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _secret_rows() -> list[str]:
    rows = [f"|`{secret}`|{need}|\n" for secret, need in _source_secrets()]
    return ["|Secret|Needed by|\n|-|-|\n", *rows, "|`smtp_password`|mail, if `GAPLESS_SMTP_USER` is set|\n"]


def _source_secrets() -> list[tuple[str, str]]:
    """Each secret once, with the sources that need it: those of one account share theirs."""
    needed: dict[str, list[str]] = {}
    optional: set[str] = set()
    for one in (scraper(name) for name in sources()):
        for secret in one.auth.secrets if one.auth else ():
            needed.setdefault(secret, []).append(one.source)
            if one.auth and one.auth.is_optional:
                optional.add(secret)
    return [(secret, _named(by) + (", optional" if secret in optional else "")) for secret, by in needed.items()]


def _named(needing: list[str]) -> str:
    """``bdl_*`` where it is every source of that name, else each."""
    prefix = needing[0].partition("_")[0] + "_"
    every = [name for name in sources() if name.startswith(prefix)]
    return f"`{prefix}*`" if len(needing) > 1 and every == needing else ", ".join(f"`{name}`" for name in needing)


if __name__ == "__main__":
    sys.stdout.write(render())
