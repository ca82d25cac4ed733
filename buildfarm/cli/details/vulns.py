"""``buildfarm vulns``: the components of an image that a file of known vulnerabilities names."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buildfarm import LazyModule
from buildfarm.cli.details.components import image_argument, when_read
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from buildfarm.releases.facts.components import osv
else:
    osv = LazyModule("buildfarm.releases.facts.components.osv")

_RECORD_BYTES_MAX = 64 * 1024 * 1024


@click.command()
@image_argument
@click.option(
    "--osv", "path", required=True, type=click.Path(exists=True, path_type=Path),
    help="Records in the OSV schema: a JSON file of one or a list, a folder of such files, or a zip archive.",
)  # fmt: skip
@json_option
def vulns(image: str, path: Path, as_json: bool) -> None:
    """List the components of IMAGE, and of its base, that a file of known vulnerabilities names.

    The farm has no database of vulnerabilities: nothing is found but what the file has. Exit code 0 in any case.
    """
    with connected_farm() as farm:
        contents = when_read(lambda: farm.contents(image, with_base=True))
    debian = (one.purl for one in contents.components if one.kind == "deb")
    distribution = next(debian, "").partition("distro=")[2].partition("&")[0]
    try:
        records = osv.Records(records_in(path), contents.components, distribution)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} cannot be read: {error}.", advice="Name a file in the OSV schema.") from error
    found, gaps = records.matches(), records.gaps()
    if contents.unread:
        gaps.insert(0, f"The components of {len(contents.unread):,} files are not known: buildfarm sbom names them.")
    if as_json:
        rows = [dataclasses.asdict(one) | {"component": one.component.model_dump()} for one in found]
        told = {"image": contents.image, "records": records.count, "found": rows, "unread": contents.unread}
        click.echo(json.dumps(told | {"gaps": gaps}))
        return
    for one in found:
        where = "base" if one.component.in_base else "app"
        mended = f"fixed in {one.fixed}" if one.fixed else "no fix is named"
        doubt = "  (by the jar's name alone)" if one.by_artifact else ""
        click.echo(
            _plain(f"{one.vulnerability}  {one.component.purl}  {where}  {mended}{doubt}  {one.summary}".rstrip())
        )
    click.echo(
        f"{len(found):,} matches of {len(contents.components):,} components with {records.count:,} records.", err=True
    )
    for gap in gaps:
        click.echo(_plain(gap), err=True)


def _plain(text: str) -> str:
    """Without anything that a terminal would obey: the records come from elsewhere."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def records_in(path: Path) -> Iterator[Any]:
    """Records of a file, a folder or an archive. Raises OSError, ValueError and BadZipFile."""
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield from _records(file.read_bytes())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".json"):
                    if entry.file_size > _RECORD_BYTES_MAX:
                        raise ValueError(f"{entry.filename} is too large")
                    yield from _records(archive.read(entry))
    else:
        yield from _records(path.read_bytes())


def _records(content: bytes) -> Iterator[Any]:
    told = json.loads(content)
    if isinstance(told, list):
        yield from told
    elif isinstance(told, dict) and isinstance(told.get("vulns"), list):  # as the API of osv.dev answers
        yield from told["vulns"]
    else:
        yield told
