"""Run by bin/plan."""

import sys

from python_plan.plan import main

main(*sys.argv[1:3])
