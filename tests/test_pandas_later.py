"""pyarrow does without pandas until a plugin imports it, and then treats its objects as always."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SETUP = "import json, sys; from workbench.execution.pandas_later import put_off; put_off(); import pyarrow as pa; "
SERIES = "series = pd.Series([1.0, float('nan')]); table = pa.table({'text': ['a', 'b']}); "
ASKED = "print(json.dumps([pa.array(series).null_count, table.to_pandas()['text'].tolist(), pd.__spec__.name]))"


def answer(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_lists_become_arrays_without_pandas() -> None:
    code = "batch = pa.RecordBatch.from_pylist([{'n': 1}]); print(json.dumps([batch.to_pylist(), 'pandas' in sys.modules]))"
    assert answer(SETUP + code) == [[{"n": 1}], False]


def test_pandas_that_is_imported_later_is_known_to_pyarrow() -> None:
    """That a NaN of a Series is null is what pyarrow knows only with pandas."""
    plain = "import json, pandas as pd, pyarrow as pa; "
    expected = [1, ["a", "b"], "pandas"]
    assert answer(plain + SERIES + ASKED) == expected
    assert answer(SETUP + "import pandas as pd; " + SERIES + ASKED) == expected


def test_pandas_that_was_imported_before_stays_as_it_is() -> None:
    assert answer("import pandas as pd; " + SETUP + SERIES + ASKED) == [1, ["a", "b"], "pandas"]


def test_a_table_for_pandas_brings_it_in() -> None:
    code = "frame = pa.table({'n': [1, 2]}).to_pandas(); print(json.dumps([frame['n'].tolist(), 'pandas' in sys.modules]))"
    assert answer(SETUP + code) == [[1, 2], True]
