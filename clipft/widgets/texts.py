"""Sentences of the form as HTML; names in them are escaped here."""

import html


def paragraph(text: object) -> str:
    """A sentence as HTML."""
    return f"<p>{html.escape(str(text))}</p>"


def duration(seconds: float) -> str:
    """A time in its two largest units: `1 hour 5 minutes`, `40 seconds`."""
    whole = round(seconds)
    if whole >= 3600:
        whole = 60 * round(whole / 60)
    hours, rest = divmod(whole, 3600)
    parts = []
    for count, unit in ((hours, "hour"), (rest // 60, "minute"), (rest % 60, "second")):
        if count:
            parts.append(f"{count} {unit}" if count == 1 else f"{count} {unit}s")
    return " ".join(parts) or "less than a second"
