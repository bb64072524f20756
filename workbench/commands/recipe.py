"""`workbench new-recipe`: a pipeline of another shape, connected by what the plugins declare that they read and write."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.artifacts.formats import FOLDER
from workbench.catalog import configuration, example
from workbench.catalog.configuration import Settings
from workbench.catalog.schema import first_line
from workbench.errors import ParamsError, PipelineError, PluginError
from workbench.hosting.host import Registry, registry
from workbench.kinds.stage import OWN, Stage
from workbench.kinds.tuning import HELDOUT
from workbench.lib.commit import move_into_place, remove, write_text
from workbench.lib.compute import COMPUTE_FILE
from workbench.lib.layout import LOCK_FILE
from workbench.project import params, plugin_lock, resolve
from workbench.project.params import PARAMS_FILE, Choice, Entry
from workbench.project.pipeline import PIPELINE_FILE
from workbench.project.yaml_text import block

RECIPES = Path("recipes")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HOW = "workbench new-recipe --stages"
_STAGE = re.compile(r"(?P<section>[\w-]+)(:(?P<key>[\w-]+))?(=(?P<use>[\w-]+))?")
_COLLECTED = {"models": "model", "evals": "evaluation", "decisions": "decisions", "stage_metrics": ""}
"""Flow of a report → the format of what is gathered in the folder that it reads; metrics are of no format."""
_PLACES = {"models": "data/models", "evals": "data/evals", "decisions": "data/decisions", "stage_metrics": "data/metrics"}
_GITIGNORE = """\
# Outputs of the pipeline belong to DVC; metrics belong to git.
/data/*
!/data/metrics/
!/data/report.json
/.workbench/
"""
_FILES = {
    ".gitignore": _GITIGNORE,
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n    autostage = false\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvcignore": "# DVC writes .gitignore files beside its outputs; no artifact has them.\n.gitignore\n.workbench\n",
}


@dataclass(frozen=True)
class Step:
    """A stage that was asked for, with its plugin and the entry that configures it."""

    section: str
    key: str
    """Empty for the only entry of a section."""
    plugin: type[Stage[Any]]
    entry: Mapping[str, Any]
    produces: str = ""
    """The format of the output that its kind leaves open."""

    @property
    def address(self) -> str:
        """Its key in params.yaml."""
        return f"{self.section}.{self.key}" if self.key else self.section

    @property
    def name(self) -> str:
        """Its name in dvc.yaml."""
        return f"{self.section}-{self.key}" if self.key else self.section

    @property
    def each_model(self) -> bool:
        """Whether it runs once for every model: it makes an evaluation of one."""
        return "evaluation" in self.plugin.outputs.values() and "model" in self.plugin.inputs

    @property
    def reads_nothing(self) -> bool:
        """Whether one stage of dvc.yaml can stand for all entries of the section."""
        return self.plugin.nested and not self.plugin.inputs

    @property
    def splits(self) -> bool:
        """Whether it divides its input: it writes several outputs of one format."""
        formats = list(self.plugin.outputs.values())
        return len(set(formats)) < len(formats)

    def written(self, flow: str) -> str:
        """The format of an output."""
        declared = self.plugin.outputs[flow]
        return self.produces if declared == OWN else declared

    def path(self, flow: str) -> str:
        """Where an output lies."""
        format_ = self.written(flow)
        if format_ == "model":
            return f"data/models/{self.key or self.plugin.makes or self.section}"
        if format_ == "decisions":
            return f"data/decisions/{self.key if self.reads_nothing else self.name}"
        if self.each_model:
            return f"data/evals/{self.key or self.section}-${{item}}"
        folder = "/".join(["data", self.plugin.makes or self.section, *filter(None, [self.key])])
        same = [name for name in self.plugin.outputs if self.written(name) not in ("model", "decisions")]
        return folder if len(same) == 1 else f"{folder}/{flow}"


@dataclass
class _Pipeline:
    """Steps connected one after the other."""

    steps: list[Step] = field(default_factory=list)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, dict[str, str]] = field(default_factory=dict)
    """Address → the flows that params.yaml names → their paths."""
    origins: dict[str, set[str]] = field(default_factory=dict)
    """Address → the addresses of all stages that its text comes from, directly or through one another; no tokenizer adds any."""

    def add(self, step: Step) -> None:
        """Connect a step to those before it."""
        flows = {flow: path for flow in step.plugin.inputs if (path := self._source(step, flow)) is not None}
        makers = self._makers(step, flows)
        texts = [maker for maker in makers if not _made(maker, "tokenizer")]
        self.origins[step.address] = {origin for maker in texts for origin in (maker.address, *self.origins[maker.address])}
        self._require_held_out(step, makers)
        named = {flow: path for flow, path in flows.items() if flow == example.DATA_FLOW}
        self.paths[step.address] = named
        read = {flow: f"${{{step.address}.{flow}}}" if flow in named else path for flow, path in flows.items()}
        if step.reads_nothing:
            self.stages.setdefault(step.section, {"foreach": f"${{{step.section}}}", "do": _stage(_any(step), {})})
        elif step.each_model:
            self.stages[step.name] = {"foreach": "${models}", "do": _stage(step, {**read, "model": "data/models/${item}"})}
        else:
            self.stages[step.name] = _stage(step, read)
        self.steps.append(step)

    @property
    def models(self) -> list[str]:
        """The names of the models, in the order in which they are trained."""
        return [path.rpartition("/")[2] for step in self.steps for path in _made(step, "model")]

    def _makers(self, step: Step, flows: Mapping[str, str]) -> list[Step]:
        """The steps that make what a step reads; every trained model for an evaluation."""
        read = set(flows.values())
        models = [before for before in self.steps if step.each_model and _made(before, "model")]
        return models + [before for before in self.steps if any(before.path(flow) in read for flow in before.plugin.outputs)]

    def _require_held_out(self, step: Step, makers: Sequence[Step]) -> None:
        """Refuse to measure on one part of a split a model whose text is not of that split: it may have been trained on it."""
        for split in (maker for maker in makers if step.each_model and maker.splits):
            for model in (maker for maker in makers if _made(maker, "model")):
                if split.address not in self.origins[model.address]:
                    what = f"{step.address} reads what {split.address} holds out, and {model.address} may be trained on that text"
                    what += f": it comes from {', '.join(sorted(self.origins[model.address]))}"
                    fix = f"put {split.address} before {model.address} and what that reads, or write a recipe for each split"
                    raise PipelineError(what, f"{_HOW}, {step.address}", fix)

    def _source(self, step: Step, flow: str) -> str | None:
        """The path that a flow reads; None where it may be left out.

        Raises:
            PipelineError: nothing before makes it.
        """
        format_ = step.plugin.inputs[flow]
        if format_ == FOLDER:
            wanted = _COLLECTED.get(flow, FOLDER)
            if not wanted or any(_made(before, wanted) for before in self.steps):
                return _PLACES[flow]
        elif found := self._newest(step, flow, format_):
            return found
        if flow in step.plugin.optional:
            return None
        raise self._unconnected(step, flow, format_)

    def _newest(self, step: Step, flow: str, format_: str) -> str | None:
        """The output of the stage with the same key, or else of the last one; of several, the one named alike, or the first.

        Inputs of one format that a stage reads beside one another are different data, so each needs an output of its name.
        """
        makers = [before for before in self.steps if _made(before, format_)]
        if flow == HELDOUT:  # other text of the format is no held-out text
            makers = [before for before in makers if flow in before.plugin.outputs]
        same_key = [before for before in makers if step.key and before.key == step.key]
        maker = next(iter([*same_key[-1:], *makers[-1:]]), None)
        if maker is None:
            return None
        outputs = [name for name in maker.plugin.outputs if maker.written(name) == format_]
        alone = list(step.plugin.inputs.values()).count(format_) == 1
        if flow in outputs:
            return maker.path(flow)
        return maker.path(outputs[0]) if alone else None

    def _unconnected(self, step: Step, flow: str, format_: str) -> PipelineError:
        wanted = _COLLECTED.get(flow, FOLDER) if format_ == FOLDER else format_
        what = f"{step.plugin.kind} {step.plugin.name!r} reads {flow} ({wanted}), and no stage before {step.address} makes it"
        made = sorted({before.written(name) for before in self.steps for name in before.plugin.outputs})
        listed = f"those before it make {', '.join(made)}" if made else "it is the first"
        alone = list(step.plugin.inputs.values()).count(format_) == 1
        maker = f"a stage that makes {wanted}" if alone or format_ == FOLDER else f"a stage whose output {flow} is {wanted}"
        return PipelineError(what, f"{_HOW}, {step.address}", f"put {maker} before it; {listed}")


@dataclass(frozen=True)
class Draft:
    """A recipe to write."""

    name: str
    pipeline: _Pipeline
    compute: str
    """The content of compute.yaml; empty for none."""

    def files(self) -> dict[str, str]:
        """Path within the folder → content."""
        files = {
            **_FILES,
            str(PIPELINE_FILE): self._dvc_yaml(),
            str(PARAMS_FILE): self._params_yaml(),
            "README.md": self._readme(),
        }
        return {**files, str(COMPUTE_FILE): self.compute} if self.compute else files

    def _dvc_yaml(self) -> str:
        resolve_stage = {
            "desc": "Checks everything before anything runs; writes down all that decides each stage's result",
            "cmd": "python -m workbench resolve",
            "always_changed": True,
            "outs": [{str(LOCK_FILE): {"cache": False, "persist": True}}],
        }
        stages = {"resolve": resolve_stage, **self.pipeline.stages}
        return "stages:\n" + "\n".join(block({name: stage}, 2) for name, stage in stages.items())

    def _params_yaml(self) -> str:
        sections: dict[str, Any] = {}
        for step in self.pipeline.steps:
            if step.each_model and "models" not in sections:
                sections["models"] = self.pipeline.models
            entry = dict(step.entry)
            own = {"use": entry.pop("use"), **self.pipeline.paths[step.address], **entry}
            if step.key:
                sections.setdefault(step.section, {})[step.key] = own
            else:
                sections[step.section] = own
        head = "# What is run; `workbench info KIND NAME` explains every key, and `workbench use` swaps a plugin.\n\n"
        return head + "\n".join(block({name: section}, 0) for name, section in sections.items())

    def _readme(self) -> str:
        lines = [f"- `{name}`: {stage.get('do', stage)['desc']}" for name, stage in self.pipeline.stages.items()]
        return "\n".join(
            [
                f"# {self.name}",
                "",
                "    workbench check",
                "    dvc repro",
                "",
                *lines,
                "",
                "Call the commands in this folder, a DVC project of its own with its own cache, journals and MLflow store.",
                "`params.yaml` says what is run, and relative paths in it begin here. Written by `workbench new-recipe`.",
                "",
            ]
        )


def draft(root: Path, name: str, stages: Sequence[str], settings: Settings) -> Draft:
    """A recipe of these stages.

    Args:
        root: the workspace; a stage that names no plugin is configured as the entry of its params.yaml with that address.
        name: of the recipe.
        stages: ``SECTION``, ``SECTION:KEY``, ``SECTION=PLUGIN`` or ``SECTION:KEY=PLUGIN``, in their order.
        settings: ``ADDRESS.KEY``, dots in KEY leading into sections → value.

    Raises:
        PluginError: the name cannot be one, or a plugin is not installed or not decided.
        PipelineError: a stage is unknown, or an input cannot be connected.
        ParamsError: a value is missing, or a key unknown.
    """
    if not NAME.fullmatch(name):
        raise PluginError(f"{name!r} cannot be a recipe's name", "workbench new-recipe NAME", "use lower-case words and hyphens")
    known = registry(root)
    content = params.load(root) if (root / PARAMS_FILE).is_file() else {}
    written = {entry.address: entry for entry in params.entries(content, known.sections)}
    asked = [_asked(word, known) for word in stages]
    pipeline = _Pipeline()
    for section, key, use in asked:
        base = known.sections[section]
        plugin = _choose(known, base, key, use, written)
        former = None if use else written.get(f"{section}.{key}" if key else section)
        pipeline.add(_step(section, key or _key(plugin), plugin, former, settings, pipeline.models))
    addresses = [step.address for step in pipeline.steps]
    _require_apart(addresses)
    _require_used(settings, addresses)
    compute = root / COMPUTE_FILE
    return Draft(name, pipeline, compute.read_text(encoding="utf-8") if compute.is_file() else "")


def write(new: Draft, into: Path = RECIPES) -> Path:
    """Write the recipe below ``into`` if `workbench check` accepts it; returns its folder.

    Raises:
        PluginError: the folder exists, or cannot be written.
        WorkbenchError: what the check says.
    """
    target = into / new.name
    if target.exists() or target.is_symlink():
        raise PluginError("there is something already", str(target), "choose another name, or remove it first")
    scratch = into / f".{new.name}.{os.getpid()}"
    try:
        for name, text in new.files().items():
            write_text(scratch / name, text)
        with contextlib.chdir(scratch):  # relative paths begin in the recipe's folder
            resolve.check(Path.cwd())
        move_into_place(scratch, target)
    except OSError as error:
        raise PluginError(f"nothing can be written: {error.strerror}", str(into), "name another folder with --into") from error
    finally:
        if scratch.exists():
            remove(scratch)
    return target


def _asked(word: str, known: Registry) -> tuple[str, str, str]:
    found = _STAGE.fullmatch(word)
    if found is None:
        raise PipelineError(
            f"{word!r} is no stage", _HOW, "write SECTION, SECTION:KEY or SECTION:KEY=PLUGIN, such as curate:mine=files"
        )
    section = found["section"]
    if section not in known.sections:
        close = difflib.get_close_matches(section, known.sections, 1)
        fix = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known.sections)}"
        raise PipelineError(f"no kind of stage has the section {section!r}", _HOW, fix)
    return section, found["key"] or "", found["use"] or ""


def _require_apart(addresses: Sequence[str]) -> None:
    """Refuse stages that would have one entry."""
    for address in addresses:
        section = address.partition(".")[0]
        others = [other for other in addresses if other != address and other.partition(".")[0] == section]
        if addresses.count(address) > 1 or (address == section and others):
            what = f"{section} stands there more than once"
            raise PipelineError(what, _HOW, f"give each a key of its own: {section}:first,{section}:second")


def _require_used(settings: Settings, addresses: Sequence[str]) -> None:
    """Refuse values for no stage."""
    for key in settings:
        if not any(key.startswith(f"{address}.") for address in addresses):
            fix = f"write ADDRESS.KEY=VALUE with one of the addresses {', '.join(addresses)}"
            raise ParamsError(f"no stage takes the value {key!r}", f"--set {key}", fix)


def _choose(known: Registry, base: type[Stage[Any]], key: str, use: str, written: Mapping[str, Entry]) -> type[Stage[Any]]:
    """The plugin that is named, or called as the key is, or that params.yaml uses, or the only one that is installed."""
    names = known.names(base.kind)
    address = f"{base.section}.{key}" if key else base.section
    used = {entry.choice.use for entry in written.values() if entry.kind == base.kind}
    if not use and address in written:
        use = written[address].choice.use
    if not use:
        use = key if key in names else next((only for group in (used, names) if len(group) == 1 for only in group), "")
    if not use:
        fix = (
            f"name one, such as {base.section}{key and ':' + key}={names[0]}; there is {', '.join(names)}"
            if names
            else "install one"
        )
        raise PluginError(f"which {base.kind} is not clear", f"{_HOW}, {address}", fix)
    plugin = known.select(base.kind, use, f"{_HOW}, {address}").plugin
    assert issubclass(plugin, Stage)
    return plugin


def _key(plugin: type[Stage[Any]]) -> str:
    """The key of an entry that was given none: what a source makes, else the plugin's name; empty where none is needed."""
    if not plugin.nested:
        return ""
    produces = getattr(plugin, "produces", "corpus")
    return plugin.name if plugin.inputs else produces if isinstance(produces, str) else "corpus"


def _step(
    section: str, key: str, plugin: type[Stage[Any]], former: Entry | None, settings: Settings, models: Sequence[str]
) -> Step:
    """A stage with every key of its plugin; its values are those of the entry of params.yaml, where there is one."""
    address = f"{section}.{key}" if key else section
    given = {name.removeprefix(f"{address}."): value for name, value in settings.items() if name.startswith(f"{address}.")}
    parts = {part: former.others[part] for part in plugin.parts if former and part in former.others}
    parts |= {part: _part(value, address, part) for part, value in given.items() if part in plugin.parts}
    own = {name: value for name, value in given.items() if name not in plugin.parts}
    if "models" in plugin.inputs and "models" in plugin.Config.model_fields:
        own.setdefault("models", list(models))
    made = configuration.complete(plugin, f"{PARAMS_FILE}, key {address}", former.choice.config if former else {}, own)
    entry: dict[str, Any] = {"use": plugin.name}
    if made.values:
        entry["with"] = made.values
    entry |= parts
    entry["seed"] = former.seed if former else 0
    config = plugin_lock.configure(plugin, Choice(plugin.name, made.values, address))
    produces = getattr(plugin(config), "produces", "") if OWN in plugin.outputs.values() else ""
    return Step(section, key, plugin, entry, produces)


def _part(value: object, address: str, part: str) -> list[Any]:
    """A list of further plugins, of which those that are only named have their defaults."""
    if not isinstance(value, list):
        raise ParamsError("it is no list", f"--set {address}.{part}", f"write --set '{address}.{part}=[NAME, NAME]'")
    return [{"use": item} if isinstance(item, str) else item for item in value]


def _made(step: Step, format_: str) -> list[str]:
    return [step.path(flow) for flow in step.plugin.outputs if step.written(flow) == format_]


def _any(step: Step) -> Step:
    """The step that stands for all entries of its section."""
    return Step(step.section, "${key}", step.plugin, step.entry, step.produces)


def _stage(step: Step, flows: Mapping[str, str]) -> dict[str, Any]:
    """The stage of dvc.yaml."""
    outs = {flow: step.path(flow) for flow in step.plugin.outputs}
    name = f"{step.name}-${{item}}" if step.each_model else step.name
    folder = "data" if FOLDER in step.plugin.inputs.values() else "data/metrics"  # not within what it reads
    metrics = f"{folder}/{name}.json"
    options = {**flows, **outs, "metrics": metrics}
    words = [f"--{flow.replace('_', '-')} {path}" for flow, path in options.items()]
    desc = step.plugin.kind.capitalize() if step.key == "${key}" else first_line(step.plugin)
    stage: dict[str, Any] = {"desc": desc, "cmd": " ".join([f"python -m workbench run {step.address}", *words])}
    stage["params"] = [{str(LOCK_FILE): [f"stages.{step.address}"]}]
    if flows:
        stage["deps"] = list(dict.fromkeys(flows.values()))
    return {**stage, "outs": list(outs.values()), "metrics": [{metrics: {"cache": False}}]}
