"""When there are no NBA games: known to every source of them. https://www.basketball-reference.com/leagues/"""

import datetime as dt
from types import MappingProxyType

from scrapers.rests import Rests
from scrapers.seasons import Seasons

NBA_RESTS = Rests(
    6,  # the All-Star break
    season=((10, 1), (4, 30)),
    opens_by=(10, 31),  # a week later in some years, which is within a rest
    known=(
        *((dt.date(year, 4, 1), dt.date(year, 4, 30)) for year in range(1947, 1963)),  # finals were in April
        (dt.date(1947, 11, 1), dt.date(1947, 11, 11)),
        (dt.date(1998, 10, 1), dt.date(1999, 2, 4)),  # lockouts
        (dt.date(2011, 10, 1), dt.date(2011, 12, 24)),
        (dt.date(2020, 3, 12), dt.date(2020, 4, 30)),  # Covid, and the late finals after it
        (dt.date(2020, 10, 12), dt.date(2020, 12, 21)),
    ),
)

NBA_SEASONS = Seasons(
    (10, 1),
    (6, 30),
    known=MappingProxyType(
        {
            "2019-20": (dt.date(2019, 10, 1), dt.date(2020, 10, 11)),  # Covid, and the bubble
            "2020-21": (dt.date(2020, 12, 11), dt.date(2021, 7, 31)),
        }
    ),
)
"""Preseason to finals."""
