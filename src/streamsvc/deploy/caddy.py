"""Caddy in front of the service: it gets the certificate by itself; no prompt in its log."""

import math

from streamsvc.deploy.plan import KEPT_SECONDS, Plan, indented

_TEXT = """\
# {remade}
#
# The settings need server.hosts = [{hosts}]{root}. The service limits bodies itself, with a 413 that clients understand.

# The address of /stream-ai contains the prompt: both logs have the path without the query, and no Referer.
{{
  log {{
{filter}\
  }}
}}

{names} {{
  log {{
{filter}\
  }}

{handler}\
}}
"""

_FILTER = """\
format filter {
  wrap json
  fields {
    request>uri regexp "[?].*" ""
    request>headers>Referer delete
    request>headers>X-Api-Key delete
    request>headers>Api-Key delete
  }
}
"""

_PROXY = """\
reverse_proxy 127.0.0.1:{port} {{
  transport http {{
    keepalive {kept}s
    dial_timeout 5s
    read_timeout {whole}s
    write_timeout {request}s
  }}
}}
"""


def caddy(plan: Plan) -> str:
    """Return a Caddyfile."""
    server, names = plan.settings.server, plan.names
    proxy = _PROXY.format(
        port=plan.port,
        kept=KEPT_SECONDS,
        whole=plan.whole_seconds,
        request=math.ceil(server.request_seconds),
    )
    if server.root_path:
        inner = indented(proxy.splitlines(), 2)
        proxy = f"handle_path {server.root_path}/* {{\n{inner}}}\n"
    return _TEXT.format(
        remade=plan.remade("caddy", "server, total_seconds of providers"),
        hosts=", ".join(f'"{name}"' for name in names),
        root=f' and server.root_path = "{server.root_path}"' if server.root_path else "",
        names=", ".join(names),
        filter=indented(_FILTER.splitlines(), 4),
        handler=indented(proxy.splitlines(), 2),
    )
