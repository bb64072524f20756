"""`workbench use`: one entry changes, the rest of the file stays as it is, and nothing is written that does not check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import plugin_project
import pytest
import workspace
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from workspace import PROJECT, Done, Workspace

from workbench.artifacts import yaml_1_2
from workbench.project.yaml_text import Document, block, flow

SHIPPED = ("params.yaml", "recipes/tulu3/params.yaml")
NEEDS = ("align-grpo", "align-kto", "reward-exact-answer")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project with its params.yaml as it is shipped, and with further plugins installed."""
    site = tmp_path_factory.mktemp("site")
    for name in NEEDS:
        plugin_project.install_folder(site, PROJECT / "plugins" / name)
    plugin_project.install(site, "stranger-lines", plugin_project.stranger("tracker_lines"))
    made = workspace.create(tmp_path_factory.mktemp("use") / "project")
    (made.root / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    (made.root / "texts").mkdir()
    (made.root / "texts" / "a.txt").write_text("A text of one's own.\n")
    return replace(made, variables={**made.variables, "PYTHONPATH": str(site)})


@pytest.fixture
def made(untouched: Workspace) -> Workspace:
    for name in ("params.yaml", "compute.yaml"):
        (untouched.root / name).write_bytes((PROJECT / name).read_bytes())
    return untouched


def use(made: Workspace, *words: str) -> Done:
    done = made.run("use", *words)
    assert done.code == 0, done.text
    assert made.run("check").code == 0
    return done


def content(made: Workspace, name: str = "params.yaml") -> Any:
    return yaml.safe_load((made.root / name).read_text())


def refused(made: Workspace, *words: str) -> str:
    before = {name: (made.root / name).read_bytes() for name in ("params.yaml", "compute.yaml")}
    done = made.run("use", *words)
    assert done.code == 1, done.text
    assert "Traceback" not in done.err
    for name, text in before.items():
        assert (made.root / name).read_bytes() == text
    return done.err


def test_a_swap_changes_the_lines_of_its_entry_and_keeps_what_both_plugins_know(made: Workspace) -> None:
    before = (PROJECT / "params.yaml").read_text().splitlines()
    done = use(made, "dedup", "exact")
    after = (made.root / "params.yaml").read_text().splitlines()
    assert [line for line in before if line not in after] == [
        "  use: minhash",
        "    threshold: 0.7      # Jaccard similarity of near-duplicates",
        "    permutations: 128",
    ]
    assert "    heldout: 0.05       # share of the clusters" in after
    assert "+    normalisation: whitespace" in done.out
    assert "dvc repro" in done.out


def test_definitions_of_anchors_move_to_where_they_are_needed(made: Workspace) -> None:
    before = content(made)
    use(made, "source", "files", "--at", "curate.corpus", "--set", "path=texts")
    after = content(made)
    assert after["curate"].pop("corpus")["with"]["path"] == "texts"
    before["curate"].pop("corpus")
    assert after == before
    text = (made.root / "params.yaml").read_text()
    assert text.count("&packages") == 1
    assert "# what is held out; preferences and benchmark must have the same" in text


def test_a_block_that_is_merged_elsewhere_moves_with_its_comments(made: Workspace) -> None:
    before = content(made)
    (made.root / "chats.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    words = ("source", "files", "--at", "curate.instructions", "--set", "path=chats.jsonl", "--set", "produces=conversations")
    use(made, *words)
    after = content(made)
    assert after["curate"]["preferences"] == before["curate"]["preferences"]
    assert after["curate"]["benchmark"] == before["curate"]["benchmark"]
    assert "&views        # what is held out" in (made.root / "params.yaml").read_text()


def test_data_of_the_format_that_the_plugin_reads_is_found(made: Workspace) -> None:
    use(made, "align", "grpo", "--part", "exact-answer", "--set", "steps=3")
    align = content(made)["align"]
    assert (align["use"], align["data"], align["with"]["steps"], align["seed"]) == ("grpo", "data/curated/problems", 3, 0)
    assert [reward["use"] for reward in align["rewards"]] == ["exact-answer"]
    use(made, "align", "dpo")
    align = content(made)["align"]
    assert (align["data"], align["with"]["steps"]) == ("data/curated/preferences", 3)
    assert "rewards" not in align


def test_data_that_nothing_makes_is_refused(made: Workspace) -> None:
    made.params(curate__problems=None)
    assert "reads problems, and no entry of params.yaml makes it" in refused(made, "align", "grpo", "--part", "exact-answer")


def test_without_its_reward_grpo_is_not_written(made: Workspace) -> None:
    assert "grpo has no reward" in refused(made, "align", "grpo")


def test_an_entry_of_a_chain_is_chosen_by_its_address(made: Workspace) -> None:
    (made.root / "params.yaml").write_bytes((PROJECT / "recipes/tulu3/params.yaml").read_bytes())
    assert "align has 2 entries: align.dpo, align.grpo" in refused(made, "align", "kto")


def test_filters_and_rewards_are_added_to_the_list_of_an_entry(made: Workspace) -> None:
    done = use(made, "filter", "length", "--at", "curate.corpus", "--set", "min_characters=3")
    assert "no stage" not in done.out
    filters = content(made)["curate"]["corpus"]["filters"]
    assert [item["use"] for item in filters] == ["length", "gopher-quality", "c4", "length"]
    assert "has 'length' with this configuration already" in refused(
        made, "filter", "length", "--at", "curate.corpus", "--set", "min_characters=3"
    )
    assert "5 entries have a list of the kind filter" in refused(made, "filter", "length")


def test_a_tracker_goes_to_compute_yaml(made: Workspace) -> None:
    assert "no tracker 'none-such' is installed" in refused(made, "tracker", "none-such")
    (made.root / "compute.yaml").write_text("threads: 1   # of two\ntrackers: []\n")
    use(made, "tracker", "mlflow")
    assert (made.root / "compute.yaml").read_text() == "threads: 1   # of two\ntrackers: [mlflow]\n"
    assert "among the trackers already" in refused(made, "tracker", "mlflow")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# only a comment\n", "# only a comment\ntrackers: [mlflow, lines]\n"),
        ("trackers:\ndevice: cpu\n", "trackers: [mlflow, lines]\ndevice: cpu\n"),
        ("device: cpu\ntrackers:\n", "device: cpu\ntrackers: [mlflow, lines]\n"),
        ("trackers: [\n  mlflow, # the main one\n]\nthreads: 1\n", "trackers: [mlflow, lines]\nthreads: 1\n"),
        ("trackers:\n  - mlflow\nthreads: 1\n", "trackers: [mlflow, lines]\nthreads: 1\n"),
        ("threads: 1\r\ntrackers: [mlflow]\r\n", "threads: 1\r\ntrackers: [mlflow, lines]\r\n"),
    ],
)
def test_a_tracker_is_added_to_whatever_stands_there(made: Workspace, before: str, after: str) -> None:
    file = made.root / "compute.yaml"
    file.write_bytes(before.encode())
    use(made, "tracker", "lines")
    assert file.read_bytes().decode() == after


