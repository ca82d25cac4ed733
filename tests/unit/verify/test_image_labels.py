"""What `make verify-fleet` finds in labels: nothing in a sound image, and whatever pack or crane would refuse."""

from __future__ import annotations

import copy
import json

import pytest

from verify.fleet.image_labels import BASE_DIGEST, BASE_NAME, Image
from verify.fleet.label_rules import REBASABLE, STACK, problems
from verify.fleet.label_types import BUILD, LIFECYCLE, PROJECT

BASE, APP, LAUNCHER = (f"sha256:{letter * 64}" for letter in "abc")
ANNOTATIONS = {BASE_NAME: "r/builder:stable", BASE_DIGEST: f"sha256:{'d' * 64}"}
LABELS = {
    BUILD: {
        "processes": [{"type": "web", "command": ["a"], "direct": True}], "buildpacks": [{"id": "a", "version": "1"}],
    },
    LIFECYCLE: {
        "app": [{"sha": APP}],
        "launcher": {"sha": LAUNCHER},
        "buildpacks": [{"key": "a", "version": "1", "layers": {"x": {"sha": APP, "data": {"n": 1}, "launch": True}}}],
        "runImage": {"topLayer": BASE, "reference": f"r/builder@{ANNOTATIONS[BASE_DIGEST]}", "image": "r:s"},
    },
    PROJECT: {"source": {"type": "artifact", "version": {"revision": "1"}}},
}  # fmt: skip


def image(labels=LABELS, annotations=ANNOTATIONS, layers=("1", "2", "3"), base=("1",), **texts):
    found = {name: json.dumps(value) for name, value in labels.items()}
    config = {
        "config": {"Labels": {STACK: "s", REBASABLE: "true", **ANNOTATIONS, **found, **texts}},
        "rootfs": {"diff_ids": [BASE, APP, LAUNCHER]},
    }
    manifest = {"annotations": annotations, "layers": [{"digest": one} for one in layers]}
    return Image("r/app", "", manifest, config, base and {"layers": [{"digest": one} for one in base]})


def changed(label, *path, to=None):
    """The labels with one value changed, or without it."""
    labels = copy.deepcopy(LABELS)
    value = labels[label]
    for key in path[:-1]:
        value = value[key]
    if to is None:
        del value[path[-1]]
    else:
        value[path[-1]] = to
    return image(labels)


def test_a_sound_image_has_no_problem():
    assert problems(image(), by_cnb=True) == []


def test_an_app_of_classic_buildpacks_needs_only_what_crane_reads():
    assert problems(image({}), by_cnb=False) == []
    assert problems(image({}), by_cnb=True) == [f"{BUILD} is missing or not JSON"]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (changed(BUILD, "processes", 0, "type"), f"{BUILD}.processes[] lacks type"),
        (changed(BUILD, "processes", 0, "command", to=1), f"{BUILD}.processes[].command has a wrong type"),
        (changed(BUILD, "buildpacks", to={}), f"{BUILD}.buildpacks is not a list"),
        (changed(LIFECYCLE, "app", 0, to="x"), f"{LIFECYCLE}.app[] is not an object"),
        (changed(LIFECYCLE, "buildpacks", 0, "layers", "x", "launch", to="yes"), ".layers.x.launch has a wrong type"),
        (changed(LIFECYCLE, "runimage", to={}), f"{LIFECYCLE} has runimage, which the format does not name"),
        (changed(LIFECYCLE, "runImage", "topLayer", to=APP), "runImage.topLayer is not the base's uppermost layer"),
        (changed(LIFECYCLE, "runImage", "reference", to="r@sha256:e"), "runImage.reference is not the base"),
        (changed(LIFECYCLE, "launcher", "sha", to=BASE), f"names the layer {BASE[:19]}, which is not one of the app's"),
        (changed(PROJECT, "source", "version", to="1"), f"{PROJECT}.source.version has a wrong type"),
        (image(**{STACK: ""}), f"{STACK} is missing"),
        (image(**{REBASABLE: "yes"}), f"{REBASABLE} is neither true nor false"),
        (image(annotations={}), f"the annotation {BASE_NAME} is missing or not as the label"),
        (image(**{BASE_DIGEST: "sha256:e"}), f"the annotation {BASE_DIGEST} is missing or not as the label"),
        (image(base=None), "the base that it names is not in the registry"),
        (image(base=("2",)), "its first layers are not those of the base that it names"),
    ],
)
def test_what_a_foreign_tool_would_refuse_is_named(found, problem):
    assert any(problem in one for one in problems(found, by_cnb=True))
