"""Answers in the right shape that say something else, by source, and the verdict that each deserves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from shape_mutants import Document, Mutation, first_row, spoil, with_fields, without
from wire_mutants import HARMLESS

OPEN = "open"


def _line(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return first_row(lambda game: change(game["home_team"]["players"][0]))


MEANING: dict[str, dict[str, tuple[Mutation, str]]] = {
    "bdl_box_scores": {
        "a game of the next day": (first_row(lambda game: game.update(date="2025-01-04")), "SourceContractError"),
        "a day that is none": (first_row(lambda game: game.update(date="2025-02-30")), "SourceContractError"),
        "a date that is a number": (first_row(lambda game: game.update(date=20250103)), "SourceContractError"),
        "no date": (first_row(lambda game: game.pop("date")), "SourceContractError"),
        "a next page": (with_fields(meta={"next_cursor": 25}), "Truncated"),
        "no next page": (with_fields(meta={"next_cursor": None, "per_page": 25}), HARMLESS),
        "an error that is none": (with_fields(error=None), HARMLESS),
        "a field more": (first_row(lambda game: game.update(attendance=18_064)), HARMLESS),
        "empty, and a message": (lambda document: {"data": [], "message": "try later"}, "NothingPublished"),
        "empty": (lambda document: {"data": []}, "empty"),
        "a game under way": (first_row(lambda game: game.update(status="3rd Qtr")), OPEN),
        "a game without a status": (first_row(lambda game: game.pop("status")), "SourceContractError"),
        "a status that is null": (first_row(lambda game: game.update(status=None)), "SourceContractError"),
        "no players": (first_row(lambda game: game["visitor_team"].update(players=[])), "CoverageLow"),
        "players null": (first_row(lambda game: game["visitor_team"].update(players=None)), "SourceContractError"),
        "players in an object": (
            first_row(lambda game: game["visitor_team"].update(players=dict.fromkeys("abcdefghijkl", 1))),
            "SourceContractError",
        ),
        "players in a text": (
            first_row(lambda game: game["visitor_team"].update(players="a" * 6)),
            "SourceContractError",
        ),
        "no visitors": (first_row(lambda game: game.pop("visitor_team")), "SourceContractError"),
        "too few players": (
            first_row(lambda game: game["home_team"].update(players=game["home_team"]["players"][:1])),
            "CoverageLow",
        ),
        "a player without an id": (_line(lambda line: line["player"].update(id=None)), "RowRejected"),
        "an id that is true": (_line(lambda line: line["player"].update(id=True)), "RowRejected"),
        "points beyond the column": (_line(lambda line: line.update(pts=2**63)), "RowRejected"),
        "points in words": (_line(lambda line: line.update(pts="many")), "RowRejected"),
        "points that are no number": (_line(lambda line: line.update(fg_pct=float("nan"))), "RowRejected"),
        "half a character in a name": (_line(lambda line: line["player"].update(first_name="\ud83d")), "RowRejected"),
        "a player that is a list": (_line(lambda line: line.update(player=[])), "SourceContractError"),
        "a score without digits": (first_row(lambda game: game.update(home_team_score="")), "RowRejected"),
    },
    "civic_band": {
        "it does not say yes": (with_fields(ok=None), "SourceContractError"),
        "it does not say yes to nothing": (with_fields(ok=None, rows=[], count=0), "SourceContractError"),
        "it says no": (with_fields(ok=False, error="Table not found"), "SourceUnavailable"),
        "cut by the server": (with_fields(truncated=True), "Truncated"),
        "it does not say whether it is cut": (without("truncated"), "SourceContractError"),
        "more announced": (with_fields(count=4), "NotSettled"),
        "fewer announced": (with_fields(count=2), "NotSettled"),
        "more than it counts": (with_fields(count=10_001), "NotSettled"),
        "a count that is true": (with_fields(count=True), "SourceContractError"),
        "a count below zero": (with_fields(count=-1), "SourceContractError"),
        "a count in words": (with_fields(count="3"), "SourceContractError"),
        "no count": (with_fields(count=None), HARMLESS),
        "empty without a count": (with_fields(rows=[], count=None), "NothingPublished"),
        "empty with a count": (with_fields(rows=[], count=3), "NotSettled"),
        "empty": (with_fields(rows=[], count=0), "empty"),
        "a next page that is itself": (with_fields(next="9ee01b3d55aa"), "SourceContractError"),
        "a next page elsewhere": (with_fields(next="zzz"), "SourceContractError"),
        "a next page that is an object": (with_fields(next={}), "SourceContractError"),
        "neither next page nor count": (without("next", "count"), "SourceContractError"),
        "backwards": (spoil(lambda rows: rows.reverse()), "SourceContractError"),
        "an id that is a number": (first_row(lambda page: page.update(id=7)), "SourceContractError"),
        "no id": (first_row(lambda page: page.pop("id")), "SourceContractError"),
        "a page of another town": (first_row(lambda page: page.update(town="berkeley.ca")), "SourceContractError"),
        "a page of this town": (first_row(lambda page: page.update(subdomain="alameda.ca")), HARMLESS),
        "a column more": (first_row(lambda page: page.update(attachment="x.pdf")), HARMLESS),
        "a page number in words": (first_row(lambda page: page.update(page="one")), "RowRejected"),
        "a page number beyond the column": (first_row(lambda page: page.update(page=2**63)), "RowRejected"),
        "a text that is an object": (first_row(lambda page: page.update(text={})), "RowRejected"),
        "half a character in a text": (first_row(lambda page: page.update(text="\ud83d")), "RowRejected"),
        "no meeting": (first_row(lambda page: page.pop("meeting")), "RowRejected"),
    },
}


MEANING["bigdataball_playbyplay"] = {
    "no file": (with_fields(files=[]), "NothingPublished"),
    "not searched everywhere": (with_fields(incompleteSearch=True), "SourceUnavailable"),
    "a next page that is the same": (with_fields(nextPageToken="again"), "SourceContractError"),
    "a next page that is a number": (with_fields(nextPageToken=7), "SourceContractError"),
    "a next page that is null": (with_fields(nextPageToken=None), "SourceContractError"),
    "a file of another date": (first_row(lambda file: file.update(name="[2025-01-04]-x.csv")), "NothingPublished"),
    "a name that nothing explains": (
        first_row(lambda file: file.update(name="[2025-01-09]-x.csv")),
        "SourceContractError",
    ),
    "combined statistics alone": (
        first_row(lambda file: file.update(name="[2025-01-09]-combined-stats.csv")),
        "NothingPublished",
    ),
    "another MD5": (first_row(lambda file: file.update(md5Checksum="0" * 32)), "NotSettled"),
    "another size": (first_row(lambda file: file.update(size="7")), "NotSettled"),
    "a size in words": (first_row(lambda file: file.update(size="many")), "SourceContractError"),
    "no time of its change": (first_row(lambda file: file.pop("modifiedTime")), "SourceContractError"),
    "a time that is none": (first_row(lambda file: file.update(modifiedTime="yesterday")), "SourceContractError"),
    "a time without a zone": (
        first_row(lambda file: file.update(modifiedTime="2025-01-10T09:30:00")),
        "SourceContractError",
    ),
    "an id that leads elsewhere": (first_row(lambda file: file.update(id="x/../../about?a=")), "SourceContractError"),
    "another id": (first_row(lambda file: file.update(id="elsewhere")), "SourceUnavailable"),
    "another name of the game": (
        first_row(lambda file: file.update(name=file["name"].replace("]-002", "]-004"))),
        "SourceContractError",
    ),
}


def _variant(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return first_row(lambda product: change(product["variants"][0]))


MEANING["coffee_shops"] = {
    "no product": (with_fields(products=[]), "NothingPublished"),
    "products without a list": (with_fields(products={}), "SourceContractError"),
    "a product without variants": (first_row(lambda product: product.update(variants=[])), "SourceContractError"),
    "a product without an id": (first_row(lambda product: product.pop("id")), "SourceContractError"),
    "an id that is true": (first_row(lambda product: product.update(id=True)), "SourceContractError"),
    "an id in words": (first_row(lambda product: product.update(id="8100000000001")), "SourceContractError"),
    "a price in cents": (_variant(lambda one: one.update(price=1250)), "SourceContractError"),
    "a price in words": (_variant(lambda one: one.update(price="free")), "SourceContractError"),
    "a price with its currency": (_variant(lambda one: one.update(price="12.50 EUR")), "SourceContractError"),
    "a price in other digits": (_variant(lambda one: one.update(price="١٢.٥٠")), "SourceContractError"),
    "a price with a comma": (_variant(lambda one: one.update(price="12,50")), "SourceContractError"),
    "a price below zero": (_variant(lambda one: one.update(price="-12.50")), "SourceContractError"),
    "a price beyond the column": (_variant(lambda one: one.update(price="9" * 40)), "SourceContractError"),
    "a price that is null": (_variant(lambda one: one.update(price=None)), "SourceContractError"),
    "it does not say whether it is there": (_variant(lambda one: one.pop("available")), "SourceContractError"),
    "a variant without an id": (_variant(lambda one: one.pop("id")), "SourceContractError"),
    "half a character in a title": (first_row(lambda product: product.update(title="\ud83d")), "RowRejected"),
    "a title that is a number": (first_row(lambda product: product.update(title=7)), "SourceContractError"),
    "a day that is none": (
        first_row(lambda product: product.update(published_at="2024-02-30T09:00:00Z")),
        "RowRejected",
    ),
    "a field more": (first_row(lambda product: product.update(badge="new")), HARMLESS),
    "a weight beyond the column": (_variant(lambda one: one.update(grams=2**63)), "RowRejected"),
}


def _runner(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return first_row(lambda race: change(race["runners"][0]))


MEANING["racing_results"] = {
    "more announced": (with_fields(total=2), "SourceContractError"),
    "fewer announced": (with_fields(total=0), "NotSettled"),
    "a total below zero": (with_fields(total=-1), "SourceContractError"),
    "a total that is true": (with_fields(total=True), "SourceContractError"),
    "a total in words": (with_fields(total="1"), "SourceContractError"),
    "a total without end": (with_fields(total=2**70), "SourceContractError"),
    "the date was not understood": (with_fields(query=[["limit", "50"], ["skip", "0"]]), "SourceContractError"),
    "another date was understood": (
        with_fields(query=[["start_date", "2026-01-08"], ["end_date", "2026-01-08"], ["limit", "50"], ["skip", "0"]]),
        "SourceContractError",
    ),
    "a region was understood": (
        lambda document: {**document, "query": [*document["query"], ["region", "gb"]]},
        "SourceContractError",
    ),
    "an echo that is an object": (with_fields(query={}), "SourceContractError"),
    "an echo of numbers": (with_fields(query=[1, 2]), "SourceContractError"),
    "empty": (with_fields(results=[], total=0), "empty"),
    "empty, and some announced": (with_fields(results=[]), "NotSettled"),
    "a race of the day before": (first_row(lambda race: race.update(date="2026-01-08")), "SourceContractError"),
    "a race without a date": (first_row(lambda race: race.pop("date")), "SourceContractError"),
    "a race without runners": (first_row(lambda race: race.update(runners=[])), "SourceContractError"),
    "a runner twice": (first_row(lambda race: race["runners"].append(race["runners"][0])), "SourceContractError"),
    "a runner without a position": (_runner(lambda one: one.update(position="")), "SourceContractError"),
    "a runner without an id": (_runner(lambda one: one.update(horse_id=None)), "SourceContractError"),
    "a weight in words": (_runner(lambda one: one.update(weight_lbs="heavy")), "RowRejected"),
    "a weight beyond the column": (_runner(lambda one: one.update(weight_lbs=str(2**63))), "RowRejected"),
    "a start without a zone": (first_row(lambda race: race.update(off_dt="2026-01-09T13:00:00")), "RowRejected"),
    "half a character in a name": (_runner(lambda one: one.update(horse="\ud83d")), "RowRejected"),
    "a field more": (first_row(lambda race: race.update(attendance="9000")), HARMLESS),
    "a race id with a blank": (first_row(lambda race: race.update(race_id="rac_11116403 ")), "SourceContractError"),
    "a horse id that shows nothing": (_runner(lambda one: one.update(horse_id="hrs_1\u200b")), "SourceContractError"),
    "a start of another month": (first_row(lambda race: race.update(off_dt="2026-03-29T01:30:00Z")), "RowRejected"),
    "a start in seconds of another year": (first_row(lambda race: race.update(off_dt=1_700_000_000)), "RowRejected"),
}


MEANING["racing_cards"] = {
    "more runners announced, with blanks": (first_row(lambda race: race.update(field_size=" 12 ")), "CoverageLow"),
    "more runners announced, with a plus": (first_row(lambda race: race.update(field_size="+12")), "CoverageLow"),
    "runners announced in Roman": (first_row(lambda race: race.update(field_size="XII")), "SourceContractError"),
    "a prize below zero": (first_row(lambda race: race.update(prize="-1")), "SourceContractError"),
    "a prize in brackets": (
        first_row(lambda race: race.update(prize="(£5,248)")),
        "SourceContractError",
    ),
    "a prize with another minus": (first_row(lambda race: race.update(prize="\u2212£5,248")), "SourceContractError"),
    "half a hurdle": (first_row(lambda race: race.update(jumps="½")), "SourceContractError"),
    "hurdles below zero": (first_row(lambda race: race.update(jumps="-8 hurdles")), "SourceContractError"),
    "hurdles that are no number": (first_row(lambda race: race.update(jumps="NaN")), "SourceContractError"),
}


MEANING["odds_events"] = {
    "a snapshot of the day before": (with_fields(timestamp="2025-01-02T10:55:38Z"), "SourceContractError"),
    "a snapshot after what was asked": (with_fields(timestamp="2025-01-03T11:00:01Z"), "SourceContractError"),
    "a snapshot without a zone": (with_fields(timestamp="2025-01-03T10:55:38"), "SourceContractError"),
    "a snapshot that is null": (with_fields(timestamp=None), "SourceContractError"),
    "a next one before it": (with_fields(next_timestamp="2025-01-03T10:50:38Z"), "SourceContractError"),
    "a next one that is itself": (with_fields(next_timestamp="2025-01-03T10:55:38Z"), "SourceContractError"),
    "it does not say which is next": (without("next_timestamp"), "SourceContractError"),
    "it does not say which was before": (without("previous_timestamp"), "RowRejected"),
    "the walk comes to the same again": (with_fields(next_timestamp="2025-01-03T11:00:38Z"), "SourceContractError"),
    "no list": (with_fields(data={}), "SourceContractError"),
    "an event without an id": (first_row(lambda event: event.pop("id")), "SourceContractError"),
    "an id that is a number": (first_row(lambda event: event.update(id=7)), "SourceContractError"),
    "an id that leads elsewhere": (first_row(lambda event: event.update(id="../../sports")), "SourceContractError"),
    "an id that is null": (first_row(lambda event: event.update(id=None)), "SourceContractError"),
    "a time without a zone": (
        first_row(lambda event: event.update(commence_time="2025-01-03T23:00")),
        "SourceContractError",
    ),
    "a time in seconds": (first_row(lambda event: event.update(commence_time=1735945200)), "SourceContractError"),
    "no team": (first_row(lambda event: event.pop("home_team")), "RowRejected"),
    "half a character in a team": (first_row(lambda event: event.update(home_team="\ud83d")), "RowRejected"),
    "a field more": (first_row(lambda event: event.update(venue="Boston")), HARMLESS),
}


MEANING["odds_history"] = {
    "a snapshot of the day before": (with_fields(timestamp="2025-01-02T10:55:38Z"), "SourceContractError"),
    "no list": (with_fields(data={}), "SourceContractError"),
    "no game of the date": (with_fields(data=[]), "empty"),
    "a game of the next day": (
        first_row(lambda event: event.update(commence_time="2025-01-05T00:00:00Z")),
        "empty",
    ),
    "another game": (first_row(lambda event: event.update(id="0" * 32)), "SourceContractError"),
    "a game whose id is two, and an instant": (
        first_row(lambda event: event.update(id=f"a,{event['id']}@2025-01-03T00:00:00Z")),
        "SourceContractError",
    ),
    "a game without a time": (first_row(lambda event: event.update(commence_time=None)), "SourceContractError"),
}


MEANING["nba_gamelog"] = {
    "a game that nobody logs": (
        lambda document: _replaced(document, "0022400156", "0022400157"),
        "CoverageLow",
    ),
    "a list of the next day": (
        lambda document: _replaced(document, "2024-11-15", "2024-11-16"),
        "SourceContractError",
    ),
    "a kind of game that nobody knows": (
        lambda document: _replaced(document, "0022400156", "0092400156"),
        "SourceContractError",
    ),
}


def _dearer(book: dict[str, Any]) -> dict[str, Any]:
    other = copy.deepcopy(book)
    other["markets"][0]["outcomes"][0]["price"] = 9.99
    return other


def _log(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return lambda document: (change(document["resultSets"][0]), document)[1]


def _replaced(document: Document, old: str, new: str) -> Document:
    return json.loads(json.dumps(document).replace(old, new))


def _game(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return lambda document: (change(document["data"]), document)[1]


def _price(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return _game(lambda game: change(game["bookmakers"][0]["markets"][0]["outcomes"][0]))


ITEM_MEANING: dict[str, dict[str, tuple[Mutation, str]]] = {
    "odds_history": {
        "a snapshot of the day before": (with_fields(timestamp="2025-01-02T23:45:35Z"), "SourceContractError"),
        "another game": (_game(lambda game: game.update(id="0" * 32)), "SourceContractError"),
        "no game": (with_fields(data=None), "SourceContractError"),
        "no bookmakers": (_game(lambda game: game.update(bookmakers=[])), "loaded"),
        "a bookmaker twice with another price": (
            _game(lambda game: game["bookmakers"].append(_dearer(game["bookmakers"][0]))),
            "RowRejected",
        ),
        "no team": (_game(lambda game: game.pop("home_team")), "RowRejected"),
        "no price": (_price(lambda line: line.pop("price")), "RowRejected"),
        "a price that is null": (_price(lambda line: line.update(price=None)), "RowRejected"),
        "a price that is no number": (_price(lambda line: line.update(price=float("nan"))), "RowRejected"),
        "a price without end": (_price(lambda line: line.update(price=10**40)), "RowRejected"),
        "a price that is true": (_price(lambda line: line.update(price=True)), "RowRejected"),
        "a market without outcomes": (
            _game(lambda game: game["bookmakers"][0]["markets"][0].pop("outcomes")),
            "SourceContractError",
        ),
    },
    "nba_gamelog": {
        "of the next day": (lambda document: _replaced(document, "2024-11-15", "2024-11-16"), "SourceContractError"),
        "of another season": (lambda document: _replaced(document, "2024-25", "2023-24"), "SourceContractError"),
        "another game": (lambda document: _replaced(document, "0022400156", "0022400157"), "CoverageLow"),
        "without an echo": (without("parameters"), "SourceContractError"),
        "without its sets": (without("resultSets"), "SourceContractError"),
        "a column less": (_log(lambda log: log["headers"].pop()), "SourceContractError"),
        "without points": (
            _log(lambda log: log["headers"].__setitem__(log["headers"].index("PTS"), "POINTS")),
            "SourceContractError",
        ),
        "no line": (_log(lambda log: log["rowSet"].clear()), "CoverageLow"),
        "a line twice": (_log(lambda log: log["rowSet"].append(log["rowSet"][0])), "CoverageLow"),
        "a line less": (_log(lambda log: log["rowSet"].pop()), "CoverageLow"),
    },
}


CSV: dict[str, tuple[Callable[[bytes], bytes], set[str]]] = {
    "another header": (lambda body: body.replace(b"play_id", b"event_id", 1), {"SourceContractError"}),
    "a cell too many": (
        lambda body: body.replace(b"\r\n", b",\r\n", 2).replace(b",\r\n", b"\r\n", 1),
        {"SourceContractError"},
    ),
    "a quote that nobody closes": (
        lambda body: body.replace(b"end of period", b'"end of period'),
        {"SourceUnavailable", "SourceContractError"},
    ),
    "no lines": (lambda body: body.partition(b"\r\n")[0] + b"\r\n", {"CoverageLow"}),
    "cut within a row": (lambda body: body[:-60], {"SourceUnavailable", "NotSettled"}),
    "cut between rows": (lambda body: b"".join(body.splitlines(keepends=True)[:-3]), {"NotSettled"}),
    "a row twice": (lambda body: body + body.splitlines(keepends=True)[-1], {"CoverageLow"}),
    "another number in a cell": (lambda body: body.replace(b",made,", b",mode,", 1), {"NotSettled"}),
    "another game": (lambda body: body.replace(b"\r\n22", b"\r\n42"), {"SourceContractError"}),
    "no UTF-8": (lambda body: body.replace(b"end of period", b"end of p\xe9riod"), {"SourceContractError"}),
}


NOTHING: dict[str, Mutation] = {
    "racing_results": with_fields(results=[], total=0),
    "racing_cards": with_fields(racecards=[], total=0),
    "civic_band": with_fields(rows=[], count=0),
    "odds_history": with_fields(data=[]),
    "bdl_box_scores": lambda document: {"data": []},
    "bdl_games": with_fields(data=[]),
    "nba_playbyplay": lambda document: {**document, "scoreboard": {**document["scoreboard"], "games": []}},
}
"""What makes a document of the good one that proves emptiness."""


def nothing_and(source: str, said: dict[str, Any]) -> Mutation:
    """The source's document without rows, with more to say."""
    return lambda document: {**NOTHING[source](document), **said}


BESIDE_NOTHING: dict[str, dict[str, Any]] = {
    "a word of maintenance": {"message": "Wartungsarbeiten"},
    "a word in no list of names": {"Meldung": "Données en cours de mise à jour"},
    "a word in Japanese": {"notice": "サービスは現在ご利用いただけません"},
    "a plan": {"note": "Upgrade your plan to access historical data"},
    "a login": {"loginUrl": "/login"},
    "a code of its own": {"retcode": -1},
    "a flag of its own": {"degraded": True},
    "a word in its meta": {"meta": {"text": "Сервис временно недоступен"}},
}
