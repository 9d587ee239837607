"""Six made-up shops of coffee roasters and their days: what they sell, what changes overnight, how prices went.

    world = ShopsWorld()
    world.products("alpine.example", FIRST_DAY)      # newest first
    world.price_history({"alpine.example": [FIRST_DAY, ...]})

A shop is the same in every process: each day follows from the one before it by a generator that is seeded with shop and
day. Before `FIRST_DAY` nothing changes. Prices are minor units of ``minor_unit`` decimals.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

FIRST_DAY = dt.date(2026, 6, 1)
DAYS = 30

_BEANS = ("Huila", "Yirgacheffe", "Antigua", "Mandheling", "Kiambu", "Tarrazú", "Sidamo", "Nariño", "Monsoon", "Gayo")
_ROASTS = ("Espresso", "Filter", "Omni", "Decaf", "Peaberry", "Natural", "Washed", "Honey")
_SIZES = ("250 g", "500 g", "1 kg")


@dataclass(frozen=True)
class ShopFacts:
    """A shop, as the settings have to name it; ``products`` on its first day."""

    name: str
    platform: Literal["shopify", "woo"]
    currency: str
    minor_unit: int
    products: int


SHOPS: Mapping[str, ShopFacts] = {
    shop.name: shop
    for shop in (
        ShopFacts("alpine.example", "shopify", "CHF", 2, 23),
        ShopFacts("bergen.example", "shopify", "NOK", 2, 9),
        ShopFacts("cauca.example", "shopify", "COP", 2, 12),
        ShopFacts("delta.example", "woo", "EUR", 2, 14),
        ShopFacts("edo.example", "woo", "JPY", 0, 8),
        ShopFacts("fez.example", "woo", "USD", 3, 11),
    )
}

SETTINGS = {name: {"platform": shop.platform, "currency": shop.currency} for name, shop in SHOPS.items()}
"""As ``GAPLESS_SOURCE_ENTITIES`` has them."""


@dataclass(frozen=True)
class Variant:
    """``price`` and ``regular_price`` (None: not reduced) are minor units."""

    id: int
    title: str
    price: int
    regular_price: int | None
    is_available: bool


@dataclass(frozen=True)
class Product:
    """``kind``: several variants, one without options, or a subscription that nobody can buy and that has no price."""

    id: int
    title: str
    handle: str
    kind: Literal["variable", "simple", "subscription"]
    variants: tuple[Variant, ...]
    published_on: dt.date


@dataclass(frozen=True)
class PriceSpan:
    """A price as looks at a shop saw it: ``valid_from`` and ``last_seen`` are the first and last look with it.

    ``valid_to`` is the first look that saw another price, or the variant no more; None where no look did.
    """

    shop: str
    product_id: str
    variant_id: str
    currency: str
    price: Decimal | None
    regular_price: Decimal | None
    valid_from: dt.date
    last_seen: dt.date
    valid_to: dt.date | None


class ShopsWorld:
    """See the module. Not thread-safe while a day is asked for the first time."""

    def __init__(self) -> None:
        self._days: dict[str, list[tuple[Product, ...]]] = {name: [_opened(shop)] for name, shop in SHOPS.items()}

    def products(self, shop: str, day: dt.date) -> tuple[Product, ...]:
        """What the shop sells on that day, newest first."""
        days, number = self._days[shop], max(0, (day - FIRST_DAY).days)
        while len(days) <= number:
            days.append(_overnight(SHOPS[shop], days[-1], FIRST_DAY + dt.timedelta(days=len(days))))
        # One product is away for three days and comes back as it was.
        return days[number][:-1] if 10 <= number < 13 else days[number]

    def major(self, shop: str, minor: int) -> Decimal:
        """A price in major units."""
        return Decimal(minor).scaleb(-SHOPS[shop].minor_unit)

    def price_history(self, looks: Mapping[str, Sequence[dt.date]]) -> list[PriceSpan]:
        """How prices went, as far as these looks (oldest first) at the shops could see it; sorted."""
        found = [span for shop, days in looks.items() for span in self._of_shop(shop, days)]
        return sorted(found, key=lambda span: (span.shop, span.variant_id, span.valid_from))

    def _of_shop(self, shop: str, days: Sequence[dt.date]) -> Iterable[PriceSpan]:
        open_spans: dict[str, PriceSpan] = {}
        for day in days:
            seen = {span.variant_id: span for span in self._spans_on(shop, day)}
            for variant_id, before in list(open_spans.items()):
                now = seen.get(variant_id)
                same = now is not None and (now.price, now.regular_price) == (before.price, before.regular_price)
                if same:
                    open_spans[variant_id] = replace(before, last_seen=day)
                    del seen[variant_id]
                else:
                    yield replace(open_spans.pop(variant_id), valid_to=day)
            open_spans |= seen
        yield from open_spans.values()

    def _spans_on(self, shop: str, day: dt.date) -> Iterable[PriceSpan]:
        for product in self.products(shop, day):
            for variant in product.variants:
                is_priced = product.kind != "subscription"
                yield PriceSpan(
                    shop,
                    str(product.id),
                    str(variant.id),
                    SHOPS[shop].currency,
                    self.major(shop, variant.price) if is_priced else None,
                    self.major(shop, variant.regular_price) if is_priced and variant.regular_price else None,
                    day,
                    day,
                    None,
                )


def _opened(shop: ShopFacts) -> tuple[Product, ...]:
    chance = random.Random(shop.name)  # noqa: S311 - a made-up world
    made = [_product(shop, number, FIRST_DAY, chance) for number in range(shop.products)]
    return tuple(reversed(made))


def _product(shop: ShopFacts, number: int, day: dt.date, chance: random.Random) -> Product:
    kind: Literal["variable", "simple", "subscription"] = "variable" if number % 3 else "simple"
    if shop.platform == "woo" and number % 7 == 6:
        kind = "subscription"
    title = f"{chance.choice(_BEANS)} – {chance.choice(_ROASTS)} & {'Co' if number % 2 else 'Friends'}"
    base = 10**9 * (1 + list(SHOPS).index(shop.name)) if shop.platform == "shopify" else 1000
    first = base + 100 * number
    price = chance.randrange(70, 220) * 10 ** max(0, shop.minor_unit - 1) * (10 if shop.minor_unit == 0 else 1)
    sizes = _SIZES[: 2 + number % 2] if kind == "variable" else ("",)
    variants = tuple(
        Variant(first + 1 + place, size, price * (1 + place), None, chance.random() < 0.9)
        for place, size in enumerate(sizes)
    )
    if kind == "simple" and shop.platform == "woo":
        variants = (replace(variants[0], id=first),)
    elif kind == "subscription":
        variants = (Variant(first, "", 0, None, False),)
    return Product(first, title, f"coffee-{number}", kind, variants, day)


def _overnight(shop: ShopFacts, before: tuple[Product, ...], day: dt.date) -> tuple[Product, ...]:
    chance = random.Random(f"{shop.name} {day}")  # noqa: S311 - a made-up world
    products = list(before)
    if chance.random() < 0.25:
        number = 200 + 2 * (day - FIRST_DAY).days
        products.insert(0, _product(shop, number, day, chance))
    if chance.random() < 0.2 and len(products) > 5:
        products.pop(chance.randrange(len(products)))
    for _ in range(2):
        place = chance.randrange(len(products))
        products[place] = _changed(products[place], chance)
    return tuple(products)


def _changed(product: Product, chance: random.Random) -> Product:
    """Another price, the beginning or end of a reduction, or only sold out."""
    if product.kind == "subscription":
        return product
    which = chance.randrange(len(product.variants))
    variant, event = product.variants[which], chance.random()
    if event < 0.4:
        changed = replace(variant, price=variant.price + max(1, variant.price // 20), regular_price=None)
    elif event < 0.7 and variant.regular_price is None:
        changed = replace(variant, price=variant.price * 4 // 5, regular_price=variant.price)
    elif event < 0.7 and variant.regular_price is not None:
        changed = replace(variant, price=variant.regular_price, regular_price=None)
    else:
        changed = replace(variant, is_available=not variant.is_available)
    variants = (*product.variants[:which], changed, *product.variants[which + 1 :])
    return replace(product, variants=variants)
