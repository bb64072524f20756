from pathlib import Path

import pytest

from workbench.builtin import workbench_kinds
from workbench.errors import ParamsError
from workbench.kinds.stage import Stage
from workbench.project import params

SECTIONS = {base.section: base for base in workbench_kinds() if issubclass(base, Stage)}


def write(root: Path, text: str) -> Path:
    (root / "params.yaml").write_text(text, encoding="utf-8")
    return root


def test_entries_have_addresses_kinds_and_seeds(tmp_path: Path) -> None:
    content = params.load(
        write(tmp_path, "curate:\n  corpus: {use: files, seed: 3}\ndedup: {use: exact, with: {heldout: 0.1}}\n")
    )
    corpus, dedup = params.entries(content, SECTIONS)
    assert (corpus.address, corpus.kind, corpus.choice.use, corpus.seed) == ("curate.corpus", "source", "files", 3)
    assert (dedup.address, dedup.kind, dict(dedup.choice.config)) == ("dedup", "dedup", {"heldout": 0.1})


def test_other_keys_of_an_entry_are_kept(tmp_path: Path) -> None:
    content = params.load(write(tmp_path, "align: {use: dpo, data: data/curated/preferences}\n"))
    assert params.entries(content, SECTIONS)[0].others == {"data": "data/curated/preferences"}


def test_entries_may_share_values_by_anchors(tmp_path: Path) -> None:
    text = "curate:\n  one: {use: files, with: {<<: &both {path: a, seed: 1}}}\n  two: {use: files, with: {<<: *both, path: b}}\n"
    one, two = params.entries(params.load(write(tmp_path, text)), SECTIONS)
    assert (dict(one.choice.config), dict(two.choice.config)) == ({"path": "a", "seed": 1}, {"path": "b", "seed": 1})


def test_the_views_of_the_default_pipeline_hold_out_the_same(checkout: Path) -> None:
    """Or the benchmark's answers would be among the training rows."""
    found = {entry.address: entry.choice.config for entry in params.entries(params.load(checkout), SECTIONS)}
    keys = ("packages", "exclude", "private", "heldout", "salt", "near", "summary_min", "summary_max", "named")
    views = [{key: found[f"curate.{view}"][key] for key in keys} for view in ("instructions", "preferences", "benchmark")]
    assert views[0] == views[1] == views[2]


def test_a_section_may_hold_several_entries(tmp_path: Path) -> None:
    content = params.load(
        write(tmp_path, "align:\n  dpo: {use: dpo, data: pairs}\n  second: {use: grpo, data: problems, seed: 4}\n")
    )
    first, second = params.entries(content, SECTIONS)
    assert (first.address, first.kind, first.choice.use, first.others) == ("align.dpo", "align", "dpo", {"data": "pairs"})
    assert (second.address, second.kind, second.choice.use, second.seed) == ("align.second", "align", "grpo", 4)


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("dedup: {use: exact}\ndedup: {use: minhash}\n", "written twice", "mend the file"),
        ("dedup: [\n", "not YAML", "mend the file"),
        ("dedup: !!python/object/apply:os.system [id]\n", "not YAML", "mend the file"),
        ("- 1\n", "holds no sections", "write sections"),
    ],
)
def test_a_bad_file_is_refused_with_the_fix(tmp_path: Path, text: str, what: str, fix: str) -> None:
    with pytest.raises(ParamsError) as caught:
        params.load(write(tmp_path, text))
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("dedup: exact\n", "dedup"),
        ("dedup: {with: {}}\n", "dedup"),
        ("align: {dpo: {use: dpo}, grpo: {seed: 1}}\n", "align.grpo"),
        ("align: {a.b: {use: dpo}}\n", "align"),
        ("dedup: {use: exact, with: 3}\n", "dedup.with"),
        ("dedup: {use: exact, seed: -1}\n", "dedup.seed"),
        ("dedup: {use: exact, seed: true}\n", "dedup.seed"),
        ("dedup: {use: exact, rerun: never}\n", "dedup.rerun"),
        ("curate: {}\n", "curate"),
        ("curate: {../evil: {use: files}}\n", "curate"),
        ("eval: {a.b: {use: perplexity}}\n", "eval"),
    ],
)
def test_a_bad_entry_names_its_key(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ParamsError) as caught:
        params.entries(params.load(write(tmp_path, text)), SECTIONS)
    assert caught.value.where == f"params.yaml, key {where}"


def test_an_unknown_section_is_refused_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        params.entries(params.load(write(tmp_path, "dedupe: {use: exact}\n")), SECTIONS)
    assert caught.value.what == "unknown key 'dedupe'"
    assert caught.value.fix == "did you mean 'dedup'?"


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params.yaml is missing"):
        params.load(tmp_path)
