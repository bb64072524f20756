"""Log-likelihoods against the plain sum over the model's own logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import build_model, model_directory  # noqa: F401

from workbench.errors import ParamsError
from workbench.models import scoring
from workbench.models.generation import Sampling, generate
from workbench.models.scoring import CausalModel, Request, Score

VOCABULARY = 300
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=16).map(tuple)
REQUESTS = st.lists(st.builds(Request, TOKENS, TOKENS), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def model(model_directory: Path) -> CausalModel:  # noqa: F811
    return scoring.load(model_directory, "cpu")


def reference(model: CausalModel, request: Request) -> tuple[float, bool]:
    """One forward pass, all logits, float64."""
    tokens = (*request.context, *request.continuation)
    with torch.inference_mode():
        logits = model.model(torch.tensor([tokens[:-1]])).logits[0].double()
    places = range(len(request.context) - 1, len(tokens) - 1)
    values = [float(logits[place].log_softmax(0)[tokens[place + 1]]) for place in places]
    return sum(values), all(int(logits[place].argmax()) == tokens[place + 1] for place in places)


@given(REQUESTS, st.integers(1, 200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_scores_equal_the_plain_computation(model: CausalModel, requests: list[Request], batch_tokens: int) -> None:
    for request, score in zip(requests, scoring.score(model, requests, batch_tokens=batch_tokens), strict=True):
        expected, greedy = reference(model, request)
        assert score.log_likelihood == pytest.approx(expected, abs=2e-4)
        assert score.greedy == greedy


def test_order_and_copies_change_no_bit(model: CausalModel) -> None:
    requests = [Request((index, 2), tuple(range(3, 5 + index % 7))) for index in range(20)]
    forward = scoring.score(model, requests, batch_tokens=64)
    assert scoring.score(model, requests[::-1], batch_tokens=64) == forward[::-1]
    assert scoring.score(model, requests * 2, batch_tokens=64) == forward * 2


@pytest.mark.parametrize("stride", [None, 1, 7, 31])
def test_long_documents_score_every_token_once(model: CausalModel, stride: int | None) -> None:
    document = tuple((7 * place) % VOCABULARY for place in range(75))
    (score,) = scoring.score(model, [Request((0,), document)], batch_tokens=128, stride=stride)
    tokens = (0, *document)
    window, total, first, stop = model.window, 0.0, 1, model.window + 1
    while first < len(tokens):  # The windows of the definition, each scored on its own.
        stop = min(stop, len(tokens))
        total += reference(model, Request(tokens[max(0, stop - window - 1) : first], tokens[first:stop]))[0]
        first, stop = stop, stop + (stride or window)
    assert score.log_likelihood == pytest.approx(total, abs=1e-3)


def test_context_is_cut_on_the_left(model: CausalModel) -> None:
    continuation = tuple(range(10, 20))
    long, short = Request(tuple(range(100, 160)), continuation), Request(tuple(range(137, 160)), continuation)
    assert scoring.score(model, [long], batch_tokens=64) == scoring.score(model, [short], batch_tokens=64)


@pytest.mark.parametrize(("context", "continuation"), [((), (1,)), ((1,), ())])
def test_empty_requests_are_refused(context: tuple[int, ...], continuation: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Request(context, continuation)


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2", "granite"])
def test_architectures_that_shape_their_logits_are_scored_right(tmp_path: Path, model_type: str) -> None:
    other = scoring.load(build_model(tmp_path, model_type), "cpu")
    request = Request((5, 9, 7), (11, 12, 3, 4))
    (score,) = scoring.score(other, [request], batch_tokens=64)
    assert score.log_likelihood == pytest.approx(reference(other, request)[0], abs=2e-4)


def test_greedy_generation_is_what_the_scorer_calls_greedy(model: CausalModel) -> None:
    prompts = [(5, 6, 7), (9,), (11, 12, 13)]
    written = generate(model, prompts, Sampling(6, temperature=0))
    requests = [Request(prompt, text) for prompt, text in zip(prompts, written, strict=True) if text]
    assert requests
    assert all(isinstance(score, Score) and score.greedy for score in scoring.score(model, requests, batch_tokens=64))


def test_samples_depend_on_the_seed_alone(model: CausalModel) -> None:
    prompts = [(model.start,)] * 4
    state = torch.random.get_rng_state()
    first = generate(model, prompts, Sampling(8, seed=3))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert generate(model, prompts, Sampling(8, seed=3)) == first
    assert generate(model, prompts, Sampling(8, seed=4)) != first


@pytest.mark.parametrize(("prompt", "tokens"), [(1, 32), (27, 6), (40, 1)])
def test_a_prompt_is_never_cut_for_what_is_to_be_written(model: CausalModel, prompt: int, tokens: int) -> None:
    prompts = [(7,), tuple(range(5, 5 + prompt))]
    with pytest.raises(
        ParamsError, match=f"{tokens} tokens are to be written after a prompt of {prompt}.* window has {model.window}"
    ):
        generate(model, prompts, Sampling(tokens))
    if prompt < model.window:
        assert generate(model, prompts, Sampling(model.window - prompt, temperature=0))


def test_what_lies_beyond_the_window_is_counted(model: CausalModel) -> None:
    assert model.beyond(Request(tuple(range(30)), (1, 2, 3))) == 0  # the last token is only predicted
    assert model.beyond(Request(tuple(range(31)), (1, 2, 3))) == 1
    scoring.require_fit([0, 0, 0, 1], model.window, 0.25, "here")
    with pytest.raises(ParamsError, match="2 of 4 questions are longer than the model's window of 32 tokens, by up to 9"):
        scoring.require_fit([0, 9, 0, 1], model.window, 0.25, "here")


def test_sampling_takes_from_the_likeliest_tokens_alone(model: CausalModel) -> None:
    prompts = [(model.start,)] * 8
    greedy = generate(model, prompts, Sampling(8, temperature=0))
    assert generate(model, prompts, Sampling(8, top_k=1)) == greedy
    assert generate(model, prompts, Sampling(8, top_p=1e-9)) == greedy
    assert generate(model, prompts, Sampling(8)) != greedy
