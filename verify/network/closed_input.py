"""The port of the farm's cache of packages on a machine whose firewall drops what it does not name, as that of ufw."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from buildfarm.settings import read_settings
from testkit.apps.counters import settled
from testkit.apps.package_cache import cache_image, summed
from testkit.builds import write_files
from testkit.cluster.engines import OWN
from testkit.cluster.machine import Machine
from testkit.cluster.shell import run, wait
from testkit.table import Claims
from verify.network.engines.node import open_trial

_PORT, _METRICS_PORT, _OTHER_PORT = 8090, 8091, 8092
# ufw's: what answers, and what is this machine's own
_RULES = ("-A INPUT -i lo -j ACCEPT", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-P INPUT DROP")
_APP = {
    "bin/detect": "#!/bin/bash\necho App\n",
    "bin/compile": f"""#!/bin/bash
set -e
pip download --quiet --no-deps --no-cache-dir -d /tmp/wheels six==1.17.0
place=${{BUILDFARM_APT_CACHE#http://}}
echo "other $(curl -sm 3 -o /dev/null -w '%{{http_code}}' "http://${{place%:*}}:{_OTHER_PORT}/" || true)"
""",
    "Procfile": "web: true\n",
}


def tell(claims: Claims) -> None:
    """A node with its own network, so that no rule of this machine is touched."""
    with open_trial(OWN) as trial, tempfile.TemporaryDirectory() as folder:
        machine, form = trial.machine, "--format={{range .IPAM.Config}}{{.Gateway}}{{end}}"
        gateway = machine.docker("network", "inspect", form, *trial.networks()).strip()
        place = f"{gateway}:{_PORT}"
        _start(machine, place)
        machine.start("other", sys.executable, "-m", "http.server", "--bind", gateway, str(_OTHER_PORT))
        wait(lambda: bool(trial.get(f"http://{place}/_health")), lambda: machine.docker("logs", "cache"))
        image = f"{trial.farm.registry.host}/{trial.farm.builder()}"
        before = _reached(machine, image, place)
        for rule in _RULES:
            run(*machine.inside(), "iptables", "--wait", *rule.split())
        after = _reached(machine, image, place)
        trial.restart(BUILDFARM_DOWNLOADS_URL=f"http://{place}")
        build = trial.ended(trial.submit(write_files(Path(folder), _APP), "closed"))
        log = "\n".join(line.text for line in trial.farm.logs(build.id))
        metrics = f"http://127.0.0.1:{_METRICS_PORT}/metrics"
        came = settled(lambda: summed(trial.get(metrics), "upstream_bytes", "pypi"))
        figure = (
            f"another container got {before} there before that, {after} then; a build fetched {came:,} bytes by it "
            f"at attempt {build.attempt}; the port beside it was closed: {'other 000' in log}"
        )
        holds = (before, after, build.attempt) == (200, 0, 1) and came > 0 and "other 000" in log and place in log
        claims.add(
            "behind a firewall whose policy of INPUT is DROP, builds reach the cache's port alone", figure, holds
        )


def _start(machine: Machine, place: str) -> None:
    """The cache on the node's engine, whose network it has."""
    image, certificates = cache_image(), read_settings().ca_bundle
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        subprocess.run(
            ["docker", "--host", machine.docker_url, "load"], check=True, stdin=saved.stdout, stdout=subprocess.DEVNULL
        )
    machine.docker(
        "run", "--detach", "--init", "--name=cache", "--network=host", "--read-only", "--tmpfs=/tmp:size=16m",
        f"--env=LISTEN={place}", f"--env=METRICS_LISTEN=127.0.0.1:{_METRICS_PORT}", "--env=CACHE_MB=256",
        *([f"--volume={certificates}:/run/certificates.pem:ro"] if certificates else []), image,
    )  # fmt: skip


def _reached(machine: Machine, image: str, place: str) -> int:
    """The status that a container of the engine's own bridge gets; 0 for no answer."""
    ask = ["run", "--rm", image, "curl", "-sm", "3", "-o", "/dev/null", "-w", "%{http_code}", f"http://{place}/_health"]
    return int(run("docker", "--host", machine.docker_url, *ask, check=False).strip() or 0)
