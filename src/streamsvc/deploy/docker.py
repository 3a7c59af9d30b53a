"""The image: built from this source tree, runs as its own user."""

from streamsvc.deploy.plan import Plan, quoted
from streamsvc.server.sizing import STOP_MARGIN_SECONDS

_TEXT = """\
# {remade}
#
#   docker build -f docs/operate/deploy/Dockerfile -t streamsvc .         in the source tree
#   docker run --rm -p 127.0.0.1:{port}:{port} --stop-timeout {stop} \\
#     -e STREAMSVC_AUTH__ALLOW_ANONYMOUS=true streamsvc
#
# In the container the service listens on every address, so the settings must say who may use it: keys
# (auth.keys_file), tokens (jwt.issuer), or everybody, as above, where only this machine reaches the port.

FROM python:3.13-slim AS build
WORKDIR /src
# Nothing can be compiled later: the service may not write to its image.
ENV UV_COMPILE_BYTECODE=1
RUN pip install uv
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN uv build --wheel --out-dir /dist
RUN python -m venv --without-pip /opt/streamsvc
RUN uv pip install --python /opt/streamsvc/bin/python "$(ls /dist/streamsvc-*.whl)[{extras}]"

FROM python:3.13-slim
COPY --from=build /opt/streamsvc /opt/streamsvc
RUN useradd --system --uid 10001 --user-group --home-dir /etc/streamsvc --create-home streamsvc
USER 10001:10001
# The service reads config.toml from here, if there is one.
WORKDIR /etc/streamsvc
ENV PATH=/opt/streamsvc/bin:$PATH \\
    PYTHONUNBUFFERED=1 \\
    STREAMSVC_SERVER__HOST=0.0.0.0 \\
    STREAMSVC_SERVER__PORT={port}
EXPOSE {port}
# Not /readyz: a restart would only cut the viewers of a service that drains, or whose Redis is away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD {healthy}
# It drains for {drain:g} s, closes within {close} s, and has {margin} s for the rest: docker stop --time {stop}.
STOPSIGNAL SIGTERM
CMD ["streamsvc", "serve"]
"""


def dockerfile(plan: Plan) -> str:
    """Return a Dockerfile."""
    server = plan.settings.server
    return _TEXT.format(
        remade=plan.remade("docker", "server.port, server.drain_seconds, server.close_seconds"),
        port=plan.port,
        stop=plan.stop_seconds,
        extras="all",
        healthy=f"[{', '.join(map(quoted, plan.healthy))}]",
        drain=server.drain_seconds,
        close=server.close_seconds,
        margin=STOP_MARGIN_SECONDS,
    )
