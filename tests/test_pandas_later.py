"""pyarrow does without pandas until a plugin imports it, and then treats its objects as always."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SETUP = "import json, sys; from workbench.lib.pandas_later import put_off; put_off(); import pyarrow as pa; "
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


def test_looking_whether_pandas_is_there_is_no_import() -> None:
    """transformers looks, for one; what is imported afterwards is whole, its loader included."""
    looks = "from importlib.util import find_spec; found = find_spec('pandas') is not None; "
    loaders = "type(pd.__spec__.loader).__name__, pd.__loader__ is pd.__spec__.loader"
    asked = f"print(json.dumps([found, pa.array(series).null_count, {loaders}]))"
    expected = [True, 1, "SourceFileLoader", True]
    assert answer(SETUP + looks + "import pandas as pd; " + SERIES + asked) == expected


def test_pandas_that_was_imported_before_stays_as_it_is() -> None:
    assert answer("import pandas as pd; " + SETUP + SERIES + ASKED) == [1, ["a", "b"], "pandas"]


def test_a_table_for_pandas_brings_it_in() -> None:
    code = "frame = pa.table({'n': [1, 2]}).to_pandas(); print(json.dumps([frame['n'].tolist(), 'pandas' in sys.modules]))"
    assert answer(SETUP + code) == [[1, 2], True]


def test_the_store_of_mlflow_is_opened_without_pandas(tmp_path: Path) -> None:
    tracker = "from workbench_tracker_mlflow.tracker import MlflowTracker; tracker = MlflowTracker(MlflowTracker.Config()); "
    opened = f"tracker.open(pathlib.Path({str(tmp_path)!r})); seen = [len(tracker.store.find({{}})), 'pandas' in sys.modules]; "
    assert answer(f"import json, pathlib, sys; {tracker}{opened}print(json.dumps(seen))") == [0, False]
