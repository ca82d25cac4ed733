"""What the farm tells of itself: secrets masked, series that exist from the start, traces that meet."""

from __future__ import annotations

import json
import logging

import pytest
from prometheus_client.openmetrics.exposition import generate_latest

from buildfarm.model import Phase
from buildfarm.settings import Settings
from buildfarm.telemetry import logger, set_up_logging
from buildfarm.telemetry.masking import mask
from buildfarm.telemetry.metrics import Metrics
from buildfarm.telemetry.traces import Tracer, ids_of

TOKEN = "bf_0123456789abcdef_" + "s" * 43


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"token {TOKEN} used", "token bf_0123456789abcdef_*** used"),
        (f"token bf_b-{TOKEN[3:]} used", "token bf_b-0123456789abcdef_*** used"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer ***"),
        ("redis://:pass@host/0", "redis://:***@host/0"),
        ("https://me:secret@host/r.git", "https://me:***@host/r.git"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
        ("an ordinary sentence: nothing@all", "an ordinary sentence: nothing@all"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text, told):
    assert mask(text) == told


@pytest.fixture
def root_logger():
    """The root logger as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def test_a_secret_reaches_no_log_line_however_deep_it_lies(capsys, root_logger):
    set_up_logging(Settings(log_format="json"))
    logger(build="b1").info("asked", header=f"Bearer {TOKEN}", nested={"list": [TOKEN]})
    logging.getLogger("uvicorn.error").warning("from a library: %s", TOKEN)
    try:
        int(TOKEN)
    except ValueError:
        logger().exception("failed")
    written = capsys.readouterr().err
    assert "ssss" not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["event"] for line in lines] == ["asked", "from a library: bf_0123456789abcdef_***", "failed"]
    assert lines[0]["build"] == "b1"
    assert lines[1]["logger"] == "uvicorn.error"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_tells_no_variables(capsys, root_logger, form):
    set_up_logging(Settings(log_format=form))
    value = "hunter2"
    try:
        int(f"{len(value)} letters")
    except ValueError:
        logger().exception("failed")
    told = capsys.readouterr().err
    assert "7 letters" in told
    assert value not in told


def test_every_series_exists_before_its_first_event():
    text = generate_latest(Metrics().registry).decode()
    for series in (
        'buildfarm_builds_total{code="app.compile",fault="app",outcome="failed"} 0.0',
        'buildfarm_builds_total{code="farm.node",fault="farm",outcome="given_back"} 0.0',
        'buildfarm_builds_total{code="none",fault="none",outcome="succeeded"} 0.0',
        'buildfarm_limits_hit_total{limit="out_of_memory"} 0.0',
        'buildfarm_cache_restores_total{result="miss"} 0.0',
        'buildfarm_phase_seconds_count{phase="export"} 0.0',
    ):
        assert series in text


def test_an_attempts_end_says_whose_fault_it_was():
    metrics = Metrics(tenants=True)
    metrics.attempt_ended("failed", "app.out_of_memory", "shop")
    metrics.attempt_ended("given_back", "farm.registry", "shop")
    metrics.attempt_ended("lost", "farm.redis", "")
    text = generate_latest(metrics.registry).decode()
    for series in (
        'buildfarm_builds_total{code="app.out_of_memory",fault="app",outcome="failed"} 1.0',
        'buildfarm_builds_total{code="farm.registry",fault="farm",outcome="given_back"} 1.0',
        'buildfarm_builds_total{code="none",fault="none",outcome="lost"} 1.0',
        'buildfarm_limits_hit_total{limit="out_of_memory"} 1.0',
        'buildfarm_tenant_builds_total{outcome="failed",tenant="shop"} 1.0',
    ):
        assert series in text


def test_a_tenant_is_no_label_unless_asked_for():
    metrics = Metrics()
    metrics.attempt_ended("failed", "app.compile", "shop")
    assert "shop" not in generate_latest(metrics.registry).decode()


def test_a_build_is_the_exemplar_of_its_phases():
    metrics = Metrics()
    metrics.phase_ended(Phase.EXPORT, 0.3, "b1")
    assert '# {build="b1"} 0.3' in generate_latest(metrics.registry).decode()


def test_a_builds_trace_is_known_from_its_id_alone():
    assert ids_of("b1") == ids_of("b1")
    assert ids_of("b1") != ids_of("b2")


def test_a_tracer_without_an_endpoint_does_nothing():
    tracer = Tracer()
    tracer.add("b1", "prepare", 1.0, 2.0)
    tracer.add_root("b1", "build", 1.0, 2.0)
    tracer.close()
