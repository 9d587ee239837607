"""Every verb of the `gapless` command as a flow, for those who have a Prefect UI and no shell."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from alerting.redaction import printable
from flows.cli.command import main
from flows.log import lets_out_redacted, partition_logger
from flows.parameters import field

Command = Annotated[str, field("gapless ...", min_length=1)]


@lets_out_redacted
@flow(name="operate", flow_run_name="gapless {command}", retries=0, persist_result=False)
def operate(command: Command) -> State[Any]:
    """Runs one `gapless` command on the worker; what it prints becomes an artifact. Fails when its exit code is not 0.

    Args:
        command: As in a shell, with or without gapless in front: status, or
            run bdl_box_scores 2025-01-01 2025-01-31 --reason test. -h lists the commands.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        return Failed(message=f"exit code 2: {error} in {printable(command)!r}. Nothing was done")
    words = words[1:] if words[:1] == ["gapless"] else words
    if not words:
        return Failed(
            message="exit code 2: no command was given. Nothing was done. Next: run it with -h, which lists them"
        )
    verb = re.sub(r"[^a-z-]", "", words[0]).strip("-") if words else ""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(words)
    text = (said.getvalue() + complained.getvalue()).strip() or "(nothing was printed)"
    partition_logger().info("gapless %s\n%s", " ".join(words), text)
    create_markdown_artifact(
        key=f"gapless-{verb or 'help'}", markdown=f"```\n{text[:50_000]}\n```", description=printable(" ".join(words))
    )
    last = text.splitlines()[-1][:300]
    return Completed(message=last) if code == 0 else Failed(message=f"exit code {code}: {last}")
