"""The chart's promises: ``python -m verify.chart`` on a farm that is up."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from buildfarm import __version__
from buildfarm.settings import read_settings
from testkit.chart.manifests import (
    CHART,
    ROOT,
    VALUE_SETS,
    Manifest,
    built_in_complaints,
    custom_complaints,
    helm,
    is_custom,
    only,
    read,
    render,
)
from testkit.chart.tools import HELM, checkov
from testkit.table import Claims
from verify.chart import garbage, pools, processes
from verify.chart.bad_values import BAD_COMBINATIONS, BAD_VALUES
from verify.queue import sentinel, sizing

OLDEST, NEWEST = "1.25.0", "1.37.0"  # of the schemas; the chart itself begins at 1.20
RENDERED = ("1.20.0", OLDEST, NEWEST)
DEFAULT = CHART / "ci" / "default-values.yaml"


def main() -> None:
    claims = Claims("The farm on Kubernetes")
    with tempfile.TemporaryDirectory() as folder:
        linted(claims)
        matrix(claims, Path(folder))
        same_by_both(claims)
        lists_a_bucket(claims)
        refused(claims)
        pools.run(claims)
        released(claims, Path(folder))
        policies(claims, Path(folder))
    processes.run(claims)
    garbage.run(claims)
    sizing.run(claims)
    sentinel.run(claims)  # last: it names another Redis to this process
    claims.finish()


def linted(claims: Claims) -> None:
    runs = list(itertools.product(HELM, VALUE_SETS))
    failed = [
        values.name
        for release, values in runs
        if helm(release.helm(), "lint", "--strict", CHART, "-f", values).returncode
    ]
    versions = " and ".join(release.version for release in HELM)
    claims.add(f"helm {versions} lint --strict all value sets", f"{len(runs)} runs, {len(failed)} failed", not failed)


def matrix(claims: Claims, folder: Path) -> None:
    """Every value set by both Helms, and everything they make against the schemas."""
    complaints, count, kinds, customs = [], 0, Counter[str](), 0
    for release, values, version in itertools.product(HELM, VALUE_SETS, RENDERED):
        text, complaint = render(release.helm(), values, version)
        count += 1
        if complaint:
            complaints.append(f"{values.name} for {version} by helm {release.version}: {complaint}")
            continue
        manifests = read(text)
        kinds.update(str(item["kind"]) for item in manifests)
        custom = [item for item in manifests if is_custom(item)]
        customs += len(custom)
        complaints += [f"{values.name}: {line}" for line in custom_complaints(custom)]
        if version != RENDERED[0]:
            path = folder / "rendered.yaml"
            path.write_text(yaml.safe_dump_all(item for item in manifests if not is_custom(item)))
            complaints += [f"{values.name} for {version}: {line}" for line in built_in_complaints(path, version)]
    claims.add(
        f"{len(VALUE_SETS)} value sets x {len(RENDERED)} Kubernetes x {len(HELM)} Helm fit the schemas of"
        f" {OLDEST} and {NEWEST}",
        "; ".join(complaints[:3])
        or f"{count} renderings, {kinds.total()} resources of {len(kinds)} kinds, no complaint",
        not complaints and len(VALUE_SETS) >= 6,
    )
    claims.add("custom resources fit their CRD schemas", f"{customs} resources", customs > 0)


def same_by_both(claims: Claims) -> None:
    """Both Helms make the same of the same values; what is made up at random is given here."""
    given = ("--set", "redis.password=p,secrets.farmKey=k")
    different = []
    for values in VALUE_SETS:
        made = [_without_random(render(release.helm(), values, NEWEST, *given)[0]) for release in HELM]
        if made[0] != made[1]:
            different.append(values.name)
    claims.add("both Helms make the same", f"{len(VALUE_SETS)} sets, {len(different)} differ", not different)


def lists_a_bucket(claims: Claims) -> None:
    """Where the registry's files are out of reach, its own collector lists them first, and only looks."""
    bucket = next(values for values in VALUE_SETS if "bucket" in values.read_text())
    job = only(read(render(HELM[0].helm(), bucket, NEWEST)[0]), "CronJob", "registry-gc")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    commands = [" ".join(one["command"]) for one in (*pod["initContainers"], *pod["containers"])]
    words = ("date", "garbage-collect --dry-run", "buildfarm gc --listing=")
    holds = len(commands) == len(words) and all(map(str.__contains__, commands, words))
    claims.add("a bucket is listed before it is collected", f"{len(commands)} containers in this order", holds)


