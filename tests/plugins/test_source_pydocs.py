"""The docstring sources: reading, public names, held-out objects, and the four views."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from workbench_source_pydocs import Pydocs, PydocsBenchmark, PydocsInstructions, PydocsPreferences, answers, packages
from workbench_source_pydocs.answers import Bounds
from workbench_source_pydocs.holdout import NearIndex, is_heldout, similarity, words
from workbench_source_pydocs.packages import PyObject, extract, find_package
from workbench_source_pydocs.syntax import split_signature

from workbench.artifacts import benchmark, examples, formats, table
from workbench.errors import ParamsError, PluginError
from workbench.kinds.source import Source
from workbench.testing import make_run

VERBS = ["Open", "Close", "Rotate", "Invert", "Measure", "Paint", "Weigh", "Sort", "Merge", "Slice", "Count", "Hide"]
NOUNS = ["lantern", "harbour", "ledger", "turbine", "orchard", "glacier", "violin", "compass", "quarry", "loom"]

TREE = {
    "__init__.py": '"""Shapes."""\nfrom ._impl import area, Shape\nfrom .sub import *\n__all__ = ["area", "Shape"]\n',
    "_impl.py": '''
def area(width, height=1.0, *, unit="m", scale=-2, table={}):
    """Compute the area of a rectangle. It is fast.

    Parameters
    ----------
    width : float
        Width in metres. Must be positive.
    height : float, optional
        Height in metres.

    Examples
    --------
    >>> from shapes_pkg import area

    >>> area(2, 3)
    6.0

    Notes
    -----
    None.
    """

def _secret():
    """Not for users of the package."""

def unexported():
    """Do something that is not exported anywhere."""

class Shape(object):
    """A closed figure in the plane."""

    def __init__(self, corners, name=None):
        """Never mind."""

    def move(self, dx: float, dy: float = 0.0) -> None:
        """Move the figure by a vector."""

    @property
    def size(self):
        """Number of corners of the figure."""
        return 0

    @staticmethod
    def unit(n):
        """Build a figure with sides of length one."""
''',
    "sub/__init__.py": "from ._deep import depth\n__all__ = ['depth']\n",
    "sub/_deep.py": 'if True:\n    def depth(x, /, *args, **kwargs):\n        """Return how deep a point lies."""\n',
    "tests/test_it.py": '"""A test module that must not be read."""\n',
    "_newdocs.py": 'add_newdoc("shapes_pkg._c", "fast", """\n    fast(a, b)\n    --\n\n    Compute quickly.\n""")\n',
}


def write_tree(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path; the working directory is beside it, so that the cache is the test's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def shapes(place: Path) -> Path:
    write_tree(place / "shapes_pkg", dict(TREE))
    return place / "shapes_pkg"


@pytest.fixture
def library(place: Path) -> Path:
    """Twelve modules of forty functions, each with a summary of its own."""
    for number in range(12):
        body = []
        for item in range(40):
            verb, noun = VERBS[item % 12], NOUNS[(item + number) % 10]
            summary = f"{verb} the {noun} numbered {item} on shelf m{number} with tool t{item * 7 + number}."
            body.append(f'def {verb.lower()}_{noun}_{item}(x):\n    """{summary}"""\n')
        write_tree(place / "library_pkg", {f"part{number}.py": "\n".join(body)})
    write_tree(place / "library_pkg", {"__init__.py": ""})
    return place / "library_pkg"


def objects_of(package: str, private: bool = False, exclude: tuple[str, ...] = ("*/tests/*",)) -> dict[str, PyObject]:
    found = extract([package], exclude, private, 1, lambda done, total: None)
    return {item.name: item for item in found.objects}


def execute(source: Source, tmp_path: Path, label: str, seed: int = 0) -> tuple[Path, dict[str, float]]:
    root = tmp_path / label
    root.mkdir()
    run = make_run(root, seed)
    source.execute({}, {"out": root / "out", "decisions": root / "decisions"}, run)
    formats.BUILT_IN[source.produces].validate(root / "out")
    return root / "out", dict(run.summary)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestReading:
    def test_public_names_and_signatures(self, shapes: Path) -> None:
        found = objects_of("shapes_pkg")
        assert {name: (item.kind, item.arguments) for name, item in found.items()} == {
            "shapes_pkg": ("module", ""),
            "shapes_pkg.area": ("function", "(width, height=1.0, *, unit='m', scale=-2, table=...)"),
            "shapes_pkg._impl.unexported": ("function", "()"),
            "shapes_pkg.Shape": ("class", "(corners, name=None)"),
            "shapes_pkg.Shape.move": ("method", "(dx, dy=0.0)"),
            "shapes_pkg.Shape.size": ("method", ""),
            "shapes_pkg.Shape.unit": ("method", "(n)"),
            "shapes_pkg.sub.depth": ("function", "(x, /, *args, **kwargs)"),
            "shapes_pkg._c.fast": ("function", "(a, b)"),
        }

    def test_documents_are_headed_by_the_signature(self, shapes: Path) -> None:
        document = objects_of("shapes_pkg")["shapes_pkg.Shape"].document()
        assert document.text == "class shapes_pkg.Shape(corners, name=None)\n\nA closed figure in the plane."
        assert document.source == "shapes_pkg"
        assert document.meta == {
            "package": "shapes_pkg",
            "module": "shapes_pkg._impl",
            "object": "shapes_pkg.Shape",
            "kind": "class",
        }

    def test_private_objects_on_demand(self, shapes: Path) -> None:
        assert "shapes_pkg._impl._secret" in objects_of("shapes_pkg", private=True)

    def test_nothing_is_imported(self, shapes: Path) -> None:
        write_tree(shapes, {"boom.py": '"""A module that must not run."""\nraise SystemExit(3)\n'})
        assert "shapes_pkg.boom" in objects_of("shapes_pkg")
        assert not any(name.startswith("shapes_pkg") for name in sys.modules)

    def test_real_numpy(self, place: Path) -> None:
        found = objects_of("numpy")
        svd = found["numpy.linalg.svd"]
        assert svd.module == "numpy.linalg._linalg"
        assert svd.document().text.startswith(
            "numpy.linalg.svd(a, full_matrices=True, compute_uv=True, hermitian=False)\n\nSingular Value Decomposition."
        )
        assert {"numpy.sum", "numpy.ndarray", "numpy.array", "numpy.fft.fft", "numpy.ma.MaskedArray.mean"} <= set(found)
        assert found["numpy.array"].arguments.startswith("(object, dtype=None, *, copy=True")
        assert not any(".tests." in item.module for item in found.values())

    def test_modules_that_import_each_other(self, place: Path) -> None:
        write_tree(
            place / "circle_pkg",
            {
                "__init__.py": "from .a import *\nfrom .b import lost\n",
                "a.py": 'from .b import *\ndef one():\n    """Return the number one."""\n',
                "b.py": 'from .a import *\nfrom .b import lost\ndef two():\n    """Return the number two."""\n',
            },
        )
        assert set(objects_of("circle_pkg")) == {"circle_pkg.one", "circle_pkg.two"}

    def test_repeated_definitions_count_once(self, place: Path) -> None:
        versions = ("Return the first.", "Return the second.")
        first, second = (f'    def f():\n        """{doc}"""\n' for doc in versions)
        code = f"try:\n{first}except ImportError:\n{second}"
        write_tree(place / "twice_pkg", {"__init__.py": code})
        assert [item.doc for item in objects_of("twice_pkg").values()] == ["Return the first."]

    def test_single_module_and_empty_files(self, place: Path) -> None:
        write_tree(place, {"lonely_mod.py": '"""One file."""\n', "empty_pkg/__init__.py": "", "empty_pkg/a.py": ""})
        assert list(objects_of("lonely_mod")) == ["lonely_mod"]
        assert objects_of("empty_pkg") == {}

    @pytest.mark.parametrize(
        ("doc", "expected"),
        [
            ("f(a, b) -> int\n\nAdd.", ("(a, b)", "Add.")),
            ("f(\n    a,\n    b=(1, 2),\n)\n--\n\nf(a, b)\n\nAdd.", ("(a, b=(1, 2))", "Add.")),
            ("f(x) is computed.", ("", "f(x) is computed.")),
            ("f(never closed", ("", "f(never closed")),
        ],
    )
    def test_leading_signatures(self, doc: str, expected: tuple[str, str]) -> None:
        assert split_signature(doc, "f") == expected


class TestHostileFiles:
    HOSTILE: ClassVar[dict[str, bytes]] = {
        "syntax.py": b'"""Doc."""\ndef f(:\n',
        "encoding.py": b'"""Doc \xff\xfe."""\n',
        "cookie.py": b'# -*- coding: no-such-codec -*-\n"""Doc."""\n',
        "null.py": b'"""Doc."""\n\x00\n',
        "nesting.py": b'"""Doc."""\nx = ' + b"(" * 5_000 + b")" * 5_000 + b"\n",
        "chain.py": b'"""Doc."""\nx = ' + b"-" * 50_000 + b"1\n",
        "surrogate.py": b'def f():\n    "Doc with \\ud800 in it."\n\n"""x"""\n',
        "huge.py": b'"""Doc."""\n' + b"#" * 4_000_001,
    }

    def test_they_are_skipped_and_counted(self, place: Path, tmp_path: Path) -> None:
        latin = '# -*- coding: latin-1 -*-\n"""Caf\xe9 \x07bell."""\n'.encode("latin-1")
        write_tree(place / "hostile_pkg", {"__init__.py": b"", "good.py": latin, **self.HOSTILE})
        out, summary = execute(Pydocs(Pydocs.Config(packages=("hostile_pkg",))), tmp_path, "run")
        assert [row["text"] for row in table.read_rows(out)] == ["module hostile_pkg.good\n\nCaf\xe9 bell."]
        rejected = {name.rpartition(".")[2]: value for name, value in summary.items() if name.startswith("rejected.")}
        assert sum(rejected.values()) == len(self.HOSTILE)
        assert rejected["bad encoding"] == 2
        assert rejected["null bytes"] == rejected["lone surrogates"] == rejected["file too large"] == 1

    def test_they_are_counted_from_the_cache_too(self, place: Path, tmp_path: Path) -> None:
        write_tree(place / "hostile_pkg", {"__init__.py": b'"""Fine."""', **self.HOSTILE})
        source = Pydocs(Pydocs.Config(packages=("hostile_pkg",)))
        assert execute(source, tmp_path, "cold")[1] == execute(source, tmp_path, "warm")[1]


class TestPackages:
    def test_versions_are_those_of_the_distribution(self, place: Path) -> None:
        import importlib.metadata

        versions = Pydocs(Pydocs.Config(packages=("sklearn", "torch", "json"))).external_inputs()
        assert versions == {
            "sklearn": importlib.metadata.version("scikit-learn"),
            "torch": importlib.metadata.version("torch").partition("+")[0],
            "json": ".".join(map(str, sys.version_info[:3])),
        }

    def test_a_package_without_distribution_has_a_digest(self, shapes: Path) -> None:
        source = Pydocs(Pydocs.Config(packages=("shapes_pkg",)))
        before = source.external_inputs()
        assert before["shapes_pkg"].startswith("sha256:")
        assert source.external_inputs() == before
        write_tree(shapes, {"_impl.py": '"""Changed."""\n'})
        assert source.external_inputs() != before

    @pytest.mark.parametrize(("package", "pip"), [("no_such_package_here", "no_such_package_here"), ("skimage", "scikit-image")])
    def test_a_missing_package_is_named_with_the_pip_line(self, place: Path, package: str, pip: str) -> None:
        with pytest.raises(PluginError, match=package) as caught:
            Pydocs(Pydocs.Config(packages=("json", package))).external_inputs()
        assert f"pip install {pip}" in caught.value.fix

    def test_compiled_modules_and_namespaces_do_not_break(self, place: Path) -> None:
        (place / "namespace_pkg").mkdir()
        assert find_package("namespace_pkg").files(()) == []
        with pytest.raises(PluginError):
            find_package("sys")

    @pytest.mark.parametrize("names", [(), ("a.b",), ("../x",), ("json", "json")])
    def test_bad_configs(self, names: tuple[str, ...]) -> None:
        with pytest.raises(ValidationError):
            Pydocs.Config(packages=names)


class TestCache:
    def test_a_damaged_entry_is_read_anew(self, shapes: Path) -> None:
        expected = objects_of("shapes_pkg")
        (entry,) = Path(".workbench/cache/pydocs").iterdir()
        assert objects_of("shapes_pkg") == expected
        entry.write_bytes(entry.read_bytes()[:-20])
        assert objects_of("shapes_pkg") == expected

    def test_an_edited_package_is_read_anew(self, shapes: Path) -> None:
        objects_of("shapes_pkg")
        write_tree(shapes, {"new.py": '"""A new module."""\n'})
        assert "shapes_pkg.new" in objects_of("shapes_pkg")

    def test_a_cache_that_cannot_be_written_costs_time_only(self, shapes: Path) -> None:
        Path(".workbench").write_text("a file where the folder should be")
        assert "shapes_pkg.area" in objects_of("shapes_pkg")


class TestAnswers:
    BOUNDS = Bounds(10, 200)

    @pytest.mark.parametrize(
        ("doc", "expected"),
        [
            ("Return the sum.\n\nMore.", "Return the sum."),
            ("Return the sum\nof all items. Then stop.", "Return the sum of all items."),
            ("Singular Value Decomposition", "Singular Value Decomposition."),
            ("Solve systems, e.g. linear ones. Fast.", "Solve systems, e.g. linear ones."),
            ("Apply :func:`~torch.nn.relu` to x. See :class:`Foo`.", "Apply `torch.nn.relu` to x."),
            ("Version 1.5 of it is here. Next.", "Version 1.5 of it is here."),
            (".. deprecated:: 1.0", None),
            ("Parameters:", None),
            ("Args: the arguments", None),
            ("x (`int`, *optional*): Number of things.", None),
            ("Short.", None),
            ("One of the following:", None),
            ("a = b**2 + c**2 - 1 / (d + 7).", None),
            ("Word " * 60, None),
            (">>> f(1)", None),
        ],
    )
    def test_summaries(self, doc: str, expected: str | None) -> None:
        assert answers.summary(doc, self.BOUNDS) == expected

    @given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
    def test_any_docstring_gives_a_bounded_answer_or_none(self, doc: str) -> None:
        for text in (
            answers.summary(doc, self.BOUNDS),
            answers.example(doc, "f", self.BOUNDS),
            answers.parameters(doc, self.BOUNDS),
        ):
            assert text is None or 10 <= len(text) <= 200

    def test_numpy_style(self, shapes: Path) -> None:
        doc = objects_of("shapes_pkg")["shapes_pkg.area"].doc
        assert answers.example(doc, "area", Bounds(1, 100)) == ">>> area(2, 3)\n6.0"
        assert answers.parameters(doc, self.BOUNDS) == "- `width`: Width in metres.\n- `height`: Height in metres."

    def test_google_style(self) -> None:
        doc = "Do.\n\nArgs:\n    a (int): First one. Yes.\n    b: Second,\n        continued.\n\nReturns:\n    Nothing.\n"
        assert answers.parameters(doc, self.BOUNDS) == "- `a`: First one.\n- `b`: Second, continued."

    def test_sphinx_style(self) -> None:
        doc = "Do.\n\n:param a: First one.\n:param int b: Second one.\n:return: x"
        assert answers.parameters(doc, self.BOUNDS) == "- `a`: First one.\n- `b`: Second one."


class TestHoldout:
    def test_share_and_clusters(self) -> None:
        names = [(f"p.m{m}.f{n}", f"p.m{m}") for m in range(400) for n in range(40)]
        held = Counter(module for name, module in names if is_heldout(name, module, 0.1, "salt"))
        assert 0.07 < sum(held.values()) / len(names) < 0.13
        assert all(8 <= number <= 32 for number in held.values())

    @given(st.text(), st.text(), st.text())
    def test_extreme_shares(self, name: str, module: str, salt: str) -> None:
        assert not is_heldout(name, module, 0.0, salt)
        assert is_heldout(name, module, 1.0, salt)

    @given(
        st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8).map(" ".join), max_size=12),
        st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    )
    def test_the_index_agrees_with_brute_force(self, texts: list[str], threshold: float) -> None:
        index = NearIndex(texts[: len(texts) // 2], threshold)
        for text in texts:
            near = any(similarity(words(text), words(other)) >= threshold for other in texts[: len(texts) // 2])
            # texts without words have no word to be found by
            assert index.has_near(text) == (near and bool(words(text)))


VIEWS = [Pydocs, PydocsInstructions, PydocsPreferences, PydocsBenchmark]


class TestViews:
    @pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
    def test_same_bytes_again_and_with_more_threads(
        self, view: type[Source], library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = view(view.Config(packages=("library_pkg",)))
        first, _ = execute(source, tmp_path, "first")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")  # without a cache
        second, _ = execute(source, tmp_path, "second")
        assert bytes_of(first) == bytes_of(second)

    def test_the_views_agree_on_what_is_held_out(self, library: Path, tmp_path: Path) -> None:
        settings = {"packages": ("library_pkg",), "heldout": 0.3}
        corpus, _ = execute(Pydocs(Pydocs.Config(packages=("library_pkg",))), tmp_path, "corpus")
        questions, _ = execute(PydocsBenchmark(PydocsBenchmark.Config(**settings)), tmp_path, "benchmark")
        talks, _ = execute(PydocsInstructions(PydocsInstructions.Config(**settings)), tmp_path, "talks")
        pairs, _ = execute(PydocsPreferences(PydocsPreferences.Config(**settings)), tmp_path, "pairs")
        rows = list(benchmark.read(questions))
        asked = {row["question"] for row in rows}
        objects = {row["id"]: row["meta"]["object"] for row in table.read_rows(corpus)}
        assert all(row["question"] == f"What does `{objects[row['document']]}` do?" for row in rows)
        talk_prompts = {
            split: {row["messages"][0]["content"] for row in examples.read(talks, split)} for split in examples.SPLITS
        }
        pair_prompts = {split: {row["prompt"][0]["content"] for row in examples.read(pairs, split)} for split in examples.SPLITS}
        assert asked <= talk_prompts["heldout"]
        assert pair_prompts["heldout"] == asked  # so that dedup holds out every object that a held-out pair is about
        assert pair_prompts["train"] <= talk_prompts["train"]
        assert not talk_prompts["train"] & talk_prompts["heldout"]

    def test_answers_alone_say_nothing(self, library: Path, tmp_path: Path) -> None:
        source = PydocsBenchmark(PydocsBenchmark.Config(packages=("library_pkg",), heldout=0.4, per_module=8))
        out, summary = execute(source, tmp_path, "benchmark")
        rows = list(benchmark.read(out))
        positions = Counter(row["answer"] for row in rows)
        assert len(rows) % 4 == 0
        assert set(positions.values()) == {len(rows) // 4}
        assert max(Counter(row["group"] for row in rows).values()) <= 8
        shown = Counter(choice for row in rows for choice in row["choices"])
        right = Counter(row["choices"][row["answer"]] for row in rows)
        whole = {row["group"] for row in rows[:-4]}
        assert len(whole) >= 2
        assert all(right[text] == 1 and shown[text] == 4 for text in list(right)[:-4])
        assert summary["kept"] == len(rows)
        assert 0.0 <= summary["named_share"] <= 1.0

    def test_choices_and_training_rows_do_not_meet(self, library: Path, tmp_path: Path) -> None:
        settings = {"packages": ("library_pkg",), "heldout": 0.3}
        questions, _ = execute(PydocsBenchmark(PydocsBenchmark.Config(**settings)), tmp_path, "benchmark")
        talks, _ = execute(PydocsInstructions(PydocsInstructions.Config(**settings)), tmp_path, "talks")
        shown = {choice for row in benchmark.read(questions) for choice in row["choices"]}
        taught = {row["messages"][1]["content"] for row in examples.read(talks, "train")}
        assert not shown & taught

    def test_training_rows_near_a_heldout_answer_are_dropped(self, place: Path, tmp_path: Path) -> None:
        same = "\n".join(f'def f{n}():\n    """Return a string representation of this object."""\n' for n in range(60))
        other = 'def g():\n    """Multiply both matrices row by row."""\n'
        write_tree(place / "same_pkg", {"__init__.py": "", **{f"m{n}.py": same for n in range(8)}, "other.py": other})
        salt = next(str(n) for n in range(99) if not is_heldout("same_pkg.other.g", "same_pkg.other", 0.3, str(n)))
        config = PydocsInstructions.Config(packages=("same_pkg",), heldout=0.3, salt=salt)
        out, summary = execute(PydocsInstructions(config), tmp_path, "talks")
        assert [row["messages"][0]["content"] for row in examples.read(out, "train")] == ["What does `same_pkg.other.g` do?"]
        assert summary["dropped_near_heldout"] == 480 - summary["heldout_rows"]

    def test_every_summary_is_chosen_and_rejected_equally_often(self, library: Path, tmp_path: Path) -> None:
        out, _ = execute(PydocsPreferences(PydocsPreferences.Config(packages=("library_pkg",))), tmp_path, "pairs")
        for split in examples.SPLITS:
            rows = list(examples.read(out, split))
            chosen = Counter(row["chosen"][0]["content"] for row in rows)
            assert chosen == Counter(row["rejected"][0]["content"] for row in rows)
            assert all(row["chosen"] != row["rejected"] for row in rows)

    def test_training_pairs_come_in_couples(self, library: Path, tmp_path: Path) -> None:
        out, _ = execute(PydocsPreferences(PydocsPreferences.Config(packages=("library_pkg",))), tmp_path, "pairs")
        rows = list(examples.read(out, "train"))
        assert len(rows) > 4
        for first, second in zip(rows[::2], rows[1::2], strict=True):
            assert first["chosen"] == second["rejected"]
            assert first["rejected"] == second["chosen"]
            assert first["prompt"] != second["prompt"]

    def test_limits(self, library: Path, tmp_path: Path) -> None:
        config = PydocsInstructions.Config(packages=("library_pkg",), summaries=10, examples=0, parameters=0)
        out, summary = execute(PydocsInstructions(config), tmp_path, "talks")
        assert table.count_rows(out, "train") == 10
        assert summary["heldout_rows"] == table.count_rows(out, "heldout") > 0

    def test_the_seed_reorders_and_the_salt_holds_out_others(self, library: Path, tmp_path: Path) -> None:
        def prompts(label: str, salt: str, seed: int) -> list[str]:
            config = PydocsInstructions.Config(packages=("library_pkg",), salt=salt, heldout=0.3)
            out, _ = execute(PydocsInstructions(config), tmp_path, label, seed)
            return [row["messages"][0]["content"] for row in examples.read(out, "heldout")]

        base, reseeded, resalted = prompts("a", "x", 0), prompts("b", "x", 1), prompts("c", "y", 0)
        assert base != reseeded
        assert sorted(base) == sorted(reseeded)
        assert sorted(base) != sorted(resalted)

    def test_named_summaries_can_be_left_out(self, place: Path, tmp_path: Path) -> None:
        code = 'def fetch():\n    """Fetch one page from the server."""\ndef g():\n    """Paint a wall in many colours."""\n'
        write_tree(place / "named_pkg", {"__init__.py": code})
        config = PydocsInstructions.Config(packages=("named_pkg",), heldout=0.0, named=False)
        out, _ = execute(PydocsInstructions(config), tmp_path, "talks")
        assert [row["messages"][0]["content"] for row in examples.read(out, "train")] == ["What does `named_pkg.g` do?"]

    def test_a_benchmark_without_questions_is_an_error(self, shapes: Path, tmp_path: Path) -> None:
        with pytest.raises(ParamsError, match="held-out objects") as caught:
            execute(PydocsBenchmark(PydocsBenchmark.Config(packages=("shapes_pkg",))), tmp_path, "benchmark")
        assert "heldout" in caught.value.fix

    def test_worker_processes_give_the_same_objects(self, library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        one = extract(["library_pkg"], (), private=False, threads=1, progress=lambda done, total: None)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        monkeypatch.setattr(packages, "POOL_BYTES", 0)
        monkeypatch.setattr(packages, "BATCH_BYTES", 10_000)
        assert extract(["library_pkg"], (), private=False, threads=2, progress=lambda done, total: None) == one
