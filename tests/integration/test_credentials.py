"""Redis by TLS as an ACL user, a registry by TLS with tokens for one repository, and a build through both."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import subprocess
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from buildfarm.errors import RegistryError, StoreError
from buildfarm.farm import open_farm
from buildfarm.model import State
from buildfarm.oci.registry import Registry
from testkit.builds import Builds, build_node, write_files

USER, PASSWORD = "farm", uuid.uuid4().hex
RIGHTS = "+@all -@admin -@dangerous +info +client|unblock"
ACL = f"user default off\nuser {{user}} on >{{password}} ~{{namespace}}* &{{namespace}}* {RIGHTS}\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A separate certificate authority for the loopback address: files, and the key."""
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "buildfarm tests")])
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(loopback, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return folder, key, made


@contextmanager
def container(image, port, *options, command=()):
    """A container of one of the farm's images; gives the port of this machine that it is published on."""
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    run = ["docker", "run", "--detach", "--name", name, "--network=buildfarm", f"--publish=127.0.0.1::{port}"]
    subprocess.run([*run, *options, image, *command], check=True, capture_output=True)
    try:
        asked = subprocess.run(["docker", "port", name, str(port)], check=True, capture_output=True, text=True)
        yield int(asked.stdout.split(":")[-1])
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)


def image_of(service):
    ask = ["docker", "inspect", "--format", "{{.Config.Image}}", f"buildfarm-{service}"]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()


class TokenServer(ThreadingHTTPServer):
    """Gives tokens as the distribution's specification has it, and remembers for what."""

    def __init__(self, certificate):
        self.folder, self.key, self.certificate = certificate
        self.scopes = []
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def token(self, scopes):
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        der = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        claims = {"iss": "tests", "sub": USER, "aud": "farm", "exp": now + 120, "nbf": now - 5, "iat": now, "jti": "1"}
        parts = [{"typ": "JWT", "alg": "RS256", "x5c": [der]}, {**claims, "access": access}]
        signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encode(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class _TokenHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        allowed = base64.b64decode(given).decode() == f"{USER}:{PASSWORD}"
        scopes = [one for scope in parse_qs(urlsplit(self.path).query).get("scope", []) for one in scope.split(" ")]
        self.server.scopes.append(tuple(scopes))
        body = json.dumps(
            {"token": self.server.token(scopes), "expires_in": 120} if allowed else {"errors": []}
        ).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def _encode(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def guarded(services, certificate):
    """Settings of the same farm behind TLS and credentials, and the token server."""
    folder, _, _ = certificate
    namespace = f"test-{uuid.uuid4().hex[:8]}:"
    (folder / "users.acl").write_text(ACL.format(user=USER, password=PASSWORD, namespace=namespace))
    for file in folder.iterdir():
        file.chmod(0o644)
    with ExitStack() as undo:
        files = [
            "--tls-cert-file",
            "/tls/cert.pem",
            "--tls-key-file",
            "/tls/key.pem",
            "--tls-ca-cert-file",
            "/tls/cert.pem",
        ]
        users = ["--tls-auth-clients", "no", "--aclfile", "/tls/users.acl"]
        redis_port = undo.enter_context(
            container(
                image_of("redis"), 6379, f"--volume={folder}:/tls:ro", "--entrypoint=redis-server",
                command=["--port", "0", "--tls-port", "6379", *files, *users],
            )
        )  # fmt: skip
        tokens = TokenServer(certificate)
        thread = threading.Thread(target=tokens.serve_forever)
        thread.start()
        undo.callback(thread.join)
        undo.callback(tokens.server_close)
        undo.callback(tokens.shutdown)
        variables = {
            "REGISTRY_HTTP_TLS_CERTIFICATE": "/tls/cert.pem",
            "REGISTRY_HTTP_TLS_KEY": "/tls/key.pem",
            "REGISTRY_AUTH": "token",
            "REGISTRY_AUTH_TOKEN_REALM": f"https://127.0.0.1:{tokens.server_address[1]}/token",
            "REGISTRY_AUTH_TOKEN_SERVICE": "farm",
            "REGISTRY_AUTH_TOKEN_ISSUER": "tests",
            "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": "/tls/cert.pem",
        }
        options = [f"--env={name}={value}" for name, value in variables.items()]
        # Over the same storage as the farm's own, so that the builder is in it.
        registry_port = undo.enter_context(
            container(
                image_of("registry"), 5000, f"--volume={folder}:/tls:ro", "--volumes-from=buildfarm-registry", *options
            )
        )
        yield (
            services.model_copy(
                update={
                    "namespace": namespace,
                    "redis_url": SecretStr(f"rediss://{USER}:{PASSWORD}@127.0.0.1:{redis_port}/0"),
                    "redis_ca": folder / "cert.pem",
                    "registry_url": f"https://{USER}:{PASSWORD}@127.0.0.1:{registry_port}",
                    "registry_ca": folder / "cert.pem",
                }
            ),
            tokens,
        )


def test_a_build_through_tls_and_credentials(guarded, tmp_path):
    settings, tokens = guarded
    variables = {
        "BUILDFARM_REDIS_URL": settings.redis_url.get_secret_value(),
        "BUILDFARM_REDIS_CA": str(settings.redis_ca),
        "BUILDFARM_REGISTRY_URL": settings.registry_url,
        "BUILDFARM_REGISTRY_CA": str(settings.registry_ca),
        "BUILDFARM_BUILDER": settings.builder,
    }
    with open_farm(settings) as farm:
        _wait_for(farm)
        with build_node(farm, **variables) as node:
            built = Builds(farm, node)(write_files(tmp_path, {"index.html": "hi"}), "guarded", env={"A": "secret"})
            assert built.state is State.SUCCEEDED, built.failure
            assert PASSWORD not in node.log.read_text()
    tenant = settings.namespace.strip(":")
    app = f"repository:apps/{tenant}/guarded:pull,push"
    assert (app,) in tokens.scopes
    assert (app, "repository:builder:pull") in tokens.scopes  # a layer is taken over from the builder
    # No token is for more than its request needs.
    assert all(len(scopes) <= 2 and not any("*" in scope for scope in scopes) for scopes in tokens.scopes)


def _wait_for(farm):
    deadline = time.monotonic() + 30
    while True:
        try:
            farm.registry.ping()
            farm.records.queued_count()
        except (RegistryError, StoreError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


def test_the_farms_user_reaches_its_own_keys_only(guarded):
    settings, _ = guarded
    with open_farm(settings) as farm:
        client = farm.database.client
        client.set(f"{settings.namespace}x", "1")
        for forbidden in (
            lambda: client.get("other:x"),
            client.flushall,
            lambda: client.config_get("*"),
            client.acl_list,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()


def test_an_unknown_authority_or_a_wrong_password_is_told_without_the_password(guarded):
    settings, _ = guarded
    wrong = settings.registry_url.replace(PASSWORD, "wrong-password")
    with Registry(wrong, ca=settings.registry_ca, attempts=1) as registry, pytest.raises(RegistryError) as told:
        registry.ping()
    assert "user and password" in str(told.value) and "wrong-password" not in str(told.value)
    with Registry(settings.registry_url, attempts=1) as registry, pytest.raises(RegistryError, match="certificate"):
        registry.ping()
    with open_farm(settings.model_copy(update={"redis_ca": None})) as farm, pytest.raises(StoreError):
        farm.records.queued_count()
