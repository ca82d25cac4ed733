"""Which build variables may be set: names that steer no program of the farm, and certificates that are ones. Pure."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping

from buildfarm.config_vars import check_env, check_secrets
from buildfarm.config_vars.build_variables import CERTIFICATES, BuildVariable
from buildfarm.errors import RequestError

_ADVICE = "See docs/company-network.md."
# They would change what the farm's own steps do in a sandbox: their contract, the shell, the loader, git, tar, Python.
_RESERVED = re.compile(
    r"PATH|HOME|STACK|APP|APP_DIR|BUILD_DIR|CACHE_DIR|ENV_DIR|INTO|REQUEST_ID|SOURCE_VERSION|BUILDPACK_\w+|BUILDFARM_\w*"
    r"|buildfarm_\w*|CNB_\w+|IFS|ENV|CDPATH|GLOBIGNORE|POSIXLY_CORRECT|PS4|BASH|BASH_\w+|BASHOPTS|BASHPID|SHELLOPTS|SHLVL"
    r"|PWD|OLDPWD|_|E?UID|PPID|GROUPS|DIRSTACK|FUNCNAME|FUNCNEST|HISTCMD|LINENO|OPT(IND|ERR|ARG)|REPLY|S?RANDOM|SECONDS"
    r"|EPOCH\w+|MAPFILE|COMP_WORDBREAKS|PIPESTATUS|TMOUT|LD_\w+|GCONV_PATH|LOCPATH|GLIBC_TUNABLES|MALLOC_\w+"
    r"|GIT_(?!(SSL_\w+|CONFIG_GLOBAL|MIRROR\w*|AUTHOR_\w+|COMMITTER_\w+|HTTP_\w+)$)\w+"
    r"|TAR_OPTIONS|GZIP|XZ_(OPT|DEFAULTS)|PYTHON(?!(UNBUFFERED|UTF8|IOENCODING|HASHSEED|DONTWRITEBYTECODE)$)\w+|word|left"
)


def check_variables(changes: Mapping[str, BuildVariable | None]) -> None:
    """Raises RequestError that names the first change that cannot be accepted, never its value."""
    wanted = {name: variable.value for name, variable in changes.items() if variable is not None}
    try:
        check_env({**dict.fromkeys(changes, ""), **wanted})
        check_secrets(wanted, [name for name, variable in changes.items() if variable and variable.secret])
    except ValueError as error:
        raise RequestError(f"{str(error)[0].upper()}{str(error)[1:]}.", advice=_ADVICE) from error
    for name in wanted:
        if _RESERVED.fullmatch(name):
            raise RequestError(
                f"{name} cannot be set for all builds: the farm's own steps depend on it.",
                advice="Set it as a config var of the app's builds.",
            )
    if wanted.get(CERTIFICATES):
        _check_certificates(wanted[CERTIFICATES])


def _check_certificates(text: str) -> None:
    if "PRIVATE KEY" in text:
        raise RequestError(f"{CERTIFICATES} has a private key.", advice="Give the certificates alone.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: not ASCII
        raise RequestError(
            f"{CERTIFICATES} is not a list of certificates in PEM: "
            "each begins with -----BEGIN CERTIFICATE----- and must be whole, and all is ASCII, comments too.",
            advice=_ADVICE,
        ) from error
