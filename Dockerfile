# Two stages: wheels are built with a compiler, the image that runs has none.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential libgmp-dev libleveldb-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md ./
COPY native native
COPY merkle merkle
COPY p2p p2p
COPY spvnode spvnode
RUN python -m venv /opt/spvnode && /opt/spvnode/bin/pip install --no-cache-dir .

FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libgmp10 libleveldb1d \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin spvnode \
    && install -d -o spvnode -g spvnode -m 0700 /data
COPY --from=build /opt/spvnode /opt/spvnode
ENV PATH=/opt/spvnode/bin:$PATH SPVNODE_DATADIR=/data PYTHONDONTWRITEBYTECODE=1
USER spvnode
VOLUME /data
EXPOSE 8343
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["spvnode", "status", "--json"]
ENTRYPOINT ["spvnode"]
CMD ["run", "--network", "bitcoin", "--listen", "/ip4/0.0.0.0/tcp/8343"]
