"""The registered model: its versions with their evaluations, and which of them is the champion."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from workbench.answers import CHAMPION, Evaluated, Version
from workbench.artifacts import digests
from workbench_tracker_mlflow import tags
from workbench_tracker_mlflow.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

EVALUATIONS = 1_000
"""How many of the newest evaluations are looked at."""


def versions(store: Store, name: str) -> Iterator[Version]:
    """The versions of a registered model, newest first; none where it is not registered yet."""
    aliases: dict[str, set[str]] = {}
    for model in store.client.search_registered_models(f"name = '{name}'"):
        for alias, number in model.aliases.items():
            aliases.setdefault(str(number), set()).add(alias)
    wanted = {tags.KIND: "eval", tags.ROLE: "stage"}
    runs = [run for run in store.find(wanted, limit=EVALUATIONS) if run.info.status == "FINISHED"]
    found = store.client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    for version in found:
        digest = version.tags.get(tags.DIGEST, "")
        if not digest:
            continue  # somebody registered it by hand: no evaluation is known to be of it
        evaluations = [result for run in runs if _model_of(run) == digest for result in _evaluated(run)]
        crowned = tags.read_json(version.tags, tags.CROWNED, {})
        number = str(version.version)
        known = frozenset(aliases.get(number, ()))
        yield Version(name, number, digest, known, evaluations, crowned.get("time"), crowned.get("before", ""))


def move_champion(store: Store, to: Version, reason: str, before: Version | None, rolled_back: Version | None) -> None:
    """Move the alias, and note on the versions when, why and from which."""
    note = json.dumps({"time": time.time(), "reason": reason, "before": before.number if before else ""})
    if rolled_back is not None:
        store.client.set_model_version_tag(rolled_back.model, rolled_back.number, tags.ROLLED_BACK, note)
        store.client.delete_model_version_tag(rolled_back.model, rolled_back.number, tags.CROWNED)
    else:
        store.client.set_model_version_tag(to.model, to.number, tags.CROWNED, note)
    store.client.set_registered_model_alias(to.model, CHAMPION, to.number)


def _model_of(run: Run) -> str:
    inputs = tags.read_json(run.data.tags, tags.INPUTS, [])
    return next((str(record["digest"]) for record in inputs if record["format"] == "model"), "")


def _evaluated(run: Run) -> Iterator[Evaluated]:
    known = run.data.tags
    data = {record["flow"]: record["digest"] for record in tags.read_json(known, tags.INPUTS, []) if record["format"] != "model"}
    for record in tags.read_json(known, tags.OUTPUTS, []):
        digest = known.get(tags.output_digest(record["path"]), "")
        if record["format"] == "evaluation" and digest:
            yield Evaluated(known[tags.ENTRY].removeprefix("eval."), digests.of_record([run.data.params, data]), digest)
