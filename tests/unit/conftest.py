"""A registry in this process, and programs of the checkout that are not modules: as modules for tests, and compiled."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from buildfarm.oci.registry import Registry
from testkit.registry.fake import FakeRegistry

PROGRAMS = Path(__file__).parents[2] / "images/builder/programs"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry that keeps everything in memory."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def registry(fake: FakeRegistry) -> Iterator[Registry]:
    """A client of it that tries each request once."""
    with Registry(f"http://{fake.host}", timeout_seconds=30, attempts=1) as registry:
        yield registry


@pytest.fixture(scope="session")
def load_program() -> Callable[[Path], ModuleType]:
    """``load_program(path)`` is a Python program without a suffix as a module. Nothing is written beside it."""

    def load(path: Path) -> ModuleType:
        loader = SourceFileLoader(f"program_{path.name.replace('-', '_').replace('.', '_')}", str(path))
        spec = spec_from_loader(loader.name, loader)
        assert spec
        module = module_from_spec(spec)
        sys.modules[loader.name] = module  # dataclasses look their module up
        writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = writes
        return module

    return load


@pytest.fixture(scope="session")
def compile_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``compile_program("init")`` is the path of this C program of the builder, compiled as the builder has it.

    Further arguments are options of the compiler, such as -DNAME=VALUE for another bound.
    """

    def compiled(name: str, *options: str) -> str:
        if shutil.which("cc") is None:
            pytest.skip("there is no C compiler")
        program = tmp_path_factory.mktemp(name) / name
        source = PROGRAMS / f"{name}.c"
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", *options, "-o", program, source], check=True)
        return str(program)

    return compiled
