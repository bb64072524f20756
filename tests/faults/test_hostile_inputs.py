"""What strangers send (params, models, benchmarks, files, documents) is refused or neutralised, and memory stays bounded."""

from __future__ import annotations

import gzip
import html.parser
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import light_pipeline
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tiny_model import model_directory  # noqa: F401
from workbench_eval_lm_eval import LmEval, LmEvalConfig, benchmark_spec, sandboxed_templates
from workspace import Workspace

from workbench.artifacts import benchmark
from workbench.artifacts.benchmark import Question
from workbench.artifacts.formats import BUILT_IN
from workbench.errors import ArtifactError, ParamsError
from workbench.models import scoring
from workbench.testing.samples import BY_FORMAT

pytestmark = pytest.mark.fault(12)
slow = pytest.mark.slow
MARK = "executed"
"""File that hostile code would make in the working directory."""
MEMORY = 400 << 20
"""Bytes that a process may hold which reads any of the files below; its libraries take some 150 MB of them."""
UNPACKED = 600 << 20
"""Bytes that a small hostile file grows to."""


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever is tried, no code of the input ever runs."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.rglob(MARK)) == []


class Payload:
    """Pickled, it makes the file when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {MARK}",)


def test_the_payload_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload()))  # so that what is never loaded below would do something
    (tmp_path / MARK).unlink()


# params.yaml, compute.yaml, dvc.yaml


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    return light_pipeline.create(tmp_path)


@pytest.mark.parametrize("section", ["curate", "eval"])
def test_a_key_that_is_a_path(made: Workspace, section: str) -> None:
    def add(content: dict[str, Any]) -> None:
        content[section]["../../evil"] = dict(next(iter(content[section].values())))

    made.edit("params.yaml", add)
    done = made.run("check")
    assert done.code == 1
    assert f"bad key '../../evil'\n  where: params.yaml, key {section}\n  fix:   use letters, digits, - and _" in done.err
    assert made.dvc("repro").code != 0
    assert list(made.root.parent.rglob("evil*")) == []


def test_an_output_outside_the_workspace_is_refused_before_anything_is_removed(made: Workspace) -> None:
    assert made.run("resolve").code == 0
    precious = made.root.parent / "outside" / "precious"
    precious.parent.mkdir()
    precious.write_text("mine")
    made.edit("params.yaml", lambda content: content.update(models=["../../outside"]))
    made.edit("dvc.yaml", lambda content: _aimed_at_models(content["stages"]))
    done = made.dvc("repro")
    assert done.code != 0
    assert "it writes data/../../outside, outside the workspace" in done.err
    assert "where: dvc.yaml, stage report@" in done.err
    direct = made.run("run", "curate.corpus", "--out", "../outside", "--decisions", "data/decisions/corpus")
    assert direct.code == 1
    assert "it writes ../outside, outside the workspace" in direct.err
    assert precious.read_text() == "mine"


def _aimed_at_models(stages: dict[str, Any]) -> None:
    stage = stages.pop("report")
    cmd = stage["cmd"].replace("--out data/report ", "--out data/${item} ")
    stages["report"] = {"foreach": "${models}", "do": {**stage, "cmd": cmd, "outs": ["data/${item}"]}}


@pytest.mark.parametrize("name", ["params.yaml", "compute.yaml", "dvc.yaml"])
def test_yaml_that_makes_objects(made: Workspace, name: str) -> None:
    file = made.root / name
    file.write_text(f"{file.read_text()}\nevil: !!python/object/apply:os.system ['touch {MARK}']\n")
    done = made.run("check")
    assert done.code == 1
    assert f"where: {name}" in done.err
    assert "python/object/apply:os.system" in done.err
    assert "Traceback" not in done.err
    assert made.dvc("repro").code != 0


# Models and tokenizers


def _pickled(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Payload()))


def _torch_archive(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload()))


def _key(folder: Path, name: str, **values: Any) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


MODELS: dict[str, Callable[[Path], None]] = {
    "pytorch_model.bin": lambda folder: _pickled(folder, "pytorch_model.bin"),
    "tokenizer.pkl": lambda folder: _pickled(folder, "tokenizer.pkl"),
    "WEIGHTS.PT": lambda folder: _pickled(folder, "WEIGHTS.PT"),
    "harmless.txt": lambda folder: _pickled(folder, "harmless.txt"),
    "weights.dat": lambda folder: _torch_archive(folder, "weights.dat"),
    "modeling.py": lambda folder: (folder / "modeling.py").write_text(f"open({MARK!r}, 'w')"),
    "config.json has an auto_map": lambda folder: _key(folder, "config.json", auto_map={"AutoConfig": "modeling.Evil"}),
    "config.json has an auto_map,": lambda folder: _key(folder, "config.json", text_config={"auto_map": {"AutoModel": "m.E"}}),
    "tokenizer_config.json has an auto_map": lambda folder: _key(folder, "tokenizer_config.json", auto_map=["t.Evil", None]),
    "code of the Hub": lambda folder: _key(folder, "config.json", attn_implementation="owner/kernel"),
    "adapter_config.json": lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/evil"}'),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_brings_code(tmp_path: Path, what: str) -> None:
    BY_FORMAT["model"](tmp_path / "model")
    BUILT_IN["model"].require(tmp_path / "model")
    MODELS[what](tmp_path / "model")
    with pytest.raises(ArtifactError, match=what) as caught:
        BUILT_IN["model"].require(tmp_path / "model")
    assert caught.value.where == str(tmp_path / "model")
    assert caught.value.fix


def test_a_stage_does_not_start_on_a_model_that_brings_code(made: Workspace) -> None:
    _pickled(made.root / "raw" / "model", "pytorch_model.bin")
    done = made.dvc("repro", "eval@first")
    assert done.code != 0
    assert "pytorch_model.bin may run code when loaded" in done.err
    assert "fix:   save weights as safetensors" in done.err
    (made.root / "raw" / "model" / "pytorch_model.bin").unlink()
    made.repro("eval@first")


@pytest.mark.parametrize("model_type", ["llama", "evil"])
def test_loading_runs_no_code_whatever_the_intake_let_pass(
    tmp_path: Path,
    model_directory: Path,  # noqa: F811
    model_type: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_directory, folder)
    code = f"open({str(tmp_path / MARK)!r}, 'w')\nfrom transformers import LlamaConfig as Evil, LlamaForCausalLM as EvilModel\n"
    (folder / "modeling.py").write_text(code)
    auto_map = {"AutoConfig": "modeling.Evil", "AutoModelForCausalLM": "modeling.EvilModel"}
    _key(folder, "config.json", auto_map=auto_map, model_type=model_type)
    _key(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling.Evil", "modeling.Evil"]})
    if model_type == "llama":
        assert type(scoring.load(folder, "cpu").model).__module__.startswith("transformers.")
    else:
        with pytest.raises(Exception, match=r"evil|trust_remote_code"):
            scoring.load(folder, "cpu")


def test_loading_unpickles_nothing(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    folder = tmp_path / "model"
    shutil.copytree(model_directory, folder)
    (folder / "model.safetensors").unlink()
    _pickled(folder, "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        scoring.load(folder, "cpu")


# Benchmarks and tasks

QUESTIONS = [Question(f"What about {i}?", ("one", "two"), i % 2, f"d{i}", f"g{i}") for i in range(4)]
TASKS: dict[str, str] = {
    "!function": "process_docs: !function evil.run",
    "!!python": f"metadata: !!python/object/apply:os.system ['touch {MARK}']",
    "include": "include: ../../evil.yaml",
    "use_prompt": "use_prompt: promptsource:evil",
    "class": "class: evil.Task",
    "unsafe_code": "unsafe_code: true",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    benchmark.write(tmp_path / "benchmark", QUESTIONS, "tiny")
    (tmp_path / "benchmark" / "evil.py").write_text(f"open({MARK!r}, 'w')")
    return tmp_path / "benchmark"


def _say(folder: Path, **values: Any) -> None:
    file = folder / benchmark.TASK_FILE
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **values}))


@pytest.mark.parametrize("what", TASKS)
def test_a_task_that_loads_code_or_other_files(folder: Path, what: str) -> None:
    file = folder / benchmark.TASK_FILE
    file.write_text(f"{file.read_text()}\n{TASKS[what]}\n")
    for read in (lambda: BUILT_IN["benchmark"].require(folder), lambda: benchmark.validate(folder)):
        with pytest.raises(ArtifactError) as caught:
            read()
        assert caught.value.where == str(file)
        assert what.strip("!") in f"{caught.value.what} {caught.value.fix}"
    with pytest.raises(ArtifactError):
        benchmark_spec(folder, folder)


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\nb", "", None, ["a"]])
def test_a_task_whose_name_is_a_path(folder: Path, name: object) -> None:
    _say(folder, task=name)
    with pytest.raises(ArtifactError, match="task is"):
        benchmark.validate(folder)


@pytest.mark.parametrize("name", ["../elsewhere.parquet", "/tmp/x.parquet", "https://host/x.parquet", ["a.parquet"]])
def test_a_task_that_reads_elsewhere(folder: Path, name: object) -> None:
    shutil.copy(folder / benchmark.DATA_FILE, folder.parent / "elsewhere.parquet")
    _say(folder, dataset_kwargs={"data_files": {"test": name}})
    with pytest.raises(ArtifactError, match=r"data_files\.test") as caught:
        benchmark_spec(folder, folder)
    assert benchmark.DATA_FILE in caught.value.fix


@pytest.mark.parametrize("metric", ["evil", "../evil", {"metric": "acc", "hf_evaluate": True}])
def test_a_metric_that_is_code_of_others(folder: Path, metric: Any) -> None:
    _say(folder, metric_list=[metric if isinstance(metric, dict) else {"metric": metric}])
    with pytest.raises(ArtifactError, match="none of the harness's own"):
        benchmark_spec(folder, folder)


@pytest.mark.parametrize("field", ["doc_to_text", "doc_to_choice", "doc_to_target", "gen_prefix"])
def test_a_template_that_reaches_for_code(folder: Path, field: str) -> None:
    import datasets
    from lm_eval.tasks import TaskManager

    datasets.disable_progress_bars()
    _say(folder, **{field: "{{ cycler.__init__.__globals__.os.system('touch " + MARK + "') }}"})
    spec = benchmark_spec(folder, folder)
    manager = TaskManager(include_defaults=False)

    def ask() -> None:
        manager.load([spec])["tasks"]["tiny"].build_all_requests()

    with pytest.raises(ArtifactError, match="a template of the task reaches for code"), sandboxed_templates():
        ask()


@pytest.mark.parametrize("name", ["evil.yaml", pytest.param("../../evil", marks=slow), pytest.param("/etc/passwd", marks=slow)])
def test_a_path_instead_of_a_task(tmp_path: Path, name: str) -> None:
    from workbench.testing import make_run

    (tmp_path / "evil.yaml").write_text("task: evil\nprocess_docs: !function evil.run\n")
    run = make_run(tmp_path)
    with pytest.raises(ParamsError, match="has no task"):
        LmEval(LmEvalConfig(tasks=(name,)))._load_tasks(tmp_path, run)


# Files that grow, lines without an end, bytes that are no text

READ = """
import json, sys
sys.path[:0] = json.loads(sys.argv[3])
from pathlib import Path
from workbench.testing import make_run
from workbench_source_files import Files, FilesConfig
folder = Path(sys.argv[1])
run = make_run(folder)
try:
    files = Files(FilesConfig.model_validate({"path": str(folder / "texts"), **json.loads(sys.argv[2])}), {})
    files.execute({}, {"out": folder / "out", "decisions": folder / "decisions"}, run)
    print(json.dumps({"kept": run.summary["kept"]}))
