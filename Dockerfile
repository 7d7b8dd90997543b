# syntax=docker/dockerfile:1
#
# bvllm serve on a CPU, with the embedded model inside: it answers without any network. See docs/docker.md.
#
#     docker build -t bvllm --build-arg PIP_EXTRA_INDEX_URL=<an index with CPU builds of torch> .

# In production name the image by its digest, so that a rebuild is the same: --build-arg PYTHON=python@sha256:...
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
# Without it, torch for x86-64 comes with several gigabytes of CUDA libraries, and the build stops below.
ARG PIP_EXTRA_INDEX_URL
ENV PIP_CACHE_DIR=/pip-cache PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# The same path in both stages: the scripts of an environment carry it.
RUN python -m venv /opt/venv

# Torch alone and first: the largest layer, which changes least. What only its developers need goes at once,
# since a later layer would free nothing.
COPY constraints.txt ./
RUN --mount=type=cache,target=/pip-cache \
    /opt/venv/bin/python -m pip install -c constraints.txt torch numpy \
 && cd /opt/venv/lib/python3.*/site-packages/torch \
 && rm -rf test include && find bin -type f ! -name torch_shm_manager -delete \
 && /opt/venv/bin/python -I -c "import sys, torch; sys.exit('torch must be the CPU build, got one with CUDA: add --build-arg PIP_EXTRA_INDEX_URL=<an index with CPU builds of torch>' if torch.version.cuda else 0)"

# What bvllm asks for, without bvllm: this layer outlives a change of our own source.
COPY pyproject.toml docker/requirements.py ./
RUN --mount=type=cache,target=/pip-cache \
    python requirements.py pyproject.toml serve > requirements.txt \
 && /opt/venv/bin/python -m pip install -c constraints.txt -r requirements.txt

COPY README.md LICENSE ./
COPY src src
RUN --mount=type=cache,target=/pip-cache \
    /opt/venv/bin/python -m pip install --no-deps . \
 && /opt/venv/bin/python -m pip uninstall --yes pip setuptools \
 && /opt/venv/bin/python -I -c "import bvllm.server.app"

FROM ${PYTHON}
LABEL org.opencontainers.image.title="bvllm" \
      org.opencontainers.image.description="Questions about long videos, answered on a fixed budget of visual tokens" \
      org.opencontainers.image.licenses="Apache-2.0"
# A user with an entry in passwd, since torch asks for its name, and with a number, which Kubernetes can check.
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin bvllm \
 && install --directory --owner=10001 --group=10001 /data /data/index /data/uploads /data/tmp
COPY --from=build /opt/venv /opt/venv
COPY docker/health.py /opt/health.py
# The root may be read-only: what is written goes to /data (videos, index, frames on their way) and /tmp.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    USER=bvllm \
    HOME=/tmp \
    TMPDIR=/data/tmp \
    XDG_CACHE_HOME=/tmp \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    BVLLM_INDEX=/data/index \
    HF_HOME=/models \
    HF_HUB_OFFLINE=1 \
    MALLOC_ARENA_MAX=2
VOLUME /data
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-I", "/opt/health.py"]
# In this form the server itself is process 1 and hears SIGTERM.
ENTRYPOINT ["bvllm", "serve", "--host", "0.0.0.0", "--port", "8000", "--upload-dir", "/data/uploads"]
CMD ["--api-key-file", "/run/secrets/bvllm-key"]
