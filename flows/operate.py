"""Every verb of the `gapless` command as a flow, for those who have a Prefect UI and no shell."""

from __future__ import annotations

import contextlib
import enum
import io
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from alerting.redaction import printable
from flows.cli.command import app, main
from flows.log import lets_out_redacted, partition_logger

if TYPE_CHECKING:
    Verb = str
else:
    # An Enum is what the UI draws as a dropdown.
    _NAMES = sorted(command.name or command.callback.__name__ for command in app.registered_commands)
    Verb = enum.Enum("Verb", {name: name for name in _NAMES}, type=str)


@lets_out_redacted
@flow(name="operate", flow_run_name="gapless {verb.value}", persist_result=False)
def operate(verb: Verb, arguments: list[str] | None = None) -> State[Any]:
    """Runs one `gapless` command on the worker; what it prints becomes an artifact. Fails when its exit code is not 0.

    Args:
        verb: The command.
        arguments: Its arguments, one word each: ["bdl_box_scores", "2025-01-01", "2025-01-31"].
    """
    words = [str(getattr(verb, "value", verb)), *(arguments or [])]
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(words)
    text = (said.getvalue() + complained.getvalue()).strip() or "(nothing was printed)"
    partition_logger().info("gapless %s\n%s", " ".join(words), text)
    create_markdown_artifact(
        key=f"gapless-{words[0]}", markdown=f"```\n{text[:50_000]}\n```", description=printable(" ".join(words))
    )
    last = text.splitlines()[-1][:300]
    return Completed(message=last) if code == 0 else Failed(message=f"exit code {code}: {last}")
