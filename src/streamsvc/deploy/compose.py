"""Docker Compose: the service on this machine, with Valkey if answers are kept in Redis."""

from collections.abc import Iterator, Mapping

from streamsvc.deploy.plan import Plan, indented, quoted

_TEXT = """\
# {remade}
#
#   docker compose up --build          in the source tree, as its compose.yaml; then open http://127.0.0.1:{port}/
#
# {access}
name: streamsvc

services:
  streamsvc:
    image: streamsvc
    build:
      context: .
      dockerfile: docs/operate/deploy/Dockerfile
    init: true
    restart: unless-stopped
    # Only this machine reaches it, through a proxy with TLS if there is one.
    ports: ["127.0.0.1:{port}:{port}"]
    environment:
{environment}\
    # The keys of providers, such as OPENAI_API_KEY=…, one a line; nobody else should be able to read it.{needed}
    env_file: [{{path: provider-keys.env, required: {is_needed}}}]
{volumes}\
    healthcheck:
      test: {healthy}
      interval: 10s
      timeout: 5s
      start_period: 20s
    # drain_seconds ({drain:g}) + close_seconds ({close}) + some for the rest. Compose kills after 10 s by default.
    stop_grace_period: {stop}s
    stop_signal: SIGTERM
    ulimits:
      nofile: {descriptors}
    mem_limit: {memory}m
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
{redis}"""

_REDIS = """\
    depends_on:
      valkey: {condition: service_healthy}

  valkey:
    image: valkey/valkey:9
    # It must not evict keys. Answers are kept for minutes, so nothing is written to disk.
    command: [valkey-server, --save, "", --appendonly, "no", --maxmemory, 512mb, --maxmemory-policy, noeviction]
    restart: unless-stopped
    healthcheck:
      test: [CMD, valkey-cli, ping]
      interval: 2s
      timeout: 2s
      start_period: 10s
"""

ANONYMOUS = {"STREAMSVC_AUTH__ALLOW_ANONYMOUS": "true"}
REDIS_URL = {"STREAMSVC_LOG__KIND": "redis", "STREAMSVC_LOG__URL": "redis://valkey:6379/0"}


def compose(plan: Plan) -> str:
    """Return a `compose.yaml`."""
    server, keys = plan.settings.server, plan.needed
    watched = "server, limits, generations, log.kind and auth"
    return _TEXT.format(
        remade=plan.remade("compose", watched),
        access="Callers need a key or a token."
        if plan.is_guarded
        else "Everybody on this machine may use it: the settings ask for no key (auth.keys_file).",
        port=plan.port,
        environment=indented(_environment(plan), 6),
        needed=f"\n    # Needed: {', '.join(keys)}." if keys else "",
        is_needed=str(bool(plan.key_variables)).lower(),
        volumes=indented(_volumes(plan), 4),
        healthy=f"[{', '.join(map(_escaped, ('CMD', *plan.healthy)))}]",
        drain=server.drain_seconds,
        close=server.close_seconds,
        stop=plan.stop_seconds,
        descriptors=plan.descriptors,
        memory=plan.memory_mib,
        redis=_REDIS if plan.is_shared else "",
    )


def _environment(plan: Plan) -> Iterator[str]:
    access: Mapping[str, str] = ANONYMOUS
    variables = {**plan.in_container(access), **(REDIS_URL if plan.is_shared else {})}
    for name, text in variables.items():
        yield f"{name}: {_escaped(text)}"


def _volumes(plan: Plan) -> Iterator[str]:
    mounted = ["./config.toml"] if plan.has_file else []
    mounted += [plan.settings.auth.keys_file] if plan.settings.auth.keys_file else []
    if mounted:
        yield "# The service is user 10001 there, and has to be able to read them."
        yield "volumes:"
    for path in mounted:
        place = path if path.startswith("/") else f"/etc/streamsvc/{path.removeprefix('./')}"
        source = path if path.startswith(("/", "./")) else f"./{path}"
        yield f"  - {_escaped(f'{source}:{place}:ro')}"


def _escaped(text: str) -> str:
    """Return a string in YAML for Compose, which takes `$` for a variable."""
    return quoted(text.replace("$", "$$"))
