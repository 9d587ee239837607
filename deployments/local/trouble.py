"""Trouble for the running embedded stack: what docs/break-it.md types.

    python -m deployments.local.trouble bdl_box_scores '{"kind": "500", "dates": ["2025-03-03"]}'
    python -m deployments.local.trouble bdl_box_scores        # ends it
    python -m deployments.local.trouble --mail down           # of the mail server; none ends it

Kinds of the samples: `deployments.local.upstreams`; modes of the mail server: `deployments.local.inbox.smtp`. Which
stack it is says the environment (``source .gapless/env``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Exit code 0, or 1 with the reason."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.local.trouble",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", default="", help="whose sample; not with --mail")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="JSON objects; none ends all trouble of the sample")
    parser.add_argument("--mail", default="", metavar="MODE", help="of the mail server: down, 451, hang ..., none")
    given = parser.parse_args(arguments)
    try:
        if given.mail:
            _call("POST", f"{os.environ['GAPLESS_INBOX_URL']}/api/trouble", {"mode": given.mail})
            print(f"mail server: {given.mail}")
            return 0
        url = urlsplit(json.loads(os.environ["GAPLESS_SOURCE_URLS"])[given.source])
        at = f"{url.scheme}://{url.netloc}/gapless/trouble"
        _call("POST", at, [json.loads(rule) for rule in given.rules])
        print(f"{given.source}: {', '.join(given.rules) or 'no trouble'}")
    except KeyError as error:
        print(f"error: {error} is not of a running stack. Next: make up; source .gapless/env", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        told = error.read().decode() if isinstance(error, urllib.error.HTTPError) else str(error)
        print(f"error: {told}", file=sys.stderr)
        return 1
    return 0


def _call(method: str, url: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        answer.read()


if __name__ == "__main__":
    sys.exit(main())