def _without_random(text: str) -> list[Manifest]:
    manifests = read(text)
    for item in manifests:
        item.get("stringData", {}).pop("registry-http-secret", None)
    return sorted(manifests, key=lambda item: (item["kind"], item["metadata"]["name"]))


def refused(claims: Claims) -> None:
    for what, cases in (("bad values by the schema", BAD_VALUES), ("bad combinations by a guard", BAD_COMBINATIONS)):
        accepted = []
        for release in HELM:
            for name, (setting, words) in cases.items():
                text, complaint = render(release.helm(), DEFAULT, NEWEST, "--set", setting)
                by_schema = "specifications of the schema" in complaint
                if text or words not in complaint or by_schema != (cases is BAD_VALUES):
                    accepted.append(f"{name} ({complaint[-120:] or 'accepted'})")
        figure = f"{len(cases)} x {len(HELM)} Helm, all refused" if not accepted else "; ".join(accepted)
        claims.add(f"{what} are refused", figure, not accepted)


def released(claims: Claims, folder: Path) -> None:
    """Packaged, pushed to the farm's own registry, and rendered from there."""
    host = urlsplit(read_settings().registry_url).netloc
    for release in HELM:
        program = release.helm()
        target = folder / release.version
        packaged = helm(program, "package", CHART, "--destination", target)
        archives = list(target.glob("*.tgz"))
        pushed = helm(program, "push", *archives, f"oci://{host}/charts", "--plain-http")
        text, complaint = render(
            program, DEFAULT, NEWEST, "--plain-http", "--version", __version__, chart=f"oci://{host}/charts/buildfarm"
        )
        done = packaged.returncode == 0 and len(archives) == 1 and pushed.returncode == 0 and bool(text)
        figure = (
            f"{archives[0].stat().st_size:,} bytes, {len(read(text))} resources" if done else complaint or pushed.stderr
        )
        claims.add(f"helm {release.version} packages, pushes to the farm's registry, renders from it", figure, done)


def policies(claims: Claims, folder: Path) -> None:
    """Checkov, with the skips of helm/checkov.yaml, each of which names its reason and is needed."""
    skips = yaml.safe_load((ROOT / "helm" / "checkov.yaml").read_text())
    text, _ = render(HELM[-1].helm(), CHART / "ci" / "keda-values.yaml", NEWEST)
    path = folder / "policies.yaml"
    path.write_text(yaml.safe_dump_all(item for item in read(text) if not is_custom(item)))
    command = [
        str(checkov()),
        "-f",
        str(path),
        "--framework",
        "kubernetes",
        "--compact",
        "--quiet",
        "--skip-download",
        "-o",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder)
    results = json.loads(done.stdout)
    failed = [(item["check_id"], item["resource"]) for item in results["results"]["failed_checks"]]
    unskipped, used = [], set()
    for check, resource in failed:
        keys = [key for key in skips.get(check, {}) if key == "all" or f".{key}" in resource or f"-{key}" in resource]
        used |= {(check, key) for key in keys}
        if not keys:
            unskipped.append(f"{check} {resource}")
    stale = {(check, key) for check, places in skips.items() for key in places} - used
    figure = f"{results['summary']['passed']} checks passed, {len(used)} skips with their reasons"
    problems = [*unskipped, *(f"skip of {check} for {key} is not needed" for check, key in sorted(stale))]
    claims.add("checkov finds nothing that has no reason", "; ".join(problems[:6]) or figure, not problems)


if __name__ == "__main__":
    main()
