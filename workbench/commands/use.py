"""`workbench use`: makes an entry of params.yaml use another plugin, and leaves the rest of the file as it is."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from workbench.catalog import configuration, example
from workbench.catalog.configuration import Configuration, Settings
from workbench.errors import ParamsError, PluginError, WorkbenchError
from workbench.hosting import trackers
from workbench.hosting.host import Registry, registry
from workbench.kinds.stage import Stage
from workbench.kinds.tracker import Tracker
from workbench.lib.commit import write_text
from workbench.lib.compute import COMPUTE_FILE
from workbench.plugin import Plugin
from workbench.project import params, plugin_lock, resolve
from workbench.project.params import PARAMS_FILE, Choice, Entry
from workbench.project.yaml_text import MERGE, Content, Document

_HOW = "workbench use"


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    kind: str
    name: str
    at: str = ""
    """The entry; empty where there is only one of the kind."""
    settings: Settings = field(default_factory=dict)
    parts: Sequence[str] = ()
    """Names of plugins for the lists of the entry, such as its rewards."""


@dataclass(frozen=True)
class Change:
    """A file before and after."""

    file: Path
    before: str
    after: str
    address: str = ""
    """The entry of params.yaml that differs."""

    def diff(self) -> Iterator[str]:
        """The lines that differ, in unified format."""
        lines = self.before.splitlines(), self.after.splitlines()
        return difflib.unified_diff(*lines, f"a/{self.file}", f"b/{self.file}", lineterm="")


def plan(root: Path, request: Request) -> Change:
    """The change of params.yaml, or of compute.yaml for a tracker, that makes it use the plugin.

    Raises:
        PluginError: the plugin is not installed.
        ParamsError: it is not clear which entry is meant, a value is missing, or the file cannot be edited.
    """
    known = registry(root)
    installed = known.select(request.kind, request.name, _HOW)
    if issubclass(installed.plugin, Tracker):
        return _with_tracker(root, request)
    content = params.load(root)
    document = _document((root / PARAMS_FILE).read_text(encoding="utf-8"))
    if issubclass(installed.plugin, Stage):
        edit: _Edit = _Replacement(known, content, document, request, installed.plugin)
    else:
        edit = _Addition(known, content, document, request, installed.plugin)
    return edit.change()


def apply(root: Path, change: Change) -> list[str]:
    """Check the workspace with the change, as `workbench check` does, and only then write the file; returns what to do next.

    Raises:
        WorkbenchError: the first problem found; nothing is written.
    """
    _, calls = resolve.check_drafts(root, {change.file: change.after})
    if change.before != change.after:
        file = root / change.file
        crlf = file.is_file() and b"\r\n" in file.read_bytes()
        write_text(file, change.after.replace("\n", "\r\n") if crlf else change.after)
    if not change.address:
        return ["the next runs go there, too: `dvc repro`; `workbench sync --again` brings it the earlier ones"]
    if not any(call.entry == change.address for call in calls):
        return [f"no stage of dvc.yaml runs {change.address} yet: add one; docs/pipeline.md says how", "dvc repro"]
    return ["dvc repro"]


@dataclass(frozen=True)
class _Edit:
    """An edit of one entry of params.yaml."""

    known: Registry
    content: Mapping[str, Any]
    document: Document
    request: Request
    plugin: type[Plugin[Any]]

    def change(self) -> Change:
        """The file before and after."""
        raise NotImplementedError

    @property
    def entries(self) -> dict[str, Entry]:
        """Address → entry."""
        return {entry.address: entry for entry in params.entries(self.content, self.known.sections)}

    def changed(self, address: str, key: str, text: str, value: Any) -> Change:
        """The change of an entry, if the file then holds the value under the key, and elsewhere what it held before."""
        expected = _put(self.content, key.split("."), value)
        try:
            found = params.parse(text)
        except ParamsError:
            found = {}
        if found != expected:
            at = self.document.find(address.split("."))
            shared = sorted({f"&{node.anchor}" for node in at[1].walk() if node.anchor}) if at else []
            what = "it cannot be edited so that all other entries stay as they are"
            named = f" {', '.join(shared)}" if shared else ""
            fix = f"write what refers to the anchors{named} of that entry out in full, then call it again, or edit it by hand"
            raise ParamsError(what, f"{PARAMS_FILE}, key {address}", fix)
        return Change(PARAMS_FILE, self.document.text, text, address)


@dataclass(frozen=True)
class _Replacement(_Edit):
    """Another plugin for a stage."""

    @property
    def stage(self) -> type[Stage[Any]]:
        """The plugin."""
        assert issubclass(self.plugin, Stage)
        return self.plugin

    def change(self) -> Change:
        """The entry with the plugin, its whole configuration, and what fits of the former entry."""
        address = self._address()
        keys = address.split(".")
        former = self.entries.get(address)
        made = configuration.complete(self.stage, f"{PARAMS_FILE}, key {address}", self._usable(former), self.request.settings)
        values = self._values(address, former, made)
        if former is None:
            text = self._added(keys, values)
        else:
            text = self.document.replaced(keys, self._content(keys, values, former, made), values)
        return self.changed(address, address, text, values)

    def _address(self) -> str:
        section, at, name = self.stage.section, self.request.at, self.request.name
        there = [entry.address for entry in self.entries.values() if entry.address.split(".")[0] == section]
        if at:
            self._require_fitting(at, there)
            return at
        if f"{section}.{name}" in there:
            return f"{section}.{name}"
        if len(there) > 1:
            what = f"{section} has {len(there)} entries: {', '.join(there)}"
            raise ParamsError(what, _HOW, f"say which with --at, for example --at {there[0]}")
        return there[0] if there else f"{section}.{name}" if self.stage.nested else section

    def _require_fitting(self, at: str, there: Sequence[str]) -> None:
        section = self.stage.section
        one, several = there == [section], bool(there) and there != [section]
        parts = at.split(".")
        if parts[0] == section and len(parts) == 1 and not several and not self.stage.nested:
            return
        if parts[0] == section and len(parts) == 2 and parts[1] and not one:
            return
        wanted = section if one else f"{section}.KEY" if several or self.stage.nested else f"{section} or {section}.KEY"
        what = f"a {self.stage.kind} cannot stand at {at!r}"
        raise ParamsError(what, f"{_HOW} --at", f"use --at {wanted}; there is {', '.join(there) or 'none yet'}")

    def _former_plugin(self, former: Entry | None) -> type[Stage[Any]] | None:
        if former is None:
            return None
        try:
            found = self.known.select(former.kind, former.choice.use).plugin
        except PluginError:  # it is not installed, which may be why another one is wanted
            return None
        return found if issubclass(found, Stage) else None

    def _usable(self, former: Entry | None) -> dict[str, Any]:
        """The values that were written for keys of the former plugin."""
        if former is None:
            return {}
        plugin = self._former_plugin(former)
        return {key: value for key, value in former.choice.config.items() if plugin is None or key in plugin.Config.model_fields}

    def _values(self, address: str, former: Entry | None, made: Configuration) -> dict[str, Any]:
        entry: dict[str, Any] = {"use": self.request.name}
        entry |= {flow: self._path(address, former, flow) for flow in self.stage.inputs if self._is_named(flow, former)}
        if made.values:
            entry["with"] = made.values
        entry |= self._parts(address, former, made)
        if former is None:
            return entry | {"seed": 0}
        return entry | {key: value for key, value in self._written(address).items() if key in ("rerun", "seed")}

    def _written(self, address: str) -> Mapping[str, Any]:
        place: Any = self.content
        for key in address.split("."):
            place = place[key]
        assert isinstance(place, dict)
        return place

    def _is_named(self, flow: str, former: Entry | None) -> bool:
        """Whether the entry says where an input lies, for dvc.yaml."""
        return flow == example.DATA_FLOW if former is None else flow in former.others

    def _path(self, address: str, former: Entry | None, flow: str) -> str:
        wanted = self.stage.inputs[flow]
        plugin = self._former_plugin(former)
        if former and plugin and plugin.inputs.get(flow) == wanted:
            return str(former.others[flow])
        if found := example.data_path(self.known, self.content, wanted):
            return found
        what = f"{self.stage.kind} {self.stage.name!r} reads {wanted}, and no entry of {PARAMS_FILE} makes it"
        fix = f"add a source of {wanted} first: `workbench use source NAME --at curate.{wanted}`"
        raise ParamsError(what, f"{PARAMS_FILE}, key {address}.{flow}", fix)

    def _parts(self, address: str, former: Entry | None, made: Configuration) -> dict[str, Any]:
        """The lists of further plugins: those of before, where they still have the same to do, and those asked for."""
        found: dict[str, list[Any]] = {}
        plugin = self._former_plugin(former)
        for key, kind in self.stage.parts.items():
            before = former.others.get(key) if former else None
            same_kind = plugin is None or plugin.parts.get(key) == kind
            if before and same_kind and former and self._makes_the_same(former, made):
                found[key] = list(before)
        for name in self.request.parts:
            key, item = self._part(name, address)
            found.setdefault(key, []).append(item)
        return dict(found)

    def _part(self, name: str, address: str) -> tuple[str, dict[str, Any]]:
        for key, kind in self.stage.parts.items():
            if name in self.known.names(kind):
                part = self.known.select(kind, name).plugin
                return key, _item(part, f"{PARAMS_FILE}, key {address}.{key}", {})
        kinds = ", ".join(self.stage.parts.values()) or "none"
        what = f"{self.stage.kind} {self.stage.name!r} takes no part {name!r}"
        raise PluginError(what, f"{_HOW} --part", f"kinds of its parts: {kinds}; `workbench plugins` lists what is installed")

    def _makes_the_same(self, former: Entry, made: Configuration) -> bool:
        """Filters of a corpus, for example, have nothing to do where the new source makes questions."""
        now = replace(former, choice=Choice(self.request.name, made.values, former.address), others={})
        before = replace(former, others={})
        try:
            stages = [plugin_lock.resolve_entry(entry, self.known).stage for entry in (before, now)]
        except WorkbenchError:
            return True
        one, other = ({flow: stage.produced(flow) for flow in stage.outputs} for stage in stages)
        return one == other

    def _content(self, keys: Sequence[str], values: Mapping[str, Any], former: Entry, made: Configuration) -> Content:
        """The values, and the lines of those that stay."""
        written = self._written(former.address)
        content = {key: self._taken([*keys, key], value, written.get(key)) for key, value in values.items()}
        if "with" in values:
            place = [*keys, "with"]
            inner = {key: self._taken([*place, key], value, made.kept_value(key)) for key, value in values["with"].items()}
            content["with"] = self._with_merge(place, inner, made)
        return content

    def _with_merge(self, place: Sequence[str], inner: dict[str, Any], made: Configuration) -> dict[str, Any]:
        """Keep ``<<: *NAME`` as it is where all that it brings is kept."""
        merge = self.document.find([*place, MERGE])
        if merge is None:
            return inner
        brought = self.document.merged(merge[1])
        if not brought <= made.kept:
            return inner
        own = {key: value for key, value in inner.items() if key not in brought or self.document.find([*place, key])}
        return {MERGE: self.document.written(merge), **own}

    def _taken(self, keys: Sequence[str], value: Any, former: Any) -> Any:
        """The lines that stand there, if their value stays."""
        found = self.document.find(keys)
        return self.document.written(found) if found and value == former and type(value) is type(former) else value

    def _added(self, keys: Sequence[str], values: Mapping[str, Any]) -> str:
        if len(keys) == 1 or keys[0] in self.content:
            return self.document.inserted(keys[:-1], keys[-1], values)
        return self.document.inserted([], keys[0], {keys[1]: values})


@dataclass(frozen=True)
class _Addition(_Edit):
    """One more plugin in a list of an entry, such as its filters."""

    def change(self) -> Change:
        """The entry with a list that is one longer."""
        entry, key = self._place()
        keys = [*entry.address.split("."), key]
        item = _item(self.plugin, f"{PARAMS_FILE}, key {entry.address}.{key}", self.request.settings)
        before = entry.others.get(key) or []
        if item in before:
            what = f"{entry.address}.{key} has {self.plugin.name!r} with this configuration already"
            raise ParamsError(
                what, f"{PARAMS_FILE}, key {entry.address}.{key}", "give another one with --set, or change it there"
            )
        found = self.document.find(keys)
        if found is None:
            text = self.document.inserted(keys[:-1], key, [item])
        elif not before or found[1].alias:
            what = "it is empty, or an alias of another list"
            raise ParamsError(what, f"{PARAMS_FILE}, key {entry.address}.{key}", "write the list out, or remove the key")
        else:
            text = self.document.appended(keys, item)
        return self.changed(entry.address, f"{entry.address}.{key}", text, [*before, item])

    def _place(self) -> tuple[Entry, str]:
        places = {entry.address: (entry, key) for entry in self.entries.values() if (key := self._key(entry))}
        listed = ", ".join(places) or "none"
        if self.request.at:
            if self.request.at in places:
                return places[self.request.at]
            what = f"{self.request.at!r} is no entry with a list of the kind {self.plugin.kind}"
            raise ParamsError(what, f"{_HOW} --at", f"entries with one: {listed}")
        if len(places) == 1:
            return next(iter(places.values()))
        what = f"{len(places)} entries have a list of the kind {self.plugin.kind}"
        raise ParamsError(what, _HOW, f"say which with --at; entries with one: {listed}")

    def _key(self, entry: Entry) -> str:
        """The key of its list of plugins of the kind; empty if it has none."""
        try:
            stage = self.known.select(entry.kind, entry.choice.use).plugin
        except PluginError:
            return ""
        parts = stage.parts if issubclass(stage, Stage) else {}
        return next((key for key, kind in parts.items() if kind == self.plugin.kind), "")


def _with_tracker(root: Path, request: Request) -> Change:
    file = root / COMPUTE_FILE
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    named = trackers.names(root)
    if request.name in named:
        raise ParamsError(f"{request.name!r} is among the trackers already", f"{COMPUTE_FILE}, key trackers", "nothing is to do")
    line = f"trackers: [{', '.join([*named, request.name])}]"
    pair = _document(before, COMPUTE_FILE).root.get("trackers")
    if pair is None:
        text = f"{before.rstrip()}\n{line}\n".lstrip()
    else:
        key, value = pair
        end = value.end if value.end > value.start else before.index(":", key.end) + 1  # `trackers:` with nothing behind it
        text = before[: key.start] + line + before[end:]
    return Change(COMPUTE_FILE, before, text)


def _item(plugin: type[Plugin[Any]], where: str, settings: Settings) -> dict[str, Any]:
    made = configuration.complete(plugin, where, {}, settings)
    return {"use": plugin.name, **({"with": made.values} if made.values else {})}


def _document(text: str, file: Path = PARAMS_FILE) -> Document:
    try:
        return Document(text)
    except YAMLError as error:
        raise ParamsError(f"not YAML: {error}", str(file), "mend the file") from error


def _put(tree: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with another value at a place, which is added if it is not there."""
    first, *others = keys
    inner = tree.get(first)
    return {**tree, first: _put(inner if isinstance(inner, dict) else {}, others, value) if others else value}
