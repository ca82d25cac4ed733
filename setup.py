"""What setup.cfg cannot say: a wheel has a copy of images/, from which the local farm builds its images."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RECIPES = Path(__file__).parent / "images"


class BuildWithRecipes(build_py):
    """Copies modules and package data, and the recipes to where `buildfarm.recipes.folder` looks for them."""

    def run(self):
        super().run()
        # An editable installation uses the checkout's own. The images of the API and the worker have no local farm.
        if not self.editable_mode and "localfarm" in self.packages:
            target = Path(self.build_lib) / "localfarm" / "recipes"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(RECIPES, target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithRecipes})
