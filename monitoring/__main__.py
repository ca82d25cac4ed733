"""``python -m monitoring``: writes the chart's dashboards and rules; ``--check`` reports whether they are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from monitoring import grafana, prometheus
from monitoring.panels import BOARDS

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm/buildfarm"
RULES = CHART / "rules/buildfarm.yaml"
RULES_TEST = ROOT / "tests/observability/rules_test.yaml"


def files() -> dict[Path, str]:
    """Every file that is made, and its text."""
    boards = {CHART / f"dashboards/{board.name}.json": grafana.encode(board) for board in BOARDS}
    return {
        **boards,
        RULES: prometheus.rules(),
        RULES_TEST: prometheus.tests("../../helm/buildfarm/rules/buildfarm.yaml"),
    }


def main() -> int:
    """Returns the exit code: 1 where ``--check`` finds a file that is not as it would be made."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what monitoring/ makes; run `make monitoring`", file=sys.stderr)
        return bool(stale)
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
