from __future__ import annotations

import pytest

from alerting.redaction import register_secret
from scrapers.answers import kept_headers
from scrapers.excerpts import excerpt

SECRET = "Tr0ub4dor-and-3-more-words"


@pytest.mark.parametrize("before", [3_975, 3_985, 3_999, 16_370, 16_383])
def test_no_excerpt_and_no_kept_header_ends_in_the_middle_of_a_secret(before: int) -> None:
    register_secret(SECRET)
    for filling in (" ", "x"):
        text = filling * before + SECRET + " and more" * 3_000
        assert SECRET[:8] not in excerpt(text.encode())
        assert SECRET[:8] not in kept_headers({"x-info": text})["x-info"]
