"""One request, one shape: the library, both clients, the API, the command line and the page offer the same.

What one of them lacks is listed here with the reason, and nowhere else.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import click
import pytest
from fastapi import FastAPI
from jinja2 import Environment, PackageLoader

from buildfarm.api.bodies import NewBuild
from buildfarm.api.page import form
from buildfarm.api.routes import apps as apps_routes
from buildfarm.api.routes import bases as base_routes
from buildfarm.api.routes import builds, farm, sources, webhook
from buildfarm.api.routes import channels as channels_routes
from buildfarm.api.routes import components as component_routes
from buildfarm.api.routes import credentials as credential_routes
from buildfarm.api.routes import hooks as hook_routes
from buildfarm.api.routes import keeping as keeping_routes
from buildfarm.api.routes import rollouts as rollout_routes
from buildfarm.api.routes import sizes as sizes_routes
from buildfarm.api.routes import variables as variable_routes
from buildfarm.cli import main
from buildfarm.client import AsyncClient, Client, apps, bases, calls, channels, components, rollouts, sizes
from buildfarm.client import credentials as credential_calls
from buildfarm.client import hooks as hook_calls
from buildfarm.client import keeping_calls as keeping
from buildfarm.client import variables as variable_calls
from buildfarm.client.calls import Call
from buildfarm.client.wire import LiveLog
from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest, RunPolicy
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import AppState
from buildfarm.sources.address import ArtifactSource, GitSource
from buildfarm.sources.credentials import Kind, NewCredential
from buildfarm.sources.pushes.hook import NewHook

FIELDS = set(BuildRequest.model_fields)
DIGEST = "sha256:" + "a" * 64
REPORT = HealthReport(tenant="shop", app="web", status=Status.HEALTHY, observed_at=1.0)
CREDENTIAL = NewCredential(kind=Kind.TOKEN, address="git.example.org", value="a-token-of-it")
SOURCE = ArtifactSource(repository="sources/shop", digest=DIGEST)
FULL = BuildRequest(
    tenant="shop",
    app="web",
    source=GitSource(url="https://git.example.org/web.git", ref="v1"),
    env={"NODE_ENV": "production", "TOKEN": "0123456789"},
    secrets=("TOKEN",),
    buildpacks=("nodejs",),
    buildpack_order=("python", "https://git.example.org/buildpack.git#v2"),
    cached_result=False,
    clean=True,
    build_class="bulk",
    size="large",
    run_policy=RunPolicy.ALL,
    expires_in_seconds=60,
    idempotency_key="push-1",
)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    app = FastAPI()
    routes = (
        apps_routes,
        base_routes,
        channels_routes,
        hook_routes,
        component_routes,
        keeping_routes,
        rollout_routes,
        sizes_routes,
        variable_routes,
        credential_routes,
    )
    for part in (builds, sources, webhook, *routes, farm):
        app.include_router(part.router)
    return app.openapi()


def test_the_request_of_these_tests_sets_every_field() -> None:
    assert FULL.model_fields_set == FIELDS
    smallest = BuildRequest(tenant="t", app="a", source=SOURCE)
    assert all(getattr(FULL, name) != getattr(smallest, name) for name in FIELDS)


# Fields.


def test_the_api_takes_the_fields_of_a_request(described: dict[str, Any]) -> None:
    properties = described["components"]["schemas"]["NewBuild"]["properties"]
    # The key is a header, as HTTP has one for it.
    assert set(properties) == FIELDS - {"idempotency_key"}
    headers = described["paths"]["/v1/builds"]["post"]["parameters"]
    assert [(one["in"], one["name"], one["required"]) for one in headers] == [("header", "Idempotency-Key", True)]
    own = BuildRequest.model_json_schema()["properties"]
    # The token decides the tenant, so that most requests leave it out.
    for name in set(properties) - {"tenant"}:
        assert properties[name] == _moved(own[name]), name


def _moved(schema: Any) -> Any:
    """The schema as FastAPI writes it: with references into the document, and without a default of null."""
    if isinstance(schema, dict):
        return {key: _moved(value) for key, value in schema.items() if (key, value) != ("default", None)}
    if isinstance(schema, list):
        return [_moved(one) for one in schema]
    return schema.replace("#/$defs/", "#/components/schemas/") if isinstance(schema, str) else schema


def test_the_examples_of_the_api_are_requests(described: dict[str, Any]) -> None:
    examples = described["components"]["schemas"]["NewBuild"]["examples"]
    requests = [NewBuild.model_validate(example) for example in examples]
    assert any(request.secrets for request in requests)
    assert any(request.buildpack_order for request in requests)


def test_a_request_sent_by_the_clients_is_the_one_that_the_api_takes() -> None:
    call = calls.submit(FULL, None)
    assert call.headers == {"Idempotency-Key": FULL.idempotency_key}
    new = NewBuild.model_validate(call.body)
    assert BuildRequest(**{**dict(new), "idempotency_key": FULL.idempotency_key}) == FULL


@pytest.mark.parametrize(
    "wrong",
    [
        {"secrets": ["ABSENT"]},
        {"env": {"TOKEN": "short"}, "secrets": ["TOKEN"]},
        {"env": {"LD-PRELOAD": "x"}},
        {"buildpack_order": ["file:///etc"]},
    ],
)
def test_what_a_request_refuses_the_api_refuses(wrong: dict[str, Any]) -> None:
    fields = {"app": "a", "source": SOURCE, **wrong}
    with pytest.raises(ValueError, match="1 validation error for BuildRequest"):
        BuildRequest(tenant="t", **fields)
    with pytest.raises(ValueError, match="1 validation error for NewBuild"):
        NewBuild(**fields)


OPTIONS = {
    "tenant": {"app"},
    "app": {"app"},
    "source": {"directory", "git_url", "ref", "archive_url", "sha256"},
    "env": {"variables"},
    "secrets": {"secrets"},
    "buildpacks": {"buildpacks"},
    "buildpack_order": {"buildpack_order"},
    "cached_result": {"rebuild"},
    "clean": {"clean"},
    "build_class": {"build_class"},
    "size": {"size"},
    "run_policy": {"run_policy"},
    "expires_in_seconds": {"expires_in"},
    "idempotency_key": {"idempotency_key"},
}


def command(*names: str) -> click.Command:
    """A command of ``buildfarm``, which may be one of a group."""
    found: click.Command = main
    for name in names:
        assert isinstance(found, click.Group), names
        below = found.get_command(click.Context(found), name)
        assert below is not None, names
        found = below
    return found


def test_the_command_line_has_an_option_for_every_field() -> None:
    assert set(OPTIONS) == FIELDS
    # Those two are about the command itself: it does not wait, and what it prints.
    options = {option.name for option in command("build").params}
    assert options - {"detach", "as_json", "verbose"} == set().union(*OPTIONS.values())


INPUTS = {
    "tenant": {"tenant"},
    "app": {"app"},
    "source": {"file", "git", "ref", "archive", "sha256"},
    "env": {"env"},
    "secrets": {"secrets"},
    "buildpacks": {"buildpacks"},
    "buildpack_order": {"buildpack_order"},
    "size": {"size"},
    "cached_result": {"again"},
    "clean": {"clean"},
    "idempotency_key": {"key"},
}
# The form is for a build by hand, which is queued as the farm queues it by default.
NOT_ON_THE_PAGE = {"build_class", "run_policy", "expires_in_seconds"}


def test_the_page_has_an_input_for_every_field() -> None:
    assert set(INPUTS) == FIELDS - NOT_ON_THE_PAGE
    template = Environment(loader=PackageLoader("buildfarm.api"), autoescape=True).get_template("submit.html")
    page = template.render(
        caller={"tenant": None, "token": {"scopes": ["submit"]}}, form={}, key="k", problem=None, here=""
    )
    content = page[page.index('action="/submit"') :]
    inputs = set(re.findall(r'<(?:input|textarea)[^>]* name="(\w+)"', content.partition("</form>")[0]))
    assert inputs == {*form._FIELDS, "file"} == set().union(*INPUTS.values())


# Methods.

ONLY_INSIDE = {
    "pin": "asks a git host or an archive's server from the caller's own machine; the API calls no such address",
    "submit_if": "is for the builds of campaigns, which the farm submits itself",
    "pack_buildpack": "writes to a repository that every tenant's builds read",
}


def public(kind: type) -> dict[str, Callable[..., Any]]:
    return {
        name: value
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    }


def shape(method: Callable[..., Any]) -> list[tuple[str, object, object]]:
    parameters = inspect.signature(method).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_has_the_methods_of_the_farm(kind: type) -> None:
    inside, outside = public(Farm), public(kind)
    assert set(ONLY_INSIDE) <= set(inside)
    assert set(outside) == set(inside) - set(ONLY_INSIDE)
    for name, method in outside.items():
        assert shape(method) == shape(inside[name]), name


def first(steps: Iterator[Call[Any]]) -> Call[Any]:
    return next(steps)


# What each method sends first.
CALLS: Mapping[str, Call[Any]] = {
    "submit": calls.submit(FULL, None),
    "get": calls.get("b"),
    "queue_position": calls.get("b"),
    "image": calls.get("b"),
    "page": calls.page(5, None, None, (), ""),
    "recent": first(calls.recent(5, None, None)),
    "logs": calls.log("b", "0"),
    "log_tail": calls.log("b", "0", 5),
    "follow": Call("GET", LiveLog("", "b", "0", None).path, lambda answer: answer),
    "wait": Call("GET", LiveLog("", "b", "0", None).path, lambda answer: answer),
    "cancel": first(calls.cancel("b")),
    "take_source": calls.sent_source("shop", [b""]),
    "has_source": first(calls.has_source(SOURCE)),
    "pack": calls.source_bytes(),
    "nodes": calls.nodes(),
    "drain": calls.drain("n"),
    "builder": calls.builder(),
    "promote_builder": calls.promote_builder("builder:v2"),
    "buildpacks": calls.buildpacks(),
    "order_buildpacks": calls.order_buildpacks(["nodejs"]),
    "queue": calls.queue(20),
    "limits": keeping.limits("shop", None),
    "limits_set": keeping.limits_set(),
    "set_limits": keeping.set_limits("shop", None, {"running": 1}),
    "signing_keys": keeping.signing_keys(),
    "usage": keeping.usage("shop"),
    "retention": keeping.retention("shop", None),
    "retention_set": keeping.retention_set(),
    "set_retention": keeping.set_retention("shop", None, {"images": 1}),
    "roll_back": keeping.roll_back("b", "sha256:" + "a" * 64),
    "images_in_use": keeping.images_in_use(),
    "report_in_use": keeping.report_in_use([], 3, "n"),
    "app_image": apps.app_image("shop", "web"),
    "sbom": components.sbom("shop/web", "spdx", with_base=True),
    "contents": components.contents("shop/web", with_base=True),
    "where": components.where("npm/lodash", 5),
    "rebase": apps.rebase("shop", "web", "", dry_run=True, older=False),
    "plan_rollout": rollouts.plan_rollout("builder:v2", None, "stable"),
    "plan_rebuild": rollouts.plan_rebuild("npm/lodash@<4.17.21", None),
    "start_rollout": rollouts.deed("r1", "start", ""),
    "pause_rollout": rollouts.deed("r1", "pause", "x"),
    "resume_rollout": rollouts.deed("r1", "resume", "x", 1),
    "abort_rollout": rollouts.deed("r1", "abort", "x"),
    "rollouts": rollouts.rollouts(),
    "rollout": rollouts.rollout("r1"),
    "rollout_apps": rollouts.rollout_apps("r1", [AppState.HELD]),
    "report_health": rollouts.report_health(DIGEST, REPORT),
    "announced_bases": bases.announced_bases(),
    "report_host": bases.report_host("host-1", [f"builder@{DIGEST}"]),
    "hold_app": rollouts.hold_app("shop", "web", "x", 7),
    "release_app": rollouts.release_app("shop", "web"),
    "holds": rollouts.holds(),
    "image_changes": rollouts.image_changes("0", 4),
    "variables": variable_calls.variables("shop"),
    "set_variables": variable_calls.set_variables({"A": BuildVariable(value="b"), "B": None}, "shop", "web"),
    "credentials": credential_calls.credentials("shop"),
    "set_credential": credential_calls.set_credential("key", CREDENTIAL, "shop", "web"),
    "hooks": hook_calls.hooks("shop"),
    "make_hook": hook_calls.make_hook(NewHook(app="web", provider="github", repository="https://github.com/a/b")),
    "remove_hook": hook_calls.remove_hook("0" * 16),
    "channels": channels.channels(),
    "channel": channels.channel("next"),
    "set_channel": channels.set_channel("next", "builder:v2", "a fix"),
    "remove_channel": channels.remove_channel("next", "the trial is over"),
    "app_channel": channels.app_channel("shop", "web"),
    "set_app_channel": channels.set_app_channel("shop", "web", "next"),
    "app_size": sizes.app_size("shop", "web"),
    "set_app_size": sizes.set_app_size("shop", "web", "large"),
}
NOT_IN_THE_CLIENTS = {
    ("GET", "/healthz"): "for probes",
    ("GET", "/readyz"): "for probes",
    ("GET", "/v1/webhook"): "belongs to the API, which sends webhooks; Farm has none",
    ("PUT", "/v1/webhook"): "the same",
    ("DELETE", "/v1/webhook"): "the same",
    ("POST", "/v1/hooks/{hook_id}"): "for forges, whose signature it needs",
    ("GET", "/v1/events/live"): "Farm.events is a stream with groups of readers, which HTTP does not offer",
}


def operation(call: Call[Any], described: Mapping[str, Any]) -> tuple[str, str]:
    """The operation of the API that a call is answered by."""
    exact = [path for path in described["paths"] if path == call.path]
    patterns = [path for path in described["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), call.path)]
    (path,) = exact or patterns
    assert call.method.lower() in described["paths"][path], call
    return call.method, path


def test_every_operation_of_the_api_is_a_method_of_the_clients(described: dict[str, Any]) -> None:
    assert set(CALLS) == set(public(Client))
    used = {operation(call, described) for call in CALLS.values()}
    offered = {(verb.upper(), path) for path, verbs in described["paths"].items() for verb in verbs}
    assert not used & set(NOT_IN_THE_CLIENTS)
    assert used | set(NOT_IN_THE_CLIENTS) == offered


def parameters_of(described: Mapping[str, Any], method: str, path: str) -> Collection[str]:
    found = described["paths"][path][method.lower()].get("parameters", [])
    return {one["name"] for one in found if one["in"] == "query"}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_only_parameters_that_the_api_describes(name: str, described: dict[str, Any]) -> None:
    method, path = operation(CALLS[name], described)
    assert set(CALLS[name].parameters) <= set(parameters_of(described, method, path))


COMMANDS = {
    "pack": ("build",),
    "take_source": ("build",),  # what `pack` does over HTTP
    "has_source": ("build",),  # the same
    "submit": ("build",),
    "follow": ("build",),
    "wait": ("build",),
    "image": ("show",),
    "get": ("show",),
    "queue_position": ("show",),
    "recent": ("list",),
    "page": ("list",),
    "logs": ("logs",),
    "log_tail": ("logs",),
    "cancel": ("cancel",),
    "roll_back": ("rollback",),
    "queue": ("queue",),
    "limits": ("limits",),
    "limits_set": ("limits",),
    "set_limits": ("limits", "set"),
    "signing_keys": ("verify",),
    "usage": ("limits", "usage"),
    "retention": ("retention", "show"),
    "retention_set": ("retention", "show"),
    "set_retention": ("retention", "set"),
    "images_in_use": ("retention", "in-use"),
    "report_in_use": ("retention", "in-use"),
    "app_image": ("apps", "show"),
    "sbom": ("sbom",),
    "contents": ("compare",),
    "where": ("where",),
    "rebase": ("apps", "rebase"),
    "plan_rollout": ("rollouts", "plan"),
    "plan_rebuild": ("rollouts", "rebuild"),
    "submit_if": ("rollouts", "rebuild"),
    "start_rollout": ("rollouts", "start"),
    "pause_rollout": ("rollouts", "pause"),
    "resume_rollout": ("rollouts", "resume"),
    "abort_rollout": ("rollouts", "abort"),
    "rollouts": ("rollouts", "list"),
    "rollout": ("rollouts", "show"),
    "rollout_apps": ("rollouts", "show"),
    "image_changes": ("rollouts", "changes"),
    "report_health": ("apps", "health"),
    "announced_bases": ("prewarm-host",),
    "report_host": ("prewarm-host",),
    "hold_app": ("apps", "hold"),
    "release_app": ("apps", "release"),
    "holds": ("apps", "holds"),
    "variables": ("env", "list"),
    "set_variables": ("env", "set"),
    "credentials": ("credentials", "list"),
    "set_credential": ("credentials", "set"),
    "hooks": ("hooks", "list"),
    "make_hook": ("hooks", "make"),
    "remove_hook": ("hooks", "remove"),
    "channels": ("channels", "list"),
    "channel": ("channels", "show"),
    "set_channel": ("channels", "set"),
    "remove_channel": ("channels", "remove"),
    "app_channel": ("apps", "channel"),
    "set_app_channel": ("apps", "channel"),
    "app_size": ("apps", "size"),
    "set_app_size": ("apps", "size"),
    "nodes": ("nodes",),
    "drain": ("nodes", "drain"),
    "builder": ("builder",),
    "promote_builder": ("builder", "promote"),
    "buildpacks": ("buildpacks", "list"),
    "order_buildpacks": ("buildpacks", "use"),
    "pin": ("buildpacks", "add"),
    "pack_buildpack": ("buildpacks", "add"),
}


def test_every_method_of_the_farm_is_behind_a_command() -> None:
    assert set(COMMANDS) == set(public(Farm))
    for names in COMMANDS.values():
        assert command(*names).help