except Exception as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
status = Path("/proc/self/status").read_text()  # not ru_maxrss, which begins with the size of the parent
print(1024 * int(status.split("VmHWM:")[1].split()[0]))
"""


def read(folder: Path, **config: Any) -> dict[str, Any]:
    """What the source ``files`` makes of folder/texts in a process of its own, which must stay small."""
    words = [sys.executable, "-c", READ, str(folder), json.dumps(config), json.dumps(sys.path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    answer, peak = done.stdout.splitlines()
    assert int(peak) < MEMORY
    found: dict[str, Any] = json.loads(answer)
    return found


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    return tmp_path / "texts"


def _gzip(file: Path) -> None:
    member = gzip.compress(b"x" * (20 << 20))
    file.write_bytes(gzip.compress(b'{"text": "') + member * (UNPACKED // (20 << 20)) + gzip.compress(b'"}\n'))


def _zstd(file: Path) -> None:
    with pa.CompressedOutputStream(str(file), "zstd") as stream:
        stream.write(b'{"text": "')
        for _ in range(UNPACKED >> 20):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n')


def _parquet(file: Path) -> None:
    column = pa.chunked_array([pa.array(["x" * (6 << 20)] * 10)] * (UNPACKED // (60 << 20)))
    pq.write_table(pa.table({"text": column}), file, compression="zstd", use_dictionary=False)


BOMBS: dict[str, Callable[[Path], None]] = {"a.jsonl.gz": _gzip, "a.jsonl.zst": _zstd, "a.parquet": _parquet}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_grows(texts: Path, name: str) -> None:
    BOMBS[name](texts / name)
    assert (texts / name).stat().st_size < UNPACKED / 500
    found = read(texts.parent)
    assert found["error"] == "ArtifactError"
    assert "it unpacks to more than 200 times its size" in found["text"]
    assert name in found["text"]
    assert "raise `max_compression_ratio` if you trust the file" in found["text"]


@slow
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_that_may_grow_is_streamed(texts: Path, name: str) -> None:
    BOMBS[name](texts / name)
    found = read(texts.parent, max_compression_ratio=100_000)
    assert f"{name}:1" in found["text"]
    assert "too-long" in found["text"]


@slow
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_a_parquet_file_of_one_value_for_all_rows(texts: Path, nested: bool) -> None:
    """No ratio tells of it: the value does not compress, and every row refers to it."""
    value = random.Random(0).randbytes(4 << 20).hex()
    column: Any = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array([value]))
    config: dict[str, Any] = {}
    if nested:
        turns = pa.StructArray.from_arrays([pa.array(["user"] * 10), pa.array([value] * 10)], ["role", "content"])
        column = pa.chunked_array([pa.ListArray.from_arrays(pa.array(range(11), pa.int32()), turns)] * 10)
        config = {"produces": "conversations"}
    name = "messages" if nested else "text"
    options = {"dictionary_pagesize_limit": 1 << 30, "store_schema": False, "write_batch_size": 1}
    pq.write_table(pa.table({name: column}), texts / "a.parquet", compression="zstd", **options)
    assert (texts / "a.parquet").stat().st_size < 5 << 20
    found = read(texts.parent, max_compression_ratio=50, **config)
    assert "a.parquet" in found["text"]
    assert "it unpacks to more than 50 times its size" in found["text"]
    found = read(texts.parent, max_compression_ratio=100_000, max_record_bytes=1_000_000, **config)
    assert "a.parquet#1" in found["text"]
    assert "too-long" in found["text"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_line_without_an_end(texts: Path, name: str) -> None:
    with (texts / name).open("wb") as file:
        file.write(b'{"text": "one"}\n{"text": "' if name == "a.jsonl" else b"text\none\n")
        for _ in range(150):
            file.write(b"x" * (1 << 20))
    found = read(texts.parent)
    assert found["error"] == "ArtifactError"
    assert f"{name}:{2 if name == 'a.jsonl' else 3}" in found["text"]
    assert "max_record_bytes" in found["text"]


@pytest.mark.parametrize(
    "split",
    [
        "none",
        pytest.param("paragraphs", marks=pytest.mark.slow),
    ],
)
def test_a_text_without_a_line_end(texts: Path, split: str) -> None:
    with (texts / "a.txt").open("wb") as file:
        for number in range(150):
            file.write(str(number % 10).encode() * (1 << 20))
    found = read(texts.parent, split=split, max_characters=1_000_000)
    if split == "none":
        assert "a.txt" in found["text"]
        assert "`split: paragraphs` cuts it" in found["text"]
    else:
        assert found["kept"] >= 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"text": "one"}\n{"text": "a\\u0000b"}\n'),
        ("a.jsonl", b'{"text": "one"}\n{"text": "a\0b"}\n'),
        ("a.csv", b'text\none\n"a\0b"\n'),
        ("a.txt", b"one" * 300 + b"\n\na\0b\n"),
    ],
)
def test_nul_bytes(texts: Path, name: str, content: bytes) -> None:
    (texts / name).write_bytes(content)
    found = read(texts.parent, max_characters=500)
    assert found["error"] == "ArtifactError"
    assert name in found["text"]
    assert "records are unreadable" in found["text"]
    shutil.rmtree(texts.parent / "out", ignore_errors=True)
    shutil.rmtree(texts.parent / "decisions", ignore_errors=True)
    assert read(texts.parent, max_characters=500, max_bad_share=0.9)["kept"] >= 1


# Documents that are pages


class Active(html.parser.HTMLParser):
    """Collects what a browser would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep elements that run or fetch something, and attributes that do."""
        if tag in {"script", "iframe", "object", "embed", "img", "form", "base", "link"}:
            self.found.append(tag)
        self.found += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


EVIL = "<script>document.title='x'</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>click</a> and so on and on"


@pytest.mark.slow
def test_documents_that_are_pages_are_shown_as_text(tmp_path: Path) -> None:
    made = light_pipeline.create(tmp_path, trackers=("mlflow",))
    (made.root / "raw" / "corpus.txt").write_text(f"{light_pipeline.TEXT}{EVIL}\n")
    made.repro("curate@corpus")
    files = [file for file in (made.root / ".workbench").rglob("*") if file.suffix in {".html", ".svg", ".md"}]
    shown = [file for file in files if "script&gt;" in file.read_text()]
    assert shown, "the rejected document is in no page"
    for file in files:
        reader = Active()
        reader.feed(file.read_text())
        assert reader.found == [], file
