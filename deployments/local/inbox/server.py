"""The local mail inbox: an SMTP server that keeps every mail, and a web page to read them.

    python -m deployments.local.inbox.server --smtp-port 1025 --http-port 8025 --mail-dir DIR

Pages, JSON and trouble: `deployments.local.inbox.page`, `deployments.local.inbox.smtp`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployments.local.processes import Child, Inherited, Serving, free_port, start_child


def start_inbox(
    mail_dir: Path,
    log_path: Path,
    *,
    smtp_port: int | None = None,
    http_port: int | None = None,
    inherited: Inherited | None = None,
) -> Child:
    """Starts the inbox as a child process; see `wait_ready`.

    Args:
        mail_dir: Takes one ``.eml`` file per mail; survives restarts.
        log_path: Takes its output.
        smtp_port: Preferred port; another one is picked if it is taken. The one in use is ``ports["smtp"]``.
        http_port: The same for the page, ``endpoint``.
        inherited: What it gets; its working directory is the project's.
    """
    http, smtp = free_port(http_port), free_port(smtp_port)
    endpoint = f"http://127.0.0.1:{http}"
    command = [
        *(sys.executable, "-m", "deployments.local.inbox.server", "--smtp-port", str(smtp), "--http-port", str(http)),
        *("--mail-dir", str(mail_dir.resolve())),
    ]
    return start_child(
        "inbox",
        command,
        log_path=log_path,
        serving=Serving(endpoint, f"{endpoint}/healthz", {"http": http, "smtp": smtp}),
        inherited=replace(inherited or Inherited(), cwd=Path(__file__).resolve().parents[3]),
    )


@dataclass(frozen=True)
class InboxClient:
    """Reads an inbox over HTTP.

    Attributes:
        url: Base URL of the page.
        smtp_host: Host to send to.
        smtp_port: Port to send to.
    """

    url: str
    smtp_host: str
    smtp_port: int

    @classmethod
    def of(cls, child: Child) -> InboxClient:
        """The client of a started inbox."""
        return cls(child.endpoint, str(urlsplit(child.endpoint).hostname), child.ports["smtp"])

    def messages(self) -> list[dict[str, Any]]:
        """Newest first; keys as in `Mail.summary`."""
        found: list[dict[str, Any]] = self._call("GET", "/api/messages")
        return found

    def message(self, mail_id: str) -> dict[str, Any]:
        """One mail; keys as in `Mail.details`."""
        found: dict[str, Any] = self._call("GET", f"/api/messages/{mail_id}")
        return found

    def page_of(self, mail_id: str) -> str:
        """URL of the page that shows one mail."""
        return f"{self.url}/messages/{mail_id}"

    def clear(self) -> None:
        """Deletes all mails and ends all trouble."""
        self._call("DELETE", "/api/messages")
        self.trouble("none")

    def trouble(self, mode: str, **options: Any) -> None:
        """Orders trouble: see `deployments.local.inbox.smtp`."""
        self._call("POST", "/api/trouble", {"mode": mode, **options})

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.loads(answer.read())


def main() -> None:
    """Command line. SIGTERM and SIGINT end it."""
    from deployments.local.inbox.page import Inbox
    from deployments.local.inbox.smtp import SmtpServer, Troubles
    from deployments.local.inbox.store import MailStore

    parser = argparse.ArgumentParser(
        prog="python -m deployments.local.inbox.server", description="The local mail inbox."
    )
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--mail-dir", type=Path, required=True)
    arguments = parser.parse_args()
    store, troubles = MailStore(arguments.mail_dir), Troubles()
    smtp = SmtpServer(store, troubles, arguments.smtp_port)
    smtp.start()
    web = Inbox(arguments.http_port, store, troubles, arguments.smtp_port)
    for number in (signal.SIGINT, signal.SIGTERM):
        # shutdown() waits for serve_forever(), which cannot go on while its own thread handles the signal.
        signal.signal(number, lambda *_: threading.Thread(target=web.shutdown).start())
    try:
        web.serve_forever(poll_interval=0.1)
    finally:
        web.server_close()
        smtp.stop()


if __name__ == "__main__":
    main()
