"""What alerting offers, a flow or the command uses: a feature that nobody can reach is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT_DIR = Path(__file__).parent.parent.parent
ROOTS = ("flows", "deployments", "scrapers", "processors")

NOT_REACHED = {
    "smart_alert_manager.SmartAlertManager.should_send_alert": "for users of the class; our flows report, it decides",
    "smart_alert_manager.SmartAlertManager.get_error_summary": "for users of the class; the command asks the journal",
    "live_alerts.LiveAlerts.may_send": "behind should_send_alert",
    "live_alerts.LiveAlerts.summary_of": "behind get_error_summary",
    "smart_alert_manager.SmartAlertManager.is_backfill_mode": "for users of the class",
    "headers.WirePolicy.fold": "the email package calls it",
    "headers.WirePolicy.fold_binary": "the email package calls it",
    "headers.WirePolicy.header_store_parse": "the email package calls it",
}


class Graph:
    """Top-level definitions and public methods of alerting, and which names the code of each mentions."""

    def __init__(self) -> None:
        self.mentions: dict[str, set[str]] = {}
        self.names: dict[str, set[str]] = {}
        for path in sorted((PROJECT_DIR / "alerting").glob("*.py")):
            module = ast.parse(path.read_text())
            for node in module.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    self._add(f"{path.stem}.{node.name}", node)
                elif not isinstance(node, ast.Import | ast.ImportFrom):
                    self.mentions.setdefault(f"{path.stem}.<module>", set()).update(_names(node))

    def _add(self, name: str, node: ast.FunctionDef | ast.ClassDef) -> None:
        methods = []
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
        own = [child for child in ast.iter_child_nodes(node) if child not in methods]
        self._node(name, node.name, {mention for child in own for mention in _names(child)})
        for method in methods:
            # A method is reached by its name, once its class is.
            self._node(f"{name}.{method.name}", method.name, _names(method))

    def _node(self, name: str, short: str, mentions: set[str]) -> None:
        self.mentions[name] = mentions
        self.names.setdefault(short, set()).add(name)

    def reached(self, mentioned: set[str]) -> set[str]:
        """Everything that code which mentions these names can come to; a method only when its class is reached."""
        found = {name for name in self.mentions if name.endswith(".<module>")}
        known = mentioned.union(*(self.mentions[name] for name in found))
        size = -1
        while size != len(found):
            size = len(found)
            for name in {name for short in known for name in self.names.get(short, ())} - found:
                owner = name.rpartition(".")[0]
                if owner in found or owner not in self.mentions:
                    found.add(name)
                    known |= self.mentions[name]
        return found

    def public(self) -> Iterator[str]:
        """Names without an underscore."""
        for name in self.mentions:
            if not any(part.startswith(("_", "<")) for part in name.split(".")):
                yield name


def _names(node: ast.AST) -> set[str]:
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Attribute):
            found.add(each.attr)
        elif isinstance(each, ast.alias):
            found.add(each.name)
    return found


def _mentioned_outside() -> set[str]:
    found: set[str] = set()
    for root in ROOTS:
        for path in (PROJECT_DIR / root).rglob("*.py"):
            found |= _names(ast.parse(path.read_text()))
    for template in (PROJECT_DIR / "alerting" / "templates").iterdir():
        found |= set(re.findall(r"\w+", template.read_text()))
    return found


def test_every_public_symbol_of_alerting_is_reached_from_a_flow_or_has_a_reason() -> None:
    graph = Graph()
    reached = graph.reached(_mentioned_outside())
    # A Protocol is reached by its implementations; methods that only Python calls have no caller by name.
    unreached = {name for name in graph.public() if name not in reached and name.rpartition(".")[0] not in NOT_REACHED}
    assert unreached == {name for name in NOT_REACHED if name in unreached}, "reach it, or say why not"
    stale = set(NOT_REACHED) - unreached
    assert not stale, "these are reached now"


def test_a_symbol_that_nobody_mentions_is_found() -> None:
    graph = Graph()
    assert "delivery.send_owed_summary" not in graph.reached(set())
    assert "delivery.send_owed_summary" in graph.reached({"send_owed_summary"})
    assert "notices.tell_human" in graph.reached({"SmartAlertManager", "enable_backfill_mode", "record_error"})
