"""Generations as traces.

The identifiers are hashes of the event, so that a replayed event lands on the trace that it made before.
``MlflowClient.start_trace`` draws random ones; hence the tracing client below it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from workbench.events import GenerationLogged
from workbench_tracker_mlflow.store import Store

PREVIEW_CHARACTERS = 300


def log(store: Store, run: str, stage: str, event: GenerationLogged) -> str:
    """Write one generation as a trace that is linked to the MLflow run ``run``; returns the trace's id."""
    from mlflow.entities.trace_info import TraceInfo
    from mlflow.entities.trace_location import TraceLocation
    from mlflow.entities.trace_state import TraceState
    from mlflow.tracing.client import TracingClient
    from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey

    digest = _digest(event)
    trace = f"tr-{digest[:32]}"
    client = TracingClient(store.uri)
    client.log_spans(store.experiment, [_span(trace, digest, event)])
    client.start_trace(
        TraceInfo(
            trace_id=trace,
            trace_location=TraceLocation.from_experiment_id(store.experiment),
            request_time=int((event.time - event.seconds) * 1000),
            execution_duration=round(event.seconds * 1000),
            state=TraceState.OK,
            request_preview=event.prompt[:PREVIEW_CHARACTERS],
            response_preview=event.output[:PREVIEW_CHARACTERS],
            trace_metadata={
                TraceMetadataKey.SOURCE_RUN: run,
                TraceMetadataKey.TOKEN_USAGE: json.dumps(_usage(event)),
                TraceMetadataKey.INPUTS: json.dumps(event.prompt[:PREVIEW_CHARACTERS]),
                TraceMetadataKey.OUTPUTS: json.dumps(event.output[:PREVIEW_CHARACTERS]),
            },
            tags={TraceTagKey.TRACE_NAME: stage},
        )
    )
    if event.score is not None:
        _score(client, trace, event)
    return trace


def _score(client: Any, trace: str, event: GenerationLogged) -> None:
    from mlflow.entities import AssessmentSource, Feedback

    if client.get_trace_info(trace).assessments:
        return
    source = AssessmentSource(source_type="CODE", source_id="workbench")
    feedback = Feedback(name="score", value=event.score, source=source, trace_id=trace)
    client.log_assessment(trace, feedback)


def _span(trace: str, digest: str, event: GenerationLogged) -> object:
    from mlflow.entities import Span
    from mlflow.tracing.constant import SpanAttributeKey

    end = int(event.time * 1e9)
    attributes: dict[str, object] = {
        SpanAttributeKey.REQUEST_ID: trace,
        SpanAttributeKey.SPAN_TYPE: "LLM",
        SpanAttributeKey.INPUTS: {"prompt": event.prompt},
        SpanAttributeKey.OUTPUTS: {"output": event.output},
        SpanAttributeKey.CHAT_USAGE: _usage(event),
        "score": event.score,
    }
    return Span.from_dict(
        {
            "name": "generate",
            "trace_id": trace,
            "span_id": digest[32:48],
            "parent_span_id": "",
            "start_time_unix_nano": end - int(event.seconds * 1e9),
            "end_time_unix_nano": end,
            "status": {"code": "OK", "message": ""},
            "attributes": {name: json.dumps(value) for name, value in attributes.items()},
        }
    )


def _usage(event: GenerationLogged) -> dict[str, int]:
    """Only generated tokens are known; those of the prompt count as zero."""
    return {"input_tokens": 0, "output_tokens": event.tokens, "total_tokens": event.tokens}


def _digest(event: GenerationLogged) -> str:
    return hashlib.sha256(json.dumps([event.run, event.time, event.prompt, event.output]).encode()).hexdigest()
