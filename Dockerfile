# One image for every service: docker-compose.yml says which role each one plays.
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv && python -m venv /venv
WORKDIR /src
COPY pyproject.toml setup.py requirements.lock README.md LICENSE slack-manifest.yaml docker-compose.yml ./
COPY retention retention
COPY workers workers
COPY bot bot
COPY templates templates
# The locked versions, without what only the demo and the tests need.
RUN VIRTUAL_ENV=/venv uv pip install --no-cache --constraint requirements.lock '.[postgres,traces]'

FROM python:3.11-slim
# libgomp: scikit-learn and implicit compute with it.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home retention && install -d -o retention -g retention /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 RETENTION_HOME=/data
USER retention
WORKDIR /data
VOLUME /data
EXPOSE 8000
CMD ["retention", "run"]
