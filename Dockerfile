# One image, one container: the whole stack under supervisord, its sockets inside. docs/operations.md.
#   docker build -t kalshi-bus . && docker compose --profile sim up

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /opt/venv && /opt/venv/bin/python -m pip install --no-deps --require-hashes -r /tmp/requirements.lock

FROM python:3.11-slim-bookworm
# The numbers are fixed, so that a volume's files belong to the same user in every container.
RUN groupadd --gid 10001 kalshi-bus \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin kalshi-bus \
    && install -d -m 0700 -o 10001 -g 10001 /data /data/recording /run/kalshi-bus
COPY --from=build /opt/venv /opt/venv
COPY supervisord.conf pyproject.toml LICENSE /opt/kalshi-bus/
COPY markets /opt/kalshi-bus/markets
COPY bus /opt/kalshi-bus/bus
COPY publisher /opt/kalshi-bus/publisher
COPY snapshot_server /opt/kalshi-bus/snapshot_server
COPY ui /opt/kalshi-bus/ui
COPY trader /opt/kalshi-bus/trader
COPY bridge /opt/kalshi-bus/bridge
COPY alerts /opt/kalshi-bus/alerts
COPY agent_server /opt/kalshi-bus/agent_server
COPY simulator /opt/kalshi-bus/simulator
COPY laboratory /opt/kalshi-bus/laboratory
COPY kalshi_bus /opt/kalshi-bus/kalshi_bus
RUN /opt/venv/bin/python -m compileall -q /opt/kalshi-bus \
    && printf '#!/opt/venv/bin/python\nimport sys\nsys.path.insert(0, "/opt/kalshi-bus")\nfrom kalshi_bus.__main__ import main\nsys.exit(main())\n' > /opt/venv/bin/kalshi-bus \
    && chmod 0755 /opt/venv/bin/kalshi-bus
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    KALSHI_BUS_RUN_DIR=/run/kalshi-bus \
    KALSHI_BUS_DATA_DIR=/data \
    KALSHI_BUS_BIND=0.0.0.0 \
    KALSHI_BUS_TOKEN_FILE=/data/token
WORKDIR /opt/kalshi-bus
USER 10001:10001
# No VOLUME here: one without a name would look like a place that lasts.
EXPOSE 5001 5002 5004
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-m", "bus.process.container", "ready"]
ENTRYPOINT ["python", "-m", "bus.process.container"]
CMD ["run"]
