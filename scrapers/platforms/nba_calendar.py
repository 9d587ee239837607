"""When there are no NBA games: known to every source of them. https://www.basketball-reference.com/leagues/"""

import datetime as dt

from scrapers.rests import Rests

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
