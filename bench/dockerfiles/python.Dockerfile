# The best we know for BuildKit: dependencies before code, and a cache for the installer.
ARG BASE
FROM $BASE
USER root
WORKDIR /app
COPY requirements.txt ./
RUN --mount=type=secret,id=certificates,target=/run/certificates.crt --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv .venv && PIP_CERT=/run/certificates.crt .venv/bin/pip install --quiet --requirement requirements.txt
COPY . ./
