"""What the pusher gets back: `remote:` lines as they come, and at the end what became of each ref. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from buildfarm.api.routes.git_push.pkt_line import DATA, FLUSH, PROGRESS, band, pkt_line

_REASON_CHARS = 500
# A client prints what comes. Colours are left in: a terminal's other commands would act on the pusher's screen.
_COMMANDS = re.compile(r"(?!\x1b\[[0-9;]{0,20}m)[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Answer:
    """The answer to a client with these capabilities."""

    capabilities: Collection[str]

    def say(self, text: str) -> bytes:
        """Lines that git prints behind `remote:`, at once; nothing for a client that cannot show them."""
        if "side-band-64k" not in self.capabilities:
            return b""
        lines = "".join(f"{_COMMANDS.sub('', line)}\n" for line in text.split("\n"))
        return band(PROGRESS, lines.encode(errors="replace"))

    def keep_alive(self) -> bytes:
        """Bytes that show nothing, as git itself sends them while it waits (git-config, receive.keepAlive)."""
        return band(DATA, b"") if "side-band-64k" in self.capabilities else b""

    def report(self, refs: Mapping[str, str], *, unpacked: str = "ok") -> bytes:
        """The end: for each ref why it was refused, or an empty text; and whether the objects were taken."""
        if "report-status" not in self.capabilities:
            return FLUSH
        lines = [f"unpack {_one_line(unpacked)}"]
        lines += [f"ng {ref} {_one_line(why)}" if why else f"ok {ref}" for ref, why in refs.items()]
        report = b"".join(pkt_line(f"{line}\n".encode(errors="replace")) for line in lines) + FLUSH
        return band(DATA, report) + FLUSH if "side-band-64k" in self.capabilities else report


def _one_line(text: str) -> str:
    return _COMMANDS.sub(" ", text.replace("\x1b", " "))[:_REASON_CHARS]
