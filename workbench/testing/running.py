"""Checks for every plugin that makes results: valid outputs, the same bytes each time, no undeclared reads or writes."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import workbench
from workbench.lib.difference import first_difference
from workbench.testing.conformance import Conformance
from workbench.testing.samples import Samples
from workbench.testing.sandbox import import_path, tree
from workbench.testing.task import AttemptOutcome
from workbench.testing.trial import AGAIN, ELSEWHERE, FIRST, BadInput, Trial, TrialPlan
from workbench.testing.verdict import beside, broken
from workbench.testing.watch import Way

SAME_BYTES = "outputs are a pure function of inputs, configuration and seed"


class RunningConformance(Conformance):
    """Base of the classes of all kinds but trackers. All checks share one trial."""

    training: ClassVar[bool] = False
    """Whether the kind trains a model, and so is killed and resumed."""
    samples: Samples
    """The kit's sample artifacts, set before :meth:`write_inputs` is called."""

    @abstractmethod
    def write_inputs(self, folder: Path) -> Mapping[str, Path]:
        """Write the inputs below ``folder``; flow → path."""

    @abstractmethod
    def bad_inputs(self, inputs: Mapping[str, Path], folder: Path) -> Iterator[tuple[str, Mapping[str, Path]]]:
        """Write inputs that no plugin can work with below ``folder``, each with what is wrong."""

    def output_flows(self) -> Sequence[str]:
        """The output flows."""
        return list(getattr(self.plugin, "outputs", {}))

    def try_out(self, root: Path) -> Trial:
        """Write the inputs and make all runs."""
        trial = Trial(root, self._plan(root))
        trial.run()
        return trial

    def test_the_output_is_valid(self, workbench_trial: Trial) -> None:
        """It runs on the sample inputs, and each output passes the validator of its format."""
        outcome = workbench_trial.outcomes[FIRST]
        if outcome.error:
            broken(
                "a run ends well, and each output passes the validator of its format, as before a commit",
                f"{outcome.error}\n{outcome.traceback if not outcome.expected else ''}".rstrip(),
                "mend the plugin; where the sample inputs or `config` do not suit it, give others in the test class",
            )

    def test_the_same_seed_gives_the_same_bytes(self, workbench_trial: Trial) -> None:
        """A second run in the same process writes the same files."""
        difference = self._difference(workbench_trial, AGAIN)
        if difference:
            broken(
                SAME_BYTES,
                f"a second run in the same process differs: {difference}",
                "draw every random number from a generator made with run.seed; keep no state from run to run, and no time, path "
                "or run id in outputs and run.metric",
            )

    def test_another_process_gives_the_same_bytes(self, workbench_trial: Trial) -> None:
        """Another process with another hash seed, locale, time zone, home and working directory writes the same files."""
        if self._difference(workbench_trial, AGAIN):
            beside("two runs of one process differ already: see test_the_same_seed_gives_the_same_bytes")
        difference = self._difference(workbench_trial, ELSEWHERE)
        if difference:
            broken(
                f"{SAME_BYTES}, in any process",
                f"with another PYTHONHASHSEED, locale, time zone, home and working directory it differs: {difference}",
                "sort what comes from a set or a folder; open text files with encoding='utf-8'; use no hash(), no locale, no "
                "absolute path and no environment variable",
            )

    def test_it_reads_only_what_is_declared(self, workbench_trial: Trial) -> None:
        """It opens its inputs, libraries and declared external inputs, and no connection."""
        found = self._accesses(workbench_trial, "read") + self._accesses(workbench_trial, "network")
        if found:
            broken(
                "a run reads its inputs, installed packages and what external_inputs() names of its configuration, no more",
                f"it also used {listed(found)}",
                "take the data as an input flow, or name the file in the configuration and its digest in external_inputs()",
            )

    def test_it_writes_only_what_is_declared(self, workbench_trial: Trial) -> None:
        """It changes nothing but its outputs, its scratch folder and its checkpoints."""
        found = self._accesses(workbench_trial, "write") + workbench_trial.left
        if found:
            broken(
                "a run writes nothing but its outputs, run.scratch, run.checkpoints and a cache, and leaves its inputs alone",
                f"it also changed {listed(found)}",
                "write to run.scratch, which is removed at the end, or keep what can be made again below workbench.cache.FOLDER",
            )

    def test_bad_input_gives_a_workbench_error(self, workbench_trial: Trial) -> None:
        """Inputs without a column, row or file, and a bad configuration, end in an error that the user can fix."""
        self._need_a_run(workbench_trial)
        for number, bad in enumerate(workbench_trial.plan.bad):
            outcome = workbench_trial.outcomes[f"bad {number}"]
            if outcome.error and not outcome.expected:
                broken(
                    "an error that a user can fix is a WorkbenchError, with what, where and fix",
                    f"{bad.what}: {outcome.error}\n{outcome.traceback}",
                    "check the input where it is read and raise ArtifactError(what, where, fix)",
                )
            if not outcome.error and bad.what == "bad_config":
                broken(
                    "a configuration that names missing or unusable data is refused",
                    "`bad_config` was accepted",
                    "raise ArtifactError(what, where, fix) where the data is opened",
                )
        if not workbench_trial.plan.bad:
            beside("the kind has no inputs, and the test class names no `bad_config`")

    def test_a_run_stays_within_the_cpu_budget(self, workbench_trial: Trial) -> None:
        """One run on one thread takes at most ``cpu_seconds``."""
        self._need_a_run(workbench_trial)
        took = workbench_trial.outcomes[FIRST].cpu_seconds
        if took > self.cpu_seconds:
            broken(
                f"one run on the sample inputs takes at most {self.cpu_seconds:g} s of CPU time on one thread",
                f"it took {took:.1f} s",
                "give a smaller `config`; where the plugin is slow by nature, raise `cpu_seconds` in the test class",
            )

    def _difference(self, trial: Trial, name: str) -> str:
        """How a run's outputs differ from those of the first; empty if they do not."""
        self._need_a_run(trial)
        if trial.outcomes[name].error:
            return f"it failed there with {trial.outcomes[name].error}"
        found = tree(trial.output(name))
        return "" if found == trial.first else first_difference(trial.output(FIRST), trial.output(name))

    def _accesses(self, trial: Trial, way: Way) -> list[str]:
        self._need_a_run(trial)
        return [target for kind, target in trial.outcomes[FIRST].accesses if kind == way]

    def _need_a_run(self, trial: Trial) -> AttemptOutcome:
        if trial.outcomes[FIRST].error:
            beside("the first run failed: see test_the_output_is_valid")
        return trial.outcomes[FIRST]

    def _plan(self, root: Path) -> TrialPlan:
        work = root / "here" / "work"
        for name in ("work", "home", "tmp"):
            (work.parent / name).mkdir(parents=True, exist_ok=True)
        inputs, config = self.write_inputs(_made(work / "data")), self.make_config(_made(work / "config"))
        bad = [BadInput(what, _relative(spoilt, work), config) for what, spoilt in self.bad_inputs(inputs, work / "bad")]
        bad_config = self.make_bad_config(_made(work / "bad-config"))
        if bad_config is not None:
            bad.append(BadInput("bad_config", inputs, bad_config))
        classes = [self.plugin, *(cls for members in self.parts.values() for cls, _ in members)]
        return TrialPlan(
            plugin=name_of(self.plugin),
            parts={key: [(name_of(cls), values) for cls, values in members] for key, members in self.parts.items()},
            outputs=self.output_flows(),
            inputs=_relative(inputs, work),
            config=_relative_values(config, work),
            bad=[BadInput(item.what, _relative(item.inputs, work), _relative_values(item.config, work)) for item in bad],
            seed=self.seed,
            reads=code_of(classes),
            origins=packages_of(classes),
            seconds=120 + 3 * self.cpu_seconds,
            training=self.training,
        )


def name_of(plugin: type[Any]) -> str:
    """``module:qualified.name`` of a class, by which a child process imports it."""
    return f"{plugin.__module__}:{plugin.__qualname__}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _relative(paths: Mapping[str, Path], base: Path) -> dict[str, Path]:
    return {flow: path.relative_to(base) if path.is_relative_to(base) else path for flow, path in paths.items()}


def _relative_values(value: Any, base: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _relative_values(inner, base) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_relative_values(inner, base) for inner in value]
    return value.replace(f"{base}/", "") if isinstance(value, str) else value


def code_of(classes: Sequence[type[Any]]) -> list[str]:
    """Folders of interpreter, libraries, core and plugins."""
    core = str(Path(workbench.__file__).parent)
    prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix]
    return [*prefixes, core, *packages_of(classes), *(entry for entry in import_path() if Path(entry) != Path.cwd())]


def packages_of(classes: Sequence[type[Any]]) -> list[str]:
    """Folders of the packages that the classes belong to."""
    modules = [sys.modules[cls.__module__.partition(".")[0]] for cls in classes]
    return [str(Path(module.__file__).parent) for module in modules if module.__file__]


def listed(items: Sequence[str], most: int = 5) -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
