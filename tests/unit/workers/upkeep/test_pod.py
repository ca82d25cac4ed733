"""A node on Kubernetes tells what its pod's deletion would cost."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from buildfarm.errors import NodeError
from workers.upkeep.pod import ANNOTATION, Pod, deletion_cost


@pytest.mark.parametrize(("builds", "cost"), [(0, 0), (1, 11), (4, 14)])
def test_an_idle_pod_is_the_cheapest_and_a_fuller_one_dearer(builds, cost):
    assert deletion_cost(builds) == cost


@pytest.fixture
def kubernetes(tmp_path):
    """An API that keeps what it is sent, and credentials for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "ca.crt").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "token").write_text("first")
    (tmp_path / "namespace").write_text("builds")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PATCH(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.seen.append((self.path, self.headers["Authorization"], body))
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.status, server.folder = [], 200, tmp_path
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_each_change_is_told_once_with_the_token_of_that_moment(kubernetes):
    pod = Pod(f"https://127.0.0.1:{kubernetes.server_port}", "worker-1", kubernetes.folder)
    pod.tell_cost(0)
    pod.tell_cost(0)
    (kubernetes.folder / "token").write_text("second")
    pod.tell_cost(2)
    path = "/api/v1/namespaces/builds/pods/worker-1/status"
    assert kubernetes.seen == [
        (path, "Bearer first", {"metadata": {"annotations": {ANNOTATION: "0"}}}),
        (path, "Bearer second", {"metadata": {"annotations": {ANNOTATION: "12"}}}),
    ]


def test_what_was_refused_is_told_again(kubernetes):
    pod = Pod(f"https://127.0.0.1:{kubernetes.server_port}", "worker-1", kubernetes.folder)
    kubernetes.status = 403
    with pytest.raises(NodeError, match="403"):
        pod.tell_cost(1)
    kubernetes.status = 200
    pod.tell_cost(1)
    assert len(kubernetes.seen) == 2
