"""What people type, by command: shown below its help, and parsed by a test."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "accept-open": ("bdl_box_scores 2025-01-03 --reason 'the game was never played'",),
    "approve": ("bf-0123456789ab --reason 'the provider corrected the season'",),
    "audit": ("", "bdl_box_scores --from 2025-01-01 --only never_attempted --only failed"),
    "calendar": ("", "bdl_box_scores", "--in 2019", "--html calendar.html"),
    "canary": ("bdl_box_scores 2024-01-01 2024-12-31 -k 5",),
    "cleanup": ("bdl_box_scores", "bdl_box_scores --apply"),
    "coverage": ("nba 2024-25", "nba 2025-01-01 2025-01-31 --skip bdl_injuries", "racing 2026-03"),
    "errors": ("--hours 72 --source bdl_box_scores",),
    "estimate": ("bdl_box_scores 2015-01-01 2024-12-31", "civic_band --entities all"),
    "first-date": ("bdl_box_scores 1980-01-01 2000-12-31", "bdl_box_scores --forget"),
    "gaps": ("bdl_box_scores 2025-01-01 2025-01-31",),
    "lift-cooldown": ("bdl_box_scores --reason 'the block was ours'",),
    "plan": ("bdl_box_scores 2025-01-01 2025-01-31 --mode full", "racing 2026"),
    "preflight": ("bdl_box_scores --canary --test-mail", "bdl_box_scores --deep"),
    "reconcile": ("bdl_box_scores", "bdl_box_scores --apply"),
    "record": ("bf-0123456789ab",),
    "release-lease": ("bdl_box_scores --run bf-0123456789ab --reason 'its machine is gone'",),
    "reject": ("bf-0123456789ab --reason 'half of the games are missing'",),
    "repair": ("bdl_box_scores --dry-run", "bdl_box_scores 2025-01-01 2025-01-31 --yes"),
    "reprocess": ("bdl_box_scores 2025-01-01 2025-01-31 --reason schema_change",),
    "retry-failed": ("bdl_box_scores", "bdl_box_scores --run bf-0123456789ab --cause C2"),
    "reviews": ("", "bf-0123456789ab"),
    "run": (
        "bdl_box_scores 2025-01-01 2025-01-31 --reason never_collected",
        "bdl_box_scores 2025-01-01 2025-01-31 --dates 2025-01-03,2025-01-07..2025-01-09 --reason gap_repair",
        "civic_band --entities alameda.ca --reason test",
        "bdl_box_scores 2024-10-22 2025-06-22 --mode full --publish after_approval --reason corrupted",
        "nba 2024-25 --reason never_collected",
        "racing 2026-03 --skip racing_reference --reason gap_repair",
        "bdl_box_scores 2015-01-01 2024-12-31 --parallel 8 --reason never_collected -p deadline_h=6",
    ),
    "runs": ("--last 20 --source bdl_box_scores",),
    "send-owed": ("",),
    "simulate": ("bdl_box_scores 2024-12-23 2024-12-25 --faults --seed 7",),
    "status": ("", "--watch", "bdl_box_scores", "bdl_box_scores --failed", "nba"),
    "test-alert": ("",),
    "verify": ("bdl_box_scores 2025-01-01 2025-01-31",),
}


def examples_of(verb: str) -> str:
    """The end of a command's help; "" for one without examples.

    >>> examples_of("gaps").splitlines()[-1]
    '  gapless gaps bdl_box_scores 2025-01-01 2025-01-31'
    """
    lines = [f"  gapless {verb} {arguments}".rstrip() for arguments in EXAMPLES.get(verb, ())]
    # What follows this mark keeps its lines.
    return "\n".join(["\b", "Examples:", *lines]) if lines else ""
