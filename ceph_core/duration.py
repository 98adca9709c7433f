"""Seconds as people say them."""

import math


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3.1 h`; a dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
