"""What popular packages need beside Python, which their wheels do not bring and the builder may lack."""

from __future__ import annotations

import os
from collections.abc import Iterable

from python_plan.app import App

# A distribution; a library, or a program, that it looks for when it runs; the Debian package that has it.
NEEDS = (
    ("opencv-python", "libGL.so.1", "libgl1"),
    ("opencv-contrib-python", "libGL.so.1", "libgl1"),
    ("pyvista", "libGL.so.1", "libgl1"),
    ("pyzbar", "libzbar.so.0", "libzbar0t64"),
    ("pyvips", "libvips.so.42", "libvips42t64"),
    ("sounddevice", "libportaudio.so.2", "libportaudio2"),
    ("pyenchant", "libenchant-2.so.2", "libenchant-2-2"),
    ("python-magic", "libmagic.so.1", "libmagic1t64"),
    ("weasyprint", "libpangoft2-1.0.so.0", "libpangoft2-1.0-0"),
    ("cairosvg", "libcairo.so.2", "libcairo2"),
    ("cairocffi", "libcairo.so.2", "libcairo2"),
    ("psycopg", "libpq.so.5", "libpq5"),
    ("pytesseract", "tesseract", "tesseract-ocr"),
    ("ocrmypdf", "tesseract", "tesseract-ocr"),
    ("pydub", "ffmpeg", "ffmpeg"),
    ("ffmpeg-python", "ffmpeg", "ffmpeg"),
    ("openai-whisper", "ffmpeg", "ffmpeg"),
    ("pdf2image", "pdftoppm", "poppler-utils"),
    ("graphviz", "dot", "graphviz"),
    ("pydot", "dot", "graphviz"),
    ("selenium", "chromedriver", "chromium-driver"),
)
_LIBRARIES = ("usr/lib", "lib", ".apt/usr/lib", ".apt/lib")
_PROGRAMS = ("usr/local/bin", "usr/bin", ".apt/usr/bin")


def hints(app: App, names: Iterable[str]) -> list[str]:
    """A sentence for each distribution that will miss something."""
    installed, listed = set(names), app.text("Aptfile").split()
    wanted = [need for need in NEEDS if need[0] in installed and need[2] not in listed]
    return [
        f"{name} needs {file} when it runs: write {package} in an Aptfile, and name the buildpack apt before python."
        for name, file, package in wanted
        if not _is_there(app, file)
    ]


def _is_there(app: App, file: str) -> bool:
    roots = (app.system, app.root)
    if ".so." in file:
        machine = f"{os.uname().machine}-linux-gnu"
        places = [f"{folder}/{part}" for folder in _LIBRARIES for part in (machine, "")]
    else:
        places = list(_PROGRAMS)
    return any(os.path.exists(f"{root}/{place}/{file}") for root in roots for place in places)
