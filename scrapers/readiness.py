"""What a JSON document says of data that the source still makes: 202 in other words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Names and words are compared by their letters alone. None of them is the state of a game, a race or a shop.
_STATES = ("status", "state", "stage", "jobstatus", "jobstate", "querystatus", "datastatus", "datastate", "freshness")
_UNREADY = {
    *("processing", "pending", "queued", "inprogress", "running", "computing", "calculating", "waiting", "notready"),
    *(
        "building",
        "loading",
        "generating",
        "preparing",
        "updating",
        "refreshing",
        "stale",
        "maintenance",
        "unavailable",
    ),
    *("accepted", "submitted", "enqueued", "inqueue", "executing", "initializing", "indexing", "syncing", "rebuilding"),
    *("notstarted", "esrijobnew", "esrijobsubmitted", "esrijobwaiting", "esrijobexecuting"),
}
_IF_FALSE = {
    *("ready", "isready", "dataready", "isdataready", "done", "isdone", "finished", "isfinished", "loaded", "isloaded"),
    *("final", "isfinal", "finalized", "isfinalized", "completed", "iscompleted", "settled", "issettled"),
}
_IF_TRUE = {
    *("processing", "isprocessing", "pending", "ispending", "inprogress", "stale", "isstale", "isrunning"),
    *("refreshing", "isrefreshing", "rebuilding", "isrebuilding"),
    *("loading", "isloading", "building", "isbuilding", "generating", "isgenerating", "updating", "isupdating"),
    *("syncing", "issyncing", "maintenance", "maintenancemode", "undermaintenance"),
    *("preliminary", "ispreliminary", "provisional", "isprovisional"),
}
_IF_MORE_THAN_0 = {"retryafter", "retryafterseconds", "retryafterms", "retryin"}
_IF_BELOW_100 = {"percentcomplete", "percentdone", "progresspercent"}
_STATUSES = ("status", "statuscode", "httpstatus", "httpcode", "code")
_WHOLE_PERCENT = 100
_NOT_COMPLETE = (202, 204, 206, 304)
_MESSAGES = ("message", "note", "info", "information", "detail", "warning")
_WORDS = re.compile(
    r"(?i)not yet (?:available|ready|published|complete)|not (?:available|ready|published|complete) yet|come back later"
    r"|(?:still|currently|being) (?:being )?(?:process|prepar|generat|calculat|comput|load)"
)


def not_ready(plain: Mapping[str, Any]) -> str | None:
    """What says so, None where nothing does; ``plain`` has the letters of each name, in lower case.

    >>> not_ready({"status": "In progress"}), not_ready({"isready": False}), not_ready({"status": "final"})
    ('status is In progress', 'isready is False', None)
    """
    for name in _STATES:
        value = plain.get(name)
        if isinstance(value, str) and re.sub(r"[^a-z]", "", value.lower()) in _UNREADY:
            return f"{name} is {value}"
    for names, words in ((_IF_FALSE, ("false",)), (_IF_TRUE, ("true",))):
        for name in sorted(names & plain.keys()):
            if isinstance(plain[name], bool | str) and str(plain[name]).lower() in words:
                return f"{name} is {plain[name]}"
    for name in _STATUSES:
        if type(plain.get(name)) is int and plain[name] in _NOT_COMPLETE:
            return f"{name} is {plain[name]}"
    if type(share := plain.get("progress")) is float and 0 <= share < 1:
        return f"progress is {share}"
    for name in sorted((_IF_MORE_THAN_0 | _IF_BELOW_100) & plain.keys()):
        value = plain[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (value > 0 if name in _IF_MORE_THAN_0 else 0 <= value < _WHOLE_PERCENT):
            return f"{name} is {value}"
    said = (plain.get(name) for name in _MESSAGES)
    return next((text for text in said if isinstance(text, str) and _WORDS.search(text[:2000])), None)
