"""Figures as text, one way each, in every language and table."""

from __future__ import annotations

import math
from datetime import UTC, datetime

DIGEST = 12
"""Characters of a sha256 that are printed."""


def duration(seconds: float) -> str:
    """Return a duration as `1h 17m 33.0s`, parts that are zero in front left out; below 1 s as `0.043s`."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if seconds < 0.9995:
        return f"{seconds:.3f}s"
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{tenths / 10:.1f}s"
    if hours or minutes:
        text = f"{minutes}m {text}"
    return f"{hours}h {text}" if hours else text


def figure(value: float, decimals: int) -> str:
    """Return `value` with `decimals`, or with two significant digits where these would show less."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if 0 < size < 10 ** (1 - decimals):
        decimals = 1 - math.floor(math.log10(size))
    return f"{value:.{decimals}f}"


def uncertain(value: float, error: float | None, decimals: int) -> str:
    """Return a value with its standard error, where it has one: `8.157 ± 0.021`."""
    text = figure(value, decimals)
    return text if error is None else f"{text} ± {figure(error, decimals)}"


def count(value: int) -> str:
    """Return a whole number with its thousands set apart: `50,000`."""
    return f"{value:,}"


def plain(value: float) -> str:
    """Return an epoch, a guidance scale and the like without needless digits: `350`, `1.4`, `12.5`."""
    return f"{round(value, 2):.2f}".rstrip("0").rstrip(".")


def scientific(value: float) -> str:
    """Return a small number such as a learning rate as `1e-4` or `1.5e-3`, one from 0.1 on as it is."""
    if value == 0 or abs(value) >= 0.1:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def millions(value: int) -> str:
    """Return a number of parameters: `35.7M`, `412k`, `96`."""
    if value >= 999_500:
        return f"{value / 1e6:.1f}M"
    return f"{value / 1e3:.0f}k" if value >= 1000 else str(value)


def giga(value: float) -> str:
    """Return a large number in thousands of millions, to three digits: `12.4`, `0.0471`, `118`."""
    rounded = float(f"{value / 1e9:.3g}")
    decimals = 0 if rounded == 0 else max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def version(key: str, value: str) -> str:
    """Return a version as it is, a commit cut to 12 digits with its mark of uncommitted changes kept."""
    commit, plus, changes = value.partition("+")
    return commit[:12] + plus + changes if key == "commit" else value


def moment(seconds: float) -> str:
    """Return a Unix time as `2025-12-22 10:35:00`, in UTC, so that it is the same wherever it is written."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"
