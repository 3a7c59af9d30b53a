"""nginx in front of the service: TLS, no prompt in its log, and time limits above those of the service."""

import math

from streamsvc.deploy.plan import KEPT_SECONDS, Plan

_TEXT = """\
# {remade}
#
# In conf.d/ or sites-enabled/, within http. The settings need server.hosts = [{hosts}]{root}.

upstream streamsvc {{
  server 127.0.0.1:{port};
  keepalive 64;
  keepalive_requests 10000;
  keepalive_timeout {kept}s;         # less than the service keeps an idle connection
}}

# The address of /stream-ai contains the prompt: the log has the path without the query, and no Referer.
log_format streamsvc '$remote_addr [$time_local] "$request_method $uri" $status $body_bytes_sent $request_time';

server {{
  listen 443 ssl http2;         # one connection for all streams of a browser; from nginx 1.25.1: http2 on;
  server_name {names};
  ssl_certificate     /etc/ssl/certs/streamsvc.pem;
  ssl_certificate_key /etc/ssl/private/streamsvc.key;

  access_log /var/log/nginx/streamsvc.log streamsvc;
  error_log  /var/log/nginx/streamsvc-error.log crit;   # lines of lower levels contain the query

  keepalive_requests 10000;     # a page with many streams keeps its connection
  client_max_body_size {body};          # limits.max_body_bytes
  client_header_timeout {request}s;   # server.request_seconds
  client_body_timeout {request}s;
  send_timeout {send}s;            # stream.send_timeout_seconds

  location {path} {{
    proxy_pass http://streamsvc{target};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-Proto $scheme;   # what is for this machine only, such as /metrics, is not for clients
    proxy_set_header Connection "";
    proxy_buffering off;
    proxy_cache off;
    gzip off;
    proxy_connect_timeout 5s;
    proxy_read_timeout {silence}s;     # above stream.ping_seconds, and above the provider's deadlines: plain text has no keepalives
    proxy_next_upstream off;    # a request that is sent again would ask the model again
  }}

  # An answer in one piece is silent until its end (total_seconds of the providers).
  location = {base}/v1/chat/completions {{
    proxy_pass http://streamsvc{whole_target};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Connection "";
    proxy_buffering off;
    gzip off;
    proxy_connect_timeout 5s;
    proxy_read_timeout {whole}s;
    proxy_next_upstream off;
  }}
}}
"""


def nginx(plan: Plan) -> str:
    """Return the part of an nginx configuration that is included in `http`."""
    server, names = plan.settings.server, plan.names
    base = server.root_path
    return _TEXT.format(
        remade=plan.remade(
            "nginx", "server, stream, limits.max_body_bytes, total_seconds of providers"
        ),
        hosts=", ".join(f'"{name}"' for name in names),
        root=f' and server.root_path = "{base}"' if base else "",
        port=plan.port,
        kept=KEPT_SECONDS,
        names=" ".join(names),
        body=plan.settings.limits.max_body_bytes,
        request=math.ceil(server.request_seconds),
        send=math.ceil(plan.settings.stream.send_timeout_seconds),
        path=f"{base}/" if base else "/",
        target="/" if base else "",
        base=base,
        whole_target="/v1/chat/completions" if base else "",
        silence=plan.silence_seconds,
        whole=plan.whole_seconds,
    )
