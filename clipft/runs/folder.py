"""TODO: docstring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError

if TYPE_CHECKING:
    import pandas as pd


def read_scores(path: Path | str, mend: str = "") -> pd.DataFrame:
    """A run's scores.parquet or images.parquet; raises RunError where it is damaged, with the command to `mend` it."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = str(error).splitlines()[0]
        mend = mend or f"clipft wise {Path(path).parent}"
        raise RunError(f"{path} is damaged ({reason}); delete it, then: {mend}") from None
