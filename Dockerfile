# The operator's image: non-root, no shell needed, nothing writable but /tmp (the solver's files).
# tests/image follows these steps and runs the result.
#
#   docker build -t apportion:0.1.0 .

FROM python:3.11-slim AS builder
WORKDIR /src
RUN python -m venv /opt/apportion
COPY pyproject.toml requirements-dev.txt ./
# The tested versions, as far as the product itself needs them, and what builds it; the layer lasts until one of these
# files changes.
RUN /opt/apportion/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > direct.txt \
 && grep -v '^-e' requirements-dev.txt > pins.txt \
 && /opt/apportion/bin/pip install --no-cache-dir --disable-pip-version-check -r direct.txt -c pins.txt setuptools==80.9.0
COPY README.md LICENSE ./
COPY operator operator
RUN /opt/apportion/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/apportion/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /wheels/*.whl \
 && /opt/apportion/bin/pip uninstall --yes --disable-pip-version-check setuptools pip

FROM python:3.11-slim
LABEL org.opencontainers.image.title="apportion" \
      org.opencontainers.image.description="Elastic GPU and TPU allocation for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/apportion /opt/apportion
ENV PATH=/opt/apportion/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    HOME=/tmp
# The number, not a name: Kubernetes checks runAsNonRoot by it. 65532 is also what the chart sets.
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["python", "-m", "apportion.cli"]
CMD ["run"]
