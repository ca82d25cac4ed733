"""Files of a source are newer than what a cache gives back, so programs that compare times make anew what is old."""

from __future__ import annotations

import re
from functools import partial

import pytest

from testkit.buildpacks import run_image, succeeded
from testkit.builds import wait_for, write_files

COMPILE = r"""#!/bin/bash
set -e
app=$1 cache=$2
# make with a file that an earlier build made
cp -a "$cache/out" "$app/" 2>/dev/null || true
make -C "$app"
# As collectstatic does: what is not newer than its copy is left alone.
mkdir -p "$cache/static"
for file in "$app"/assets/*; do
  copy=$cache/static/${file##*/}
  if [ -e "$copy" ] && [ ! "$file" -nt "$copy" ]; then echo "KEPT ${file##*/}"; else cp "$file" "$copy"; fi
done
cp -a "$cache/static" "$app/"
# As Sprockets does: what was compiled counts unless its source has a later time.
mkdir -p "$cache/assets"
compiled=$cache/assets/app.js
if [ -e "$compiled" ] && [ "$(stat -c %Y "$app/assets/app.js")" -le "$(stat -c %Y "$compiled")" ]; then
  echo "KEPT the compiled app.js"
else
  tr a-z A-Z <"$app/assets/app.js" >"$compiled"
fi
mkdir -p "$app/public" && cp "$compiled" "$app/public/"
python3 - "$app" "$cache" <<'PYTHON'
import sys, zipfile
for folder in sys.argv[1:]:
    with zipfile.ZipFile("/tmp/all.zip", "w") as archive:
        for name in ("assets/app.js", "app.c"):
            try:
                archive.write(f"{folder}/{name}")
            except FileNotFoundError:
                pass
    print("ZIPPED", folder, len(archive.namelist()))
PYTHON
echo "SOURCE $(find "$app/app.c" "$app/assets" "$app/link" -printf '%T@ ' | tr ' ' '\n' | sort -u | paste -sd,)"
echo "CACHE $([ ! -e "$cache/old" ] || stat -c %Y "$cache/old")"
touch "$app/new" && echo "NEW $(($(date +%s) - $(stat -c %Y "$app/new")))"
echo old >"$cache/old"
rm -rf "$cache/out" && cp -a "$app/out" "$cache/"
"""
MAKEFILE = "out/app: app.c\n\tmkdir -p out && cc -o $@ $<\n"


def source(folder, letter):
    write_files(
        folder,
        {
            "bin/detect": "#!/bin/sh\necho C\n",
            "bin/compile": COMPILE,
            "Makefile": MAKEFILE,
            "Procfile": "web: out/app\n",
            "app.c": f'#include <stdio.h>\nint main(void) {{ puts("{letter}"); return 0; }}\n',
            "assets/app.js": f"show('{letter}')\n",
            "assets/style.css": f"/* {letter} */\n",
            "assets/same.css": "/* same */\n",
        },
    )
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to("app.c")
    return folder


@pytest.fixture(scope="module")
def deploys(built, tmp_path_factory):
    """Three builds of one app: A, then B, then B again; and how many caches were sent after each."""
    folder = tmp_path_factory.mktemp("app")
    ended, sent = [], []
    for letter in "ABB":
        build = built(source(folder, letter), "times", cached_result=False)
        succeeded(built, build)
        ended.append(build)
        # The cache is kept after the build has ended, and before its node says so.
        wait_for(partial(_said, built.node.log, "build_ended", build.id), 30)
        sent.append(built.node.log.read_text().count('"cache_saved"'))
    return ended, sent


def _said(log, event, build_id):
    return any(f'"{event}"' in line and build_id in line for line in log.read_text().splitlines())


@pytest.mark.kind("times")
@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["web"], "B"),
        (["cat", "static/style.css"], "/* B */"),
        (["cat", "public/app.js"], "SHOW('B')"),
        (["cat", "static/same.css"], "/* same */"),
    ],
    ids=["make and the program it made before", "collectstatic", "Sprockets", "a file that did not change"],
)
def test_the_second_deploy_ships_the_changed_code(built, deploys, record_property, command, wanted):
    seen = run_image(built, deploys[0][1], *command)
    assert seen == wanted
    record_property("seen", f"the second image gives {seen}")


@pytest.mark.kind("times")
def test_zip_takes_the_files_of_a_source_and_of_a_cache(built, deploys, record_property):
    for build in deploys[0]:
        assert built.log(build).count("ZIPPED /app 2") == 1
    assert "ZIPPED /cache 1" in built.log(deploys[0][1])
    record_property("seen", "zipfile took files of both")


@pytest.mark.kind("times")
def test_sources_caches_and_what_is_written_have_their_own_times(built, deploys, record_property):
    log = built.log(deploys[0][1])
    assert re.search(r"^SOURCE 978307200\.0+$", log, re.MULTILINE), log
    assert re.search(r"^CACHE 946684800$", log, re.MULTILINE), log
    assert int(re.search(r"^NEW (\d+)$", log, re.MULTILINE)[1]) < 60
    record_property("seen", "source 2001-01-01, cache 2000-01-01, new files now")


@pytest.mark.kind("times")
def test_an_unchanged_cache_is_not_sent_again_and_the_layers_are_the_same(deploys, record_property):
    ended, sent = deploys
    assert sent[0] < sent[1] == sent[2]
    assert [layer.digest for layer in ended[1].result.layers] == [layer.digest for layer in ended[2].result.layers]
    record_property("seen", "the third build of the same source sent no cache and no layer")
