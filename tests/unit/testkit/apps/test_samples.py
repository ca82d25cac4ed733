"""The description of a test app: read strictly, so that no expectation is ever passed over."""

from __future__ import annotations

import pytest

from testkit.apps.samples import APPS, Change, parse_app, read_apps


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "go" / "vendored"
    made.mkdir(parents=True)
    return made


def test_a_description_says_what_the_app_answers_before_and_after_a_change(folder):
    text = 'answers = "hello"\nchange = { file = "a", old = "hello", new = "bye", answers = "bye" }\nquick = true\n'
    app = parse_app(text, folder)
    assert (app.label, app.app_name, app.answers, app.quick) == ("go/vendored", "go-vendored", "hello", True)
    assert app.change == Change("a", "hello", "bye", "bye")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('answer = "hello"', "unknown keys: answer"),
        ("quick = true", "one of answers, prints and fails"),
        ('answers = "a"\nfails = "b"', "one of answers, prints and fails"),
        ('answers = "a"\nchange = { file = "a", old = "b", new = "c" }', "change has the keys"),
        ('family = "go"\nanswers = "a"', "unknown keys: family"),
    ],
)
def test_what_is_not_understood_is_an_error(folder, text, told):
    with pytest.raises(ValueError, match=told):
        parse_app(text, folder)


def test_a_description_without_a_folder_is_an_error(folder):
    with pytest.raises(ValueError, match="no folder other"):
        parse_app('answers = "a"', folder.with_name("other"))


def test_two_apps_of_one_name_on_the_farm_are_an_error(folder):
    for name in ("x" * 40, "x" * 41):
        (folder.parent / name).mkdir()
        (folder.parent / f"{name}.toml").write_text('answers = "a"')
    with pytest.raises(ValueError, match="both named go-xxx"):
        read_apps(folder.parents[1])


def test_a_change_of_text_that_is_not_there_is_an_error(folder):
    (folder / "a").write_text("good day")
    with pytest.raises(ValueError, match="a does not have 'hello'"):
        Change("a", "hello", "bye", "bye").apply(folder)


def test_every_app_of_the_repository_is_described_and_its_change_can_be_made():
    apps = read_apps()
    assert {path for path in APPS.glob("*/*") if path.is_dir()} == {app.folder for app in apps}
    for app in apps:
        if app.change:
            assert app.change.old in (app.folder / app.change.file).read_text(), app.label


def test_at_most_fifteen_apps_are_part_of_every_test_run():
    assert 1 <= sum(app.quick for app in read_apps()) <= 15
