{{/* The worker's own Docker engine. It must outlive the worker: builds that drain still need it. Arguments: root, pool. */}}
{{- define "buildfarm.engine" -}}
name: engine
image: {{ include "buildfarm.image" (dict "root" .root "image" .root.Values.images.engine) }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
command:
  {{- toYaml .root.Values.engine.command | nindent 2 }}
args:
  - --host=unix:///socket/docker.sock
  - --data-root=/var/lib/docker
  - --exec-root=/run/docker
  - --pidfile=/run/docker.pid
  - --log-driver=json-file
  - --log-opt=max-size=10m
  - --log-opt=max-file=2
  {{- if hasPrefix "http://" (include "buildfarm.registryUrl" .root) }}
  - --insecure-registry={{ include "buildfarm.registryHost" .root }}
  {{- end }}
  {{- range .root.Values.engine.extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  - name: BUILDFARM_NODE_ID
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: DOCKER_HOST
    value: unix:///socket/docker.sock
startupProbe:
  exec:
    command: [docker, version]
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
{{- /* Without one of its own, Kubernetes 1.20 takes a minute more to see that a container with a startup probe is ready. */}}
readinessProbe:
  exec:
    command: [docker, version]
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  exec:
    command: [docker, version]
  periodSeconds: 30
  timeoutSeconds: 20
  failureThreshold: 5
{{- if not (include "buildfarm.nativeSidecar" .root) }}
lifecycle:
  preStop:
    exec:
      {{- /* The worker holds this lock for as long as it needs the engine. */}}
      command: [sh, -c, 'exec flock "/var/lib/buildfarm/workspaces/$BUILDFARM_NODE_ID.lock" true']
{{- end }}
securityContext:
  privileged: {{ .root.Values.engine.privileged }}
resources:
  {{- toYaml .pool.engine.resources | nindent 2 }}
volumeMounts:
  - name: engine-data
    mountPath: /var/lib/docker
  - name: files
    mountPath: /var/lib/buildfarm
    {{- if .root.Values.engine.privileged }}
    mountPropagation: HostToContainer
    {{- end }}
  - name: socket
    mountPath: /socket
{{- end }}
