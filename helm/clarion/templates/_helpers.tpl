{{- define "clarion.fullname" -}}
{{- $base := .root.Release.Name | trunc 50 | trimSuffix "-" -}}
{{- printf "%s-%s" $base .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "clarion.selector" -}}
app.kubernetes.io/name: clarion
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "clarion.labels" -}}
{{ include "clarion.selector" . }}
app.kubernetes.io/part-of: clarion
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "clarion.image" -}}
{{- $tag := .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- $name := .service.image | default (printf "clarion-%s" .name) -}}
{{- if .root.Values.image.registry -}}{{ .root.Values.image.registry }}/{{- end -}}{{ $name }}:{{ $tag }}
{{- end -}}

{{/* The environment that every container of the mesh has. */}}
{{- define "clarion.environment" -}}
{{- $connections := .root.Values.connections -}}
- {name: CLARION_LISTEN, value: "0.0.0.0:50051"}
{{- if .service.webhooks }}
- {name: CLARION_WEBHOOK_LISTEN, value: "0.0.0.0:50052"}
{{- end }}
- {name: CLARION_DRAIN_SECONDS, value: {{ .service.drainSeconds | quote }}}
- {name: CLARION_STREAM_REPLICAS, value: {{ .root.Values.streamReplicas | quote }}}
- {name: CLARION_API_KEYS_FILE, value: /etc/clarion/credentials/api-keys.json}
- {name: CLARION_SERVICE_KEY_FILE, value: /etc/clarion/credentials/service.key}
- name: CLARION_NATS_URL
  valueFrom: {secretKeyRef: {name: {{ $connections.secret }}, key: {{ $connections.natsKey }}}}
- name: CLARION_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $connections.secret }}, key: {{ $connections.redisKey }}}}
- name: CLARION_POSTGRES_URL
  valueFrom: {secretKeyRef: {name: {{ $connections.secret }}, key: {{ $connections.postgresKey }}}}
{{- range $neighbour, $_ := .root.Values.services }}
- {name: CLARION_{{ upper $neighbour }}_TARGET, value: "dns:///{{ include "clarion.fullname" (dict "root" $.root "name" $neighbour) }}:50051"}
{{- end }}
- {name: OTEL_SERVICE_NAME, value: clarion-{{ .name }}}
{{- with .root.Values.otlpEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := .service.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "clarion.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
