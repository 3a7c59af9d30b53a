"""systemd: a unit of a service that drains before it stops."""

from collections.abc import Iterator

from streamsvc.deploy.plan import Plan, indented
from streamsvc.server.sizing import STOP_MARGIN_SECONDS

_TEXT = """\
# {remade}
#
#   python3 -m venv /opt/streamsvc && /opt/streamsvc/bin/pip install 'streamsvc{extras}'
#   useradd --system --home-dir /etc/streamsvc streamsvc
#   install -D -m 644 streamsvc.service /etc/systemd/system/streamsvc.service
#   install -D -m 600 /dev/null /etc/streamsvc/environment   # the keys of providers: OPENAI_API_KEY=…, one a line
#   systemctl enable --now streamsvc
#
# The settings are /etc/streamsvc/config.toml.{needed}{keys_file}
[Unit]
Description=streamsvc streams language-model answers word by word
Wants=network-online.target
After=network-online.target{after}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/opt/streamsvc/bin/streamsvc serve
{reload}\
WorkingDirectory=/etc/streamsvc
EnvironmentFile=-/etc/streamsvc/environment
{environment}\
User=streamsvc
Group=streamsvc

# Only the main process gets SIGTERM: it drains, and ends its workers.
KillMode=mixed
KillSignal=SIGTERM
# drain_seconds ({drain:g}) + close_seconds ({close}) + {margin} for the rest; then systemd kills it.
TimeoutStopSec={stop}
Restart=always
RestartSec=1
# Wrong settings: a restart would not help.
RestartPreventExitStatus=2

LimitNOFILE={descriptors}
MemoryMax={memory}M

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native
{capabilities}\
UMask=0077

[Install]
WantedBy=multi-user.target
"""

_FIRST_OPEN_PORT = 1024
"""The first port that needs no privilege (ip(7))."""


def systemd(plan: Plan) -> str:
    """Return a `streamsvc.service`."""
    server, settings, keys = plan.settings.server, plan.settings, plan.needed
    watched = "server, limits and generations"
    return _TEXT.format(
        remade=plan.remade("systemd", watched),
        extras=f"[{','.join(plan.extras)}]" if plan.extras else "",
        needed=f" Its environment needs {', '.join(keys)}." if keys else "",
        keys_file=" Keys: chgrp streamsvc and chmod 640 " + settings.auth.keys_file
        if settings.auth.keys_file
        else "",
        capabilities=indented(_capabilities(plan), 0),
        after=" redis-server.service valkey.service" if plan.is_shared else "",
        reload=indented(_reload(plan), 0),
        environment=indented(_environment(plan), 0),
        drain=server.drain_seconds,
        close=server.close_seconds,
        margin=STOP_MARGIN_SECONDS,
        stop=plan.stop_seconds,
        descriptors=plan.descriptors,
        memory=plan.memory_mib,
    )


def _reload(plan: Plan) -> Iterator[str]:
    yield "# `systemctl reload streamsvc` reads the settings again."
    if plan.settings.server.workers > 1:
        yield "# After an upgrade, `systemctl kill --kill-whom=main -s USR2 streamsvc` replaces one worker after another."
    yield "ExecReload=/bin/kill -HUP $MAINPID"


def _capabilities(plan: Plan) -> Iterator[str]:
    if plan.port < _FIRST_OPEN_PORT:
        yield "AmbientCapabilities=CAP_NET_BIND_SERVICE"
        yield "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
    else:
        yield "CapabilityBoundingSet="


def _environment(plan: Plan) -> Iterator[str]:
    for name, text in plan.variables.items():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        yield f'Environment="{name}={escaped}"'
