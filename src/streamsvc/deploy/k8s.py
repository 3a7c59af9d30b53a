"""Kubernetes: a Deployment whose pods lose no words when they are replaced, its Service and its disruption budget."""

from collections.abc import Iterator

from streamsvc.deploy.plan import Plan, indented, quoted
from streamsvc.server.sizing import PRE_STOP_SECONDS, STOP_MARGIN_SECONDS

_TEXT = """\
# {remade}
#
{before}#   kubectl apply -f k8s.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: streamsvc
  labels: {app}
spec:
  # {replicas_why}
  replicas: {replicas}
  minReadySeconds: 5
  strategy:
    rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}
  selector:
    matchLabels: {app}
  template:
    metadata:
      labels: {app}
    spec:
      # preStop ({pre_stop}) + drain_seconds ({drain:g}) + close_seconds ({close}) + {margin} for the rest.
      terminationGracePeriodSeconds: {grace}
      enableServiceLinks: false
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: streamsvc
          image: streamsvc
          command: [streamsvc, serve]
          ports: [{{name: http, containerPort: {port}}}]
          env:
{environment}\
          envFrom:
            # The keys of providers, such as OPENAI_API_KEY.{needed}
            - secretRef: {{name: streamsvc-provider-keys, optional: {is_optional}}}
{mounts}\
          # Load balancers learn meanwhile that the pod leaves; it serves until then.
          lifecycle:
            preStop: {{exec: {{command: [sleep, "{pre_stop}"]}}}}
          # The kubelet asks the pod's address, which server.hosts need not list.
          startupProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1, failureThreshold: 60}}
          readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 1}}
          # Not /readyz: a restart would only cut the viewers of a pod that drains, or whose Redis is away.
          livenessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3}}
          resources:
            requests: {{cpu: 500m, memory: {request}Mi}}
            limits: {{memory: {memory}Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
{volumes}\
---
apiVersion: v1
kind: Service
metadata:
  name: streamsvc
  labels: {app}
spec:
  selector: {app}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: streamsvc
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {app}
"""

_SERVICE_NAMES = ("streamsvc", "streamsvc.default.svc", "streamsvc.default.svc.cluster.local")
"""The names by which the Service is reached, in the namespace `default`."""

KEYS_FILE = {"STREAMSVC_AUTH__KEYS_FILE": "/etc/streamsvc/keys/keys.toml"}
CONFIG_FILE = {"STREAMSVC_CONFIG": "/etc/streamsvc/config/config.toml"}
_LEAST_REQUEST_MIB = 256
_APP = "{app.kubernetes.io/name: streamsvc}"


def k8s(plan: Plan) -> str:
    """Return the manifests."""
    server, keys = plan.settings.server, plan.needed
    return _TEXT.format(
        remade=plan.remade(
            "k8s", "server, limits, generations, log.kind, auth, the keys of providers"
        ),
        before=indented(_before(plan), 0),
        replicas_why='One, because answers are kept in the process; with log.kind = "redis" any number shares them.'
        if not plan.is_shared
        else "Any number: they share answers in Redis. Let it follow the number of streams, not the CPU alone.",
        replicas=2 if plan.is_shared else 1,
        pre_stop=PRE_STOP_SECONDS,
        drain=server.drain_seconds,
        close=server.close_seconds,
        margin=STOP_MARGIN_SECONDS,
        grace=plan.grace_seconds,
        app=_APP,
        port=plan.port,
        environment=indented(_environment(plan), 12),
        needed=f" Needed: {', '.join(keys)}." if keys else "",
        is_optional=str(not plan.key_variables).lower(),
        mounts=indented(_mounts(plan), 10),
        volumes=indented(_volumes(plan), 6),
        request=max(_LEAST_REQUEST_MIB, plan.memory_mib // 4),
        memory=plan.memory_mib,
    )


def _needs_keys_file(plan: Plan) -> bool:
    settings = plan.settings
    return bool(settings.auth.keys_file) or not (plan.is_guarded or settings.auth.allow_anonymous)


def _before(plan: Plan) -> Iterator[str]:
    """Yield the commands that make what the manifests name."""
    if plan.has_file:
        yield "#   kubectl create configmap streamsvc --from-file=config.toml"
    if _needs_keys_file(plan):
        yield "#   streamsvc key new website --file keys.toml"
        yield "#   kubectl create secret generic streamsvc-keys --from-file=keys.toml"
    if plan.needed:
        given = " ".join(f'--from-literal={it}="${it}"' for it in plan.needed)
        yield f"#   kubectl create secret generic streamsvc-provider-keys {given}"
    if plan.is_shared:
        yield "#   kubectl create secret generic streamsvc-redis --from-literal=url=redis://…"


def _environment(plan: Plan) -> Iterator[str]:
    variables = dict(plan.in_container(KEYS_FILE))
    if plan.settings.auth.keys_file:
        variables |= KEYS_FILE
    if plan.has_file:
        variables |= CONFIG_FILE
    if plan.is_shared:
        variables["STREAMSVC_LOG__KIND"] = "redis"
    hosts = dict.fromkeys((*plan.settings.server.hosts, *_SERVICE_NAMES))
    variables["STREAMSVC_SERVER__HOSTS"] = ",".join(hosts)
    for name, text in variables.items():
        yield f"- {{name: {name}, value: {quoted(text)}}}"
    if plan.is_shared:
        yield "- name: STREAMSVC_LOG__URL"
        yield "  valueFrom: {secretKeyRef: {name: streamsvc-redis, key: url}}"


def _mounts(plan: Plan) -> Iterator[str]:
    mounted = [*_mounted(plan)]
    if mounted:
        yield "volumeMounts:"
    for name, _ in mounted:
        yield f"  - {{name: {name}, mountPath: /etc/streamsvc/{name}, readOnly: true}}"


def _volumes(plan: Plan) -> Iterator[str]:
    mounted = [*_mounted(plan)]
    if mounted:
        yield "volumes:"
    for name, source in mounted:
        yield f"  - {{name: {name}, {source}}}"


def _mounted(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the name of each volume, and what is in it."""
    if plan.has_file:
        yield "config", "configMap: {name: streamsvc}"
    if _needs_keys_file(plan):
        yield "keys", "secret: {secretName: streamsvc-keys, defaultMode: 0440}"
