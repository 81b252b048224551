"""When the state of a training is kept beside its validations: by time, and where it is stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Whether it is long since the state was kept; a wall clock that jumps does not matter.

    minutes: between two savings; 0: never, validations alone save.
    """

    minutes: float = 0
    _since: float = field(default_factory=lambda: time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether the minutes are over."""
        return self.minutes > 0 and time.monotonic() - self._since >= 60 * self.minutes

    def restart(self) -> None:
        """The state was kept now."""
        self._since = time.monotonic()
