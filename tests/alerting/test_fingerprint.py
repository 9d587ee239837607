from __future__ import annotations

import datetime as dt
import random
import tracemalloc
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import errors
from alerting.fingerprint import MAX_WORDINGS, VERSION, fingerprint, group_incidents, normalise
from alerting.incident import Incident
from alerting.ranges import expand_dates

LETTERS = str.maketrans("0123456789", "ghijklmnop")
DAYS = [str(dt.date(2021, 1, 1) + dt.timedelta(days=offset)) for offset in range(1826)]


def noisy(cause: int, day: str, rng: random.Random) -> Incident:
    noise = f"https://api.test/v1/x/{rng.randrange(10**9)}?date={day}&trace={uuid.UUID(int=rng.getrandbits(128))}"
    made = {
        0: errors.SourceUnavailable(
            f"GET {noise} answered 503 after {rng.random():.3f} s", status=503, endpoint=f"/v1/x/{day}"
        ),
        1: errors.CoverageLow(
            f"{day}: expected {rng.randrange(5000)} rows, got {rng.randrange(5000)} (game 00{rng.randrange(10**8)})"
        ),
        2: errors.Truncated(f"page limit {noise} reached at id {rng.randrange(10**6)}"),
    }[cause]
    return Incident.from_error(made, source="orders", partition=day, stage="scrape")


def test_1826_errors_of_three_causes_are_three_groups_whose_ranges_give_back_every_day():
    rng = random.Random(7)
    causes = {day: rng.randrange(3) for day in DAYS}
    found = group_incidents(noisy(cause, day, rng) for day, cause in causes.items())
    assert len(found.groups) == 3
    assert found.incidents == 1826
    for group in found.groups:
        cause = {"SourceUnavailable": 0, "CoverageLow": 1, "Truncated": 2}[group.sample.error_type]
        assert set(expand_dates(group.ranges)) == {day for day in DAYS if causes[day] == cause}


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=40), st.randoms())
def test_grouping_does_not_depend_on_the_order_of_arrival(kinds, rng):
    incidents = [
        Incident(
            source="s",
            error_type=kind,
            message=f"{kind} at {number}",
            partition=DAYS[number],
            incident_id=str(number),
            occurred_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        )
        for number, kind in enumerate(kinds)
    ]
    shuffled = list(incidents)
    rng.shuffle(shuffled)

    def shape(given: list[Incident]) -> list[object]:
        return [
            (group.cause_id, group.sample.incident_id, group.count, group.ranges)
            for group in group_incidents(given).groups
        ]

    assert shape(incidents) == shape(shuffled)


@given(st.text(max_size=300))
def test_normalising_never_fails_and_masks_every_digit(text):
    assert not any(char in "0123456789" for char in normalise(text))


def test_two_scrapers_with_the_same_error_are_two_causes():
    pair = [Incident(source=source, error_type="ConnectionError", message="refused") for source in ("a", "b")]
    assert len(group_incidents(pair).groups) == 2


def test_a_fingerprint_names_its_version_and_an_old_one_is_left_alone():
    assert fingerprint(Incident(message="x")).startswith(f"{VERSION}:")
    assert fingerprint(Incident(message="x", fingerprint="v0:abc")) == "v0:abc"


def test_a_dead_key_is_one_cause_with_all_refusals_below_it():
    dead = Incident.from_error(errors.AuthenticationError("key revoked", status=401), source="odds", partition=DAYS[0])
    echoes = [
        Incident(source="odds", error_type="SourceUnavailable", message=text, status=status, partition=day)
        for text, status, day in (("refused", 401, DAYS[1]), ("forbidden", 403, DAYS[2]), ("no", 401, DAYS[3]))
    ]
    other = Incident(source="nba", error_type="SourceUnavailable", message="forbidden", status=403, partition=DAYS[2])
    groups = group_incidents([*echoes, other, dead]).groups
    assert [(group.sample.error_type, group.count, group.echoes) for group in groups] == [
        ("AuthenticationError", 4, 3),
        ("SourceUnavailable", 1, 0),
    ]


def test_a_spent_budget_is_one_cause_with_all_429s_below_it():
    spent = Incident.from_error(errors.BudgetExhausted("credits used up"), source="odds")
    slow = [Incident.from_error(errors.RateLimited("slower"), source="odds", partition=day) for day in DAYS[:5]]
    (group,) = group_incidents([*slow, spent]).groups
    assert (group.sample.error_type, group.count, len(group.partitions)) == ("BudgetExhausted", 6, 5)


