"""Input artifacts as MLflow datasets, with DVC's hash as the digest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workbench.events import Artifact

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

LONGEST_DIGEST = 36
"""Characters that MLflow keeps of a digest: exactly an MD5 with DVC's suffix ``.dir``."""
_TYPES = {
    "string": "string",
    "large_string": "string",
    "int32": "integer",
    "int64": "long",
    "float": "float",
    "double": "double",
    "bool": "boolean",
    "binary": "binary",
}


def as_input(artifact: Artifact) -> DatasetInput:
    """The artifact as an input of a run; its context is the flow that it came in by."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"name": name, "type": _TYPES.get(kind, kind), "required": True} for name, kind in artifact.columns.items()]
    profile = {"num_rows": artifact.rows, "size_bytes": artifact.size, "format": artifact.format}
    dataset = Dataset(
        name=artifact.path,
        digest=artifact.digest[:LONGEST_DIGEST] or "unknown",
        source_type="local",
        source=json.dumps({"uri": artifact.path, "dvc_md5": artifact.digest}),
        schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
        profile=json.dumps({name: value for name, value in profile.items() if value is not None}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", artifact.flow)])
