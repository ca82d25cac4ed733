"""Builds two of the examples through the queue, runs their images, asks them over HTTP, and prints what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

EXAMPLES = Path(__file__).parent
CLI = [sys.executable, "-m", "buildfarm"]
ANSWER_SECONDS = 30


def main() -> None:
    for name in ("python", "node"):
        print(f"== {name}: building", flush=True)
        image = build(EXAMPLES / name, f"demo/{name}")
        print(f"== {name}: running {image}", flush=True)
        print(f"== {name}: it answers {ask(image)}", flush=True)


def build(directory: Path, app: str) -> str:
    """The reference of the app's image; what the build said goes to the terminal."""
    subprocess.run([*CLI, "build", str(directory), "--app", app], check=True)
    shown = subprocess.run(
        [*CLI, "list", "--app", app, "--limit", "1", "--json"], check=True, capture_output=True, text=True
    )
    result = json.loads(shown.stdout)[0]["result"]
    status = subprocess.run([*CLI, "status", "--json"], check=True, capture_output=True, text=True)
    registry = next(part["detail"] for part in json.loads(status.stdout) if part["name"] == "registry")
    return f"{registry}/{result['repository']}@{result['digest']}"


def ask(image: str) -> str:
    """What the image's web process answers. The engine chooses a free port, and the container is gone afterwards."""
    run = ["docker", "run", "--detach", "--rm", "--init", "--publish", "127.0.0.1::8080", "--env", "GREETING=hello you"]
    container = subprocess.run([*run, image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        port = ["docker", "port", container, "8080/tcp"]
        address = subprocess.run(port, check=True, capture_output=True, text=True).stdout.split()[0]
        return get(f"http://{address}/")
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=False, capture_output=True)


def get(url: str) -> str:
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                answer: bytes = response.read()
                return answer.decode().strip()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
