{{/* Build nodes come in pools: that of the value worker, and one for each of worker.pools, which is like it in what it leaves out. */}}

{{/* All pools as YAML. What their templates need of each beside the values: suffix, component, kind, slots, drainSeconds, graceSeconds, scaling. */}}
{{- define "buildfarm.pools" -}}
{{- $values := .Values }}
{{- $pools := list }}
{{- range $given := prepend (default (list) .Values.worker.pools) (dict) }}
{{- /* Maps and lists as a whole: the selector of a pool has no entry of the other one's. */}}
{{- $pool := include "buildfarm.over" (list (omit $values.worker "pools") (omit $given "engine" "autoscaling")) | fromYaml }}
{{- $engine := default (dict) $given.engine }}
{{- $persistence := include "buildfarm.over" (list $values.engine.persistence (default (dict) $engine.persistence)) | fromYaml }}
{{- $_ := set $pool "engine" (dict "resources" (default $values.engine.resources $engine.resources) "persistence" $persistence) }}
{{- $_ := set $pool "scaling" (include "buildfarm.over" (list (omit $values.autoscaling "keda" "hpa" "apiService") (default (dict) $given.autoscaling)) | fromYaml) }}
{{- $_ := set $pool "kind" (ternary "StatefulSet" "Deployment" $persistence.enabled) }}
{{- $settings := include "buildfarm.over" (list (pick $values.settings "slots" "drain_seconds") (default (dict) $given.settings)) | fromYaml }}
{{- $_ := set $pool "slots" $settings.slots }}
{{- $_ := set $pool "drainSeconds" $settings.drain_seconds }}
{{- /* Longer than the longest drain: the hand-back after it takes 20 s, the engine's own stop 15 s. */}}
{{- $_ := set $pool "graceSeconds" (add (ceil (float64 $settings.drain_seconds) | int64) 60) }}
{{- $_ := set $pool "suffix" (ternary (printf "worker-%s" (default "" $given.name)) "worker" (hasKey $given "name")) }}
{{- $_ := set $pool "component" $pool.suffix }}
{{- $_ := set $pool "sizes" (default (splitList "," (nospace $values.settings.node_sizes)) $given.sizes) }}
{{- $_ := set $pool "settings" (include "buildfarm.poolSettings" (dict "given" $given "pool" $pool "values" $values) | fromYaml) }}
{{- $pools = append $pools $pool }}
{{- end }}
{{- toYaml $pools }}
{{- end -}}

{{/* The first map with what the second one has otherwise; Helm's merge would take no 0 and no false. */}}
{{- define "buildfarm.over" -}}
{{- $made := dict }}
{{- range $map := . }}
{{- range $name, $value := $map }}
{{- $_ := set $made $name $value }}
{{- end }}
{{- end }}
{{- toYaml $made }}
{{- end -}}

{{/* The settings in which a pool differs. Its nodes have room for as many builds of its largest size as they have slots, unless they say otherwise. */}}
{{- define "buildfarm.poolSettings" -}}
{{- if hasKey .given "name" -}}
{{- $memory := 0 }}
{{- $cpus := 0.0 }}
{{- $values := .values }}
{{- range $size := .pool.sizes }}
{{- $parts := include "buildfarm.sizeParts" (dict "values" $values "size" $size) | fromYaml }}
{{- $memory = max $memory (int64 $parts.memory) }}
{{- $cpus = maxf $cpus (float64 $parts.cpus) }}
{{- end }}
{{- $slots := int64 .pool.slots }}
{{- $ours := dict "node_sizes" (join "," .pool.sizes) "node_memory_bytes" (mul $memory $slots) "node_cpus" (mulf $cpus (float64 $slots)) }}
{{- include "buildfarm.over" (list $ours (default (dict) .given.settings)) }}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* memory in bytes, cpus and seconds of a size, as settings.sizes has them or else as standard; known is false if it is not there. Arguments: values, size. */}}
{{- define "buildfarm.sizeParts" -}}
{{- $settings := .values.settings }}
{{- $memory := int64 $settings.memory_bytes }}
{{- $cpus := $settings.cpus }}
{{- $seconds := $settings.build_seconds }}
{{- $known := eq .size "standard" }}
{{- $size := .size }}
{{- range $named := splitList "," $settings.sizes }}
{{- if hasPrefix (printf "%s=" $size) $named }}
{{- $known = true }}
{{- range $part := splitList "/" (trimPrefix (printf "%s=" $size) $named) }}
{{- $value := last (splitList ":" $part) }}
{{- if hasPrefix "memory:" $part }}
{{- $memory = mul (int64 (regexFind "^[0-9]+" $value)) (ternary 1073741824 1048576 (hasSuffix "GiB" $value)) }}
{{- else if hasPrefix "cpus:" $part }}
{{- $cpus = $value }}
{{- else if hasPrefix "seconds:" $part }}
{{- $seconds = $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "memory" $memory "cpus" (float64 $cpus) "seconds" (float64 $seconds) "known" $known | toYaml }}
{{- end -}}

{{/* All pools' names as a selector has them, so that one policy or monitor is for all of them. Arguments: the root. */}}
{{- define "buildfarm.workerSelector" -}}
{{- $pools := include "buildfarm.pools" . | fromYamlArray -}}
{{- if eq (len $pools) 1 -}}
matchLabels:
  {{- include "buildfarm.selector" (dict "root" . "component" "worker") | nindent 2 }}
{{- else -}}
matchLabels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values:
      {{- range $pools }}
      - {{ .component }}
      {{- end }}
{{- end -}}
{{- end -}}

{{/* settings.sizes_on_demand, and the sizes of pools that an autoscaler brings down to none: only a waiting build starts their first node. */}}
{{- define "buildfarm.onDemand" -}}
{{- $sizes := compact (splitList "," (nospace .Values.settings.sizes_on_demand)) }}
{{- if .Values.autoscaling.keda.enabled }}
{{- range rest (include "buildfarm.pools" . | fromYamlArray) }}
{{- if eq (int .scaling.minReplicas) 0 }}
{{- $sizes = concat $sizes .sizes }}
{{- end }}
{{- end }}
{{- end }}
{{- join "," (uniq $sizes) }}
{{- end -}}
