"""A one-line change, from the folder to the image: ``python -m bench.redeploy [ROUNDS]`` on a farm that is up.

A round builds once in each way, in turn: this farm, the version before (BEFORE in the environment names a commit), and,
where a Dockerfile is there, BuildKit of the same engine with a warm cache. The whole operation counts: packing the
folder, submit, queue, build, and the tag in the registry. APPS=small,growth runs these parts alone; only a run of every
part writes bench/results/redeploy.json.
"""
