{{/* Names, labels and the few decisions that more than one template needs. */}}

{{- define "buildfarm.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Selectors never change in the life of a release. Arguments: root, component. */}}
{{- define "buildfarm.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "buildfarm.labels" -}}
{{ include "buildfarm.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "buildfarm.meta" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "buildfarm.labels" . | nindent 2 }}
{{- end -}}

{{/* repository:tag, or repository@digest if one is given. Arguments: root, image. */}}
{{- define "buildfarm.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* A number as people write it: Helm reads all numbers as floats, and prints large ones with an exponent. */}}
{{- define "buildfarm.value" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* The Secret that holds redis-url, farm-key and whatever else is secret. */}}
{{- define "buildfarm.secret" -}}
{{ .Values.secrets.existingSecret | default (include "buildfarm.fullname" .) }}
{{- end -}}

{{- define "buildfarm.registryUrl" -}}
{{- if .Values.registry.enabled -}}
http://{{ include "buildfarm.registryHost" . }}
{{- else -}}
{{ .Values.registry.external.url }}
{{- end -}}
{{- end -}}

{{- define "buildfarm.downloadsUrl" -}}
{{- if .Values.downloads.enabled -}}
http://{{ include "buildfarm.fullname" . }}-downloads.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:8090
{{- else -}}
{{ .Values.downloads.url }}
{{- end -}}
{{- end -}}

{{- define "buildfarm.registryHost" -}}
{{- if .Values.registry.enabled -}}
{{ include "buildfarm.fullname" . }}-registry.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:5000
{{- else -}}
{{ (urlParse .Values.registry.external.url).host }}
{{- end -}}
{{- end -}}

{{/* Whether a CronJob collects the registry's garbage: it needs the registry's files, which an S3 bucket is not. */}}
{{- define "buildfarm.collects" -}}
{{- if and .Values.registry.enabled .Values.registry.collection.enabled (or .Values.registry.s3.bucket .Values.registry.persistence.enabled) -}}true{{- end -}}
{{- end -}}

{{/* The keys of the registry's bucket, from this Secret. */}}
{{- define "buildfarm.bucketEnv" -}}
- name: REGISTRY_STORAGE_S3_ACCESSKEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: access-key
- name: REGISTRY_STORAGE_S3_SECRETKEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: secret-key
{{- end -}}

{{/* A sidecar that Kubernetes itself stops after the worker: from 1.29 on. */}}
{{- define "buildfarm.nativeSidecar" -}}
{{- if semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version -}}true{{- end -}}
{{- end -}}

{{/* What every container of the farm's own sets, but for the engine. Arguments: none but the root. */}}
{{- define "buildfarm.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Arguments: user. */}}
{{- define "buildfarm.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The variables that come from the Secret. */}}
{{- define "buildfarm.secretEnv" -}}
- name: BUILDFARM_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "buildfarm.secret" . }}
      key: redis-url
- name: BUILDFARM_FARM_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "buildfarm.secret" . }}
      key: farm-key
{{- if .Values.redis.tls.existingSecret }}
- name: BUILDFARM_REDIS_CA
  value: /etc/buildfarm/redis-tls/ca.crt
{{- end }}
{{- if .Values.registry.external.existingSecret }}
- name: BUILDFARM_REGISTRY_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.registry.external.existingSecret }}
      key: registry-url
{{- end }}
{{- end -}}

{{/* Certificates of Redis, mounted where redis.tls names them. */}}
{{- define "buildfarm.tlsVolume" -}}
{{- if .Values.redis.tls.existingSecret }}
- name: redis-tls
  secret:
    secretName: {{ .Values.redis.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "buildfarm.tlsMount" -}}
{{- if .Values.redis.tls.existingSecret }}
- name: redis-tls
  mountPath: /etc/buildfarm/redis-tls
  readOnly: true
{{- end }}
{{- end -}}

{{/* A change of what a pod reads at its start makes new pods. */}}
{{- define "buildfarm.checksums" -}}
checksum/settings: {{ include (print .Template.BasePath "/settings.yaml") . | sha256sum }}
{{- end -}}
