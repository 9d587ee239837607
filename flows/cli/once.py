"""A command that takes each option once and none empty, in place of ignoring what came first or was left out."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


class StrictCommand(TyperCommand):
    """``--dates A --dates B`` would else mean B alone, and ``--dates "$EMPTY"`` every date."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises ``BadParameter`` for an option that is given twice, or empty."""
        if not ctx.resilient_parsing:
            given, _, order = self.make_parser(ctx).parse_args(args=list(args))
            for option in order:
                if not isinstance(option, TyperOption) or option.is_flag:
                    continue
                value = given.get(option.name or "")
                if not option.multiple and order.count(option) > 1:
                    raise typer.BadParameter("is given twice", ctx=ctx, param=option)
                texts = value if isinstance(value, list) else [value]
                if any(isinstance(one, str) and not one.strip() for one in texts):
                    raise typer.BadParameter("is empty", ctx=ctx, param=option)
        return super().parse_args(ctx, args)
