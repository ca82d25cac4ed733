"""tools/house finds what it is there to find, and this checkout has none of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def house(load_program):
    return load_program(ROOT / "tools/house")


@pytest.fixture
def checkout(tmp_path):
    """``checkout({path: text}, "top | middle", …)`` is a checkout with these modules, and a contract for workers."""

    def make(files, *layers):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        rows = "".join(f"    {row}\n" for row in layers)
        contract = "[importlinter:contract:workers]\ntype = layers\ncontainers = workers\nlayers =\n"
        (tmp_path / "setup.cfg").write_text(f"{contract}{rows}exhaustive = True\n")
        return tmp_path

    return make


def beyond(house, root):
    return [item for row in house.measure(root, house.read_sources(root)) for item in row.beyond]


def rooms_of(house, files):
    return house.find_rooms({path: ast.parse(text) for path, text in files.items()})


READING = {"buildfarm/model.py": "A = 1\n", "buildfarm/farm.py": "A = 1\n", "workers/pipeline.py": "A = 1\n"}


def test_a_checkout_within_the_limits(house, checkout, capsys):
    root = checkout({**READING, "workers/node.py": "from workers import pipeline\n"}, "node", "pipeline")
    with (root / "setup.cfg").open("a") as file:
        file.write("[importlinter:contract:buildfarm]\ntype = layers\ncontainers = buildfarm\n")
        file.write("layers =\n    farm\n    model\nexhaustive = True\n")
    assert house.main(root) == 0
    assert "FALLS SHORT" not in capsys.readouterr().out


def test_an_import_against_the_layers_or_beside_them(house, checkout):
    files = {**READING, "workers/a.py": "from workers.b import x\n", "workers/b.py": "x = 1\n"}
    assert "workers.a → b" in beyond(house, checkout(files, "b", "a", "pipeline"))
    assert "workers.a → b" in beyond(house, checkout(files, "a | b", "pipeline"))
    assert "workers.a → b" not in beyond(house, checkout(files, "a", "b", "pipeline"))


def test_a_module_without_a_layer_and_a_room_without_a_contract(house, checkout):
    found = beyond(house, checkout({**READING, "workers/new.py": "A = 1\n"}, "pipeline"))
    assert "workers.new has no layer" in found
    assert "buildfarm has no contract" in found


def test_a_cycle_between_folders(house):
    rooms = rooms_of(
        house,
        {
            "workers/one/a.py": "from workers.two import b\n",
            "workers/two/b.py": "import workers.one.c\n",
            "workers/one/c.py": "",
        },
    )
    assert [room.cycle() for room in rooms if room.cycle()] in (
        ["workers: one → two → one"],
        ["workers: two → one → two"],
    )


def test_an_import_counts_where_its_ends_part(house):
    files = {"workers/one/a.py": "from workers.one.b import x\nimport json\n", "workers/one/b.py": "x = 1\n"}
    arrows = {room.name: room.arrows for room in rooms_of(house, files)}
    assert arrows == {"workers": {"one": set()}, "workers.one": {"a": {"b"}, "b": set()}}


@pytest.mark.parametrize(("count", "full"), [(16, 0), (17, 1)])
def test_a_full_room(house, count, full):
    rooms = rooms_of(house, {f"workers/room/m{number}.py": "" for number in range(count)})
    assert sum(len(row.beyond) for row in house.fullness(rooms)) == full


def test_functions_without_their_docstrings(house):
    body = "    x = 1\n" * 59
    fits = ast.parse(f'def f():\n    """One.\n\n    Two.\n    """\n{body}')
    long = ast.parse(f"def f():\n{body}    x = 1\n")
    parser = ast.parse(f"@click.command()\n@click.option('--a')\ndef f():\n{body}{body[:190]}")
    assert house.function_lines({"a.py": fits}).beyond == ()
    assert house.function_lines({"a.py": long}).beyond == ("a.py: f has 61",)
    assert house.function_lines({"a.py": parser}).beyond == ()


def test_long_modules(house):
    sizes = {f"workers/m{number}.py": "\n" * (300 if number < 2 else 50) for number in range(10)}
    median, tenth = house.module_lines(sizes)
    assert not median.beyond
    assert tenth.beyond == ("workers/m1.py: 300", "workers/m0.py: 300")


def test_a_reading_path_that_is_not_there(house):
    assert house.reading_path({}).beyond
