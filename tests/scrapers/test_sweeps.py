"""Sources that are read as a whole: every row once, months by their dates, and nothing asked for twice."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import CoverageLow, NotSettled, SourceUnavailable, Truncated

from .sweep_world import CAP, NOW, Bench, Homes, fewest_calls, homes


def assert_exact(bench, manifests):
    wanted = bench.site.by_month()
    found = bench.ids(manifests)
    assert {key: ids for key, ids in found.items() if ids} == {key: sorted(ids) for key, ids in wanted.items()}
    assert {key: one.counts["homes"] for key, one in manifests.items()} == {key: len(ids) for key, ids in found.items()}


def test_one_sweep_fills_all_months_each_row_once_though_edges_are_in_two_bands():
    bench = Bench(homes(900))
    manifests = bench.sweep()
    assert_exact(bench, manifests)
    assert bench.site.calls <= 2 * fewest_calls(bench.site.rows)
    assert any("size_min" in asked for asked in bench.site.asked)
    assert len({one.attempt for one in manifests.values()}) == 1


def test_sizes_that_do_not_split_are_split_by_price():
    rows = homes(400)
    for row in rows:
        row["size"] = 60.5
    bench = Bench(rows)
    assert_exact(bench, bench.sweep())
    assert any("price_min" in asked for asked in bench.site.asked)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(Homes.sweeps), st.integers(0, 200), st.integers(0, 63), st.integers(0, 420)),
        max_size=300,
    )
)
def test_any_distribution_is_read_exactly(drawn):
    rows = [
        {
            "id": str(number),
            "town": town,
            "date": str(dt.date(2024, 1, 1) + dt.timedelta(days=day)),
            "size": 20 + min(half, 198) / 2,
            "price": price,
        }
        for number, (town, half, price, day) in enumerate(drawn)
    ]
    bench = Bench(rows)
    try:
        assert_exact(bench, bench.sweep())
    except Truncated:
        cells = [(row["town"], row["size"] // 1, row["price"]) for row in rows]
        edges = [sum(one[0] == t and one[1] in (s, s + 1) and one[2] == p for one in cells) for t, s, p in set(cells)]
        assert max(edges) >= CAP
        return
    assert bench.site.calls <= 2 * fewest_calls(rows) + 20


def test_rows_of_months_that_nobody_asked_for_are_left_alone_until_somebody_does():
    bench = Bench(homes(300))
    two = bench.sweep(bench.months[3:5])
    calls = bench.site.calls
    assert sorted(two) == ["2024-04", "2024-05"]
    rest = bench.sweep(bench.months[5:], backfill_id="b2", sweep_since=NOW - dt.timedelta(hours=1))
    assert bench.site.calls == calls, "a sweep that is still fresh fills other months without a call"
    for month in (*two.values(), *rest.values()):
        assert month.counts["homes"] == len(bench.site.by_month()[month.partition])
    bench.sweep(bench.months[5:], backfill_id="b3")
    assert bench.site.calls > calls


def test_a_month_without_rows_is_empty_by_the_sweep_and_an_empty_site_needs_a_proof():
    bench = Bench([row for row in homes(200) if not row["date"].startswith("2024-06")])
    june = bench.sweep()["2024-06"]
    assert june.empty_evidence.startswith("200, none of 182 rows of the sweep ")
    assert june.counts == {"homes": 0}
    assert all(one.empty_evidence for one in Bench([]).sweep().values())


def test_a_kill_before_any_call_costs_no_call_twice():
    rows = homes(500)
    whole = Bench(list(rows))
    whole.sweep()
    bench = Bench(list(rows))
    bench.site.down = set(range(3, 400, 7))
    for _ in range(100):
        try:
            manifests = bench.sweep()
            break
        except SourceUnavailable:
            continue
    assert_exact(bench, manifests)
    assert bench.site.asked == whole.site.asked, "each page is answered once"


def test_a_sweep_goes_on_in_this_process_without_reading_its_pages_again(monkeypatch):
    bench = Bench(homes(300))
    sweep = bench.begin()
    monkeypatch.setattr(bench.landing, "read_page", lambda record: pytest.fail("read"))
    rounds = 1
    while (result := sweep.go_on(10)) is None:
        rounds += 1
        assert sweep.pages == 10 * (rounds - 1)
    assert rounds > 3
    assert sum(one.counts["homes"] for one in result.manifests.values()) == 300


def test_a_run_that_died_between_two_months_makes_no_call_again():
    bench = Bench(homes(300))
    bench.sweep(bench.months[:3])
    calls = bench.site.calls
    assert_exact(bench, bench.sweep())
    assert bench.site.calls == calls


def test_a_sale_added_while_a_band_is_read_does_no_harm_and_nothing_is_read_again():
    still = Bench(homes(500))
    still.sweep()
    bench = Bench(homes(500))
    before = {row["id"] for row in bench.site.rows}
    for call in range(5, 60, 9):
        bench.site.at[call] = bench.site.add
    manifests = bench.sweep()
    assert before <= {one for ids in bench.ids(manifests).values() for one in ids}
    glances = len(bench.site.asked) - len(still.site.asked)
    assert glances <= len(bench.site.at) + 6


def test_only_the_band_that_lost_a_row_while_it_was_read_is_read_again():
    rows = [row for row in homes(200) if row["town"] == "north"][:45] + [
        row for row in homes(900, 2) if row["town"] == "south"
    ]
    bench = Bench(rows)
    bench.site.at[3] = lambda: bench.site.withdraw(bench.site.rows[2])
    manifests = bench.sweep()
    assert_exact(bench, manifests)
    asked = [one for one in bench.site.asked if "town=north" in one]
    assert asked == [f"town=north page={number}" for number in (1, 2, 3, 4, 5, 1, 2, 3, 4, 5)]
    assert len(bench.site.asked) == len(set(bench.site.asked)) + 5


def test_a_sale_withdrawn_after_its_band_was_cut_is_seen_by_one_glance():
    bench = Bench(homes(500, towns=("north",)))
    last = bench.site.rows[-1]
    bench.site.at[2] = lambda: bench.site.withdraw(last)
    assert_exact(bench, bench.sweep())
    assert bench.site.asked.count("town=north page=1") == 2


def test_a_sale_corrected_into_a_band_that_was_read_already_costs_only_glances_and_that_band():
    bench = Bench(homes(500, towns=("north",)))
    largest = max(bench.site.rows, key=lambda row: row["size"])

    def correct():
        largest["size"] = 40.0

    still = Bench(homes(500, towns=("north",)))
    still.sweep()
    bench.site.at[still.site.calls - 6] = correct
    manifests = bench.sweep()
    assert_exact(bench, manifests)
    assert bench.site.calls < 1.5 * still.site.calls


@pytest.mark.parametrize("count", [1, 40, 300])
def test_rows_without_a_value_on_the_first_axis_are_found_by_the_next_one(count):
    bench = Bench(homes(300))
    for row in bench.site.rows[:count]:
        row["size"] = None
    assert_exact(bench, bench.sweep())


def test_a_row_that_is_in_no_band_is_an_error_and_never_a_quiet_loss():
    bench = Bench(homes(300))
    bench.site.rows[120].update(size=None, price=None)
    with pytest.raises(CoverageLow, match="its bands have"):
        bench.sweep()


def test_a_band_that_never_settles_fails_and_the_next_run_reads_that_band_alone():
    bench = Bench(homes(45, towns=("north",)) + homes(45, 2, towns=("south",)))

    def move():
        del bench.site.rows[0]

    for call in range(2, 60):
        bench.site.at[call] = move
    with pytest.raises(NotSettled, match=r"north .* moved during each of 4 readings"):
        bench.sweep()
    bench.site.at.clear()
    del bench.site.asked[:]
    assert_exact(bench, bench.sweep())
    assert bench.site.asked[0] == "town=north page=1"


def test_a_corrected_row_counts_in_its_later_form_also_when_it_changed_its_month():
    rows = homes(500, towns=("north",))
    still = Bench([dict(row) for row in rows])
    still.sweep()
    edges = {int(one.split("size_min=")[1].split()[0]) for one in still.site.asked if "size_min" in one}
    edge = next(row for row in rows if row["size"] in edges and row["date"] > "2024-02")
    bench = Bench(rows)
    seen = [number for number, one in enumerate(still.site.asked, 1) if f"size_max={int(edge['size'])}" in one]

    def correct():
        edge["date"] = "2024-01-05"

    bench.site.at[max(seen) + 1] = correct
    assert_exact(bench, bench.sweep())


def test_the_hash_of_a_month_changes_with_its_rows_and_with_nothing_else():
    first = Bench(homes(400)).sweep()
    other = Bench(homes(400))
    other.site.rows.append({**other.site.rows[-1], "id": "more", "date": "2024-03-10"})
    second = other.sweep()
    changed = [key for key in first if first[key].content_hash != second[key].content_hash]
    assert changed == ["2024-03"]


def test_a_band_of_one_step_at_the_cap_is_truncated_and_named():
    rows = homes(CAP + 5, towns=("south",))
    for row in rows:
        row.update(size=60.0, price=7)
    with pytest.raises(Truncated, match=r"south (59 to 59|60 to 60) x 7 to 7 has 55 rows") as caught:
        Bench(rows).sweep()
    assert caught.value.facts["announced"] == CAP + 5


def test_a_site_that_ignores_the_bands_is_found_out():
    bench = Bench(homes(300))
    fetch = bench.site.fetch

    def deaf(request, page_number=1):
        page = fetch(type(request)(request.path, (request.params[0], request.params[-1]), cursor=request.cursor))
        return type(page)(request, page_number, 200, {}, page.body, NOW, 0.1)

    bench.site.fetch = deaf
    with pytest.raises(Exception, match="asked for"):
        bench.sweep()
