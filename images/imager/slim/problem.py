"""What ends the making of an image: a sentence, and nothing else."""

import subprocess
import sys
from collections import deque


class Problem(Exception):  # noqa: N818 - it is the recipe's, not the program's
    """The recipe cannot be followed."""


def say(sentence: str) -> None:
    """A line in the build's log."""
    sys.stdout.write(f"-----> {sentence}\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """The last line, which the node makes the build's failure of."""
    sys.stdout.flush()
    sys.stderr.write(f"{sentence}\n")


def run(*command: str, cwd: object = None) -> None:
    """Runs a command whose output goes to the log as it comes. Raises Problem with its last line if it fails."""
    with subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        last: deque[bytes] = deque([b"(it said nothing)"], maxlen=1)
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            if line.strip():
                last.append(line)
    if process.returncode:
        said = last[0].decode(errors="replace").strip()
        raise Problem(f"{command[0]} ended with {process.returncode}: {said}")


def ask(*command: str, cwd: object = None) -> str:
    """What a command prints. Raises Problem if it fails."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout + done.stderr