def test_a_missing_section_is_added_with_a_seed(made: Workspace) -> None:
    text = (made.root / "params.yaml").read_text()
    start, end = text.index("dedup:\n"), text.index("tokenize:\n")
    (made.root / "params.yaml").write_text(text[:start] + text[end:])
    use(made, "dedup", "exact")
    assert (made.root / "params.yaml").read_text().startswith(text[:start] + text[end:])
    assert content(made)["dedup"]["seed"] == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("source", "files"), "say which with --at"),
        (("source", "files", "--at", "curate.corpus"), "needs a value for path"),
        (("source", "files", "--at", "curate.corpus", "--set", "path=nowhere"), "nowhere"),
        (("dedup", "minhash", "--set", "treshold=1"), "did you mean 'threshold'?"),
        (("dedup", "minhash", "--set", "threshold=7"), "less than or equal to 1"),
        (("dedup", "minhash", "--set", "threshold"), "it is not KEY=VALUE"),
        (("dedup", "minhash", "--at", "align"), "a dedup cannot stand at 'align'"),
        (("align", "dpo", "--at", "align.dpo"), "a align cannot stand at 'align.dpo'"),
        (("align", "dpo", "--part", "exact-answer"), "takes no part 'exact-answer'"),
        (("align", "dpoo"), "no align 'dpoo' is installed"),
        (
            ("source", "pydocs-preferences", "--at", "curate.benchmark"),
            "reads benchmark, and data/curated/benchmark is preferences",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(made: Workspace, words: tuple[str, ...], part: str) -> None:
    assert part in refused(made, *words)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_node_of_the_shipped_files_is_found_where_it_stands(name: str) -> None:
    text = (PROJECT / name).read_text()
    for node in Document(text).root.walk():
        own = text[node.start : node.end]
        assert own == own.strip()
        if node.alias:
            assert own == f"*{node.alias}"
        if node.anchor:
            assert own.startswith(f"&{node.anchor}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: {x: &n 1}\nb: *n\n", "a:\n  y: 2\nb: &n 1\n"),
        ("a: {x: &n 1}\nb: [*n, *n]\n", "a:\n  y: 2\nb: [&n 1, *n]\n"),
        ("{a: {x: &n 1}, b: *n}\n", "{a: {y: 2}, b: &n 1}\n"),
        ("a:\n  x: &n\n    k: 1   # one\nb: {<<: *n}\nc: *n\n", "a:\n  y: 2\nb: {<<: &n {k: 1}}\nc: *n\n"),
        ("a: &n\n  k: 1\n# of b\nb:\n  c: *n\n", "a:\n  y: 2\n# of b\nb:\n  c: &n\n    k: 1\n"),
        ("o: &n 1\na: *n\nb: *n", "o: &n 1\na:\n  y: 2\nb: *n"),
        ("a: |\n  text\n\n\n# of b\nb: 1\n", "a:\n  y: 2\n\n\n# of b\nb: 1\n"),
    ],
)
def test_anchors_stay_valid_whatever_the_style(before: str, after: str) -> None:
    assert Document(before).replaced(["a"], {"y": 2}, {"y": 2}) == after


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="ab:- {?1.é", min_size=1), inner),
)


@settings(deadline=None)
@given(JSON)
@example("-")
@example({"prompts": ["What does `x` do?", "1e-5", "12:30", "no", "<|end|>", "'####'", "a\n b", "\x7f", "\U00018d09"]})
def test_what_is_written_is_read_as_it_was(value: object) -> None:
    assert yaml_1_2.load(f"k: {flow(value)}") == {"k": value}
    assert yaml_1_2.load(block({"k": value, "l": 1}, 2)) == {"k": value, "l": 1}


def test_a_key_within_a_section_changes_and_its_neighbours_stay(made: Workspace) -> None:
    before = content(made)["pretrain"]["with"]
    use(made, "pretrain", "causal", "--set", "optimizer.learning_rate=0.001", "--set", "architecture.hidden_size=96")
    after = content(made)["pretrain"]["with"]
    assert after["optimizer"] == {**before["optimizer"], "learning_rate": 0.001}
    assert after["architecture"] == {**before["architecture"], "hidden_size": 96}
    assert {key: after[key] for key in after if key not in ("optimizer", "architecture")} == {
        key: before[key] for key in before if key not in ("optimizer", "architecture")
    }