def test_what_an_open_breaker_kept_back_is_not_attempted_and_no_error():
    failed = Incident(source="s", error_type="SourceUnavailable", message="down", partition=DAYS[0])
    skipped = [Incident(source="s", error_type="NotAttempted", partition=day) for day in DAYS[:4]]
    causes = group_incidents([failed, *skipped])
    assert (len(causes.groups), causes.incidents, causes.not_attempted) == (1, 1, frozenset(DAYS[1:4]))


def test_criticals_come_first_however_small():
    crowd = [Incident(source="s", error_type="A", message="a", partition=day) for day in DAYS[:50]]
    one = Incident(source="s", error_type="LoadRejected", message="schema", partition=DAYS[60], severity="CRITICAL")
    assert [group.sample.error_type for group in group_incidents([*crowd, one]).groups] == ["LoadRejected", "A"]


def worded(number: int, day: str, **rest) -> Incident:
    """A message whose varying part no mask knows: letters only."""
    word = "".join(chr(97 + int(digit)) for digit in f"{number:05d}")
    given = {"source": "s", "error_type": "KeyError", "occurred_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}
    given |= {"message": f"no player named {word}", **rest}
    return Incident(partition=day, incident_id=str(number), **given)


@given(st.integers(45, 60), st.randoms(use_true_random=False))
def test_too_many_wordings_of_one_error_at_one_place_are_one_cause_whatever_the_order(count, rng):
    incidents = [worded(number % count, DAYS[number % 400]) for number in range(count * 2)]
    incidents.append(Incident(source="s", error_type="Other", message="other", partition=DAYS[0]))
    rng.shuffle(incidents)
    groups = group_incidents(incidents).groups
    if count <= MAX_WORDINGS:
        assert len(groups) == count + 1
        return
    merged, other = groups
    assert (merged.count, merged.many_wordings, other.count) == (count * 2, True, 1)
    assert merged.partitions == {incident.partition for incident in incidents if incident.error_type == "KeyError"}
    assert len(merged.messages) == 10


def test_thousands_of_wordings_keep_no_more_than_one_cause_in_memory():
    def stream():
        for number in range(4_000):
            yield worded(number, DAYS[number % 1826], message=f"{number:x} ".translate(LETTERS) + "x" * 480)

    tracemalloc.start()
    (group,) = group_incidents(stream()).groups
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert group.count == 4_000
    assert set(expand_dates(group.ranges)) == set(DAYS)
    assert peak_bytes < 1_500_000


BASE = {
    "source": "nba",
    "error_type": "SourceUnavailable",
    "message": "GET https://a.test/v1/games/7?date=2021-03-04 gave 503 at /var/data/2021-03-04.json for id 99, 12.5 s",
    "exception_chain": ("SourceUnavailable", "TimeoutError"),
    "frame": "scrapers/client.py:fetch",
    "status": 503,
    "endpoint": "/v1/games/7/box",
}


@pytest.mark.parametrize(
    "other",
    [
        {"message": "GET https://b.test/v2/x?date=2022-12-31 gave 599 at /var/data/2022-12-31.json for id 4, 0.1 s"},
        {"endpoint": "/v1/games/0022400123/box?date=2022-12-31"},
        {"endpoint": "/v1/games/31/box"},
        {"status": 502},
        {"partition": "2022-12-31", "attempts": 5, "stage": "load", "traceback": "x", "facts": {"a": 1}, "hint": "h"},
    ],
    ids=["dates ids urls numbers paths", "long id and query", "short id", "same class of status", "what is no cause"],
)
def test_what_changes_from_date_to_date_does_not_change_the_cause(other):
    assert fingerprint(Incident(**{**BASE, **other})) == fingerprint(Incident(**BASE))


@pytest.mark.parametrize(
    "other",
    [
        {"source": "odds"},
        {"error_type": "RateLimited"},
        {"exception_chain": ("SourceUnavailable", "ConnectionResetError")},
        {"frame": "scrapers/client.py:_send"},
        {"message": "connection reset by peer"},
        {"status": 404},
        {"endpoint": "/v1/odds/7"},
        {"endpoint": "/v2/games/7/box"},
    ],
    ids=["source", "class", "chain", "own frame", "words", "class of status", "endpoint", "version of the API"],
)
def test_what_makes_another_fault_makes_another_cause(other):
    assert fingerprint(Incident(**{**BASE, **other})) != fingerprint(Incident(**BASE))


def test_401_403_and_429_are_causes_of_their_own():
    assert len({fingerprint(Incident(**{**BASE, "status": status})) for status in (400, 401, 403, 404, 429)}) == 4
