"""Prevents libraries from importing pandas before it is needed, which takes some 0.5 to 0.7 s of CPU time.

To make an array of a list, pyarrow asks whether the list is a Series, and imports pandas to know. It asks once. So its first
question is answered as if there were no pandas, and pyarrow is notified once something imports pandas.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

PANDAS = "pandas"


def put_off() -> None:
    """Let pyarrow do without pandas until something in this process imports pandas."""
    if PANDAS in sys.modules:
        return
    import pyarrow as pa

    absent = _Absent()  # None in sys.modules would not do: pyarrow's compiled import takes it for the module
    sys.meta_path.insert(0, absent)
    pa.array([])
    sys.meta_path.remove(absent)
    sys.meta_path.insert(0, _Announced())


class _Absent(importlib.abc.MetaPathFinder):
    """Makes imports of pandas fail."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Report pandas as absent, and leave every other module to the next finder."""
        if fullname == PANDAS:
            raise ModuleNotFoundError("not imported yet", name=fullname)


class _Announced(importlib.abc.MetaPathFinder):
    """Notifies pyarrow once pandas is imported, and not yet when a caller only checks whether it exists."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find pandas as the other finders do, with a loader that notifies pyarrow at the end."""
        if fullname != PANDAS:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(PANDAS)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, finder: _Announced) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        import pyarrow as pa

        module.__loader__ = self._loader  # from here on everything is as if it had been found without us
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        sys.meta_path.remove(self._finder)
        self._loader.exec_module(module)
        pa.array([]).to_pandas()  # this makes pyarrow notice pandas
