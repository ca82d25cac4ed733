from pathlib import Path

from setuptools import setup

setup(name="shop", version="1.0", packages=["shop"], install_requires=Path("wanted.txt").read_text().split())
