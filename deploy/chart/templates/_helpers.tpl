{{- define "narthex.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "narthex.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "narthex.selectorLabels" -}}
{{- /* The name is what kubectl narthex finds pods by. */ -}}
app.kubernetes.io/name: narthex
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.controller.name }}
{{- end -}}

{{- define "narthex.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "narthex.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: narthex
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "narthex.metadata" -}}
name: {{ .name }}
namespace: {{ include "narthex.namespace" .root }}
labels:
  {{- include "narthex.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "narthex.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "narthex.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "narthex.image" -}}
{{- $image := .Values.controller.image -}}
{{- with default $image.registry .Values.global.image.registry }}{{ . }}/{{ end -}}
{{- $image.image -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{- define "narthex.electionID" -}}
{{- default (printf "%s-leader" (include "narthex.fullname" .)) .Values.controller.electionID -}}
{{- end -}}

{{- define "narthex.watchedNamespace" -}}
{{- default (include "narthex.namespace" .) .Values.controller.scope.namespace -}}
{{- end -}}

{{- /* The Service whose addresses are told, as namespace/name; nothing if none is. */ -}}
{{- define "narthex.publishedService" -}}
{{- with .Values.controller -}}
{{- if and .publishService.enabled (not .publishStatusAddress) -}}
{{- if .publishService.pathOverride -}}
{{- .publishService.pathOverride -}}
{{- else if .service.enabled -}}
{{- printf "%s/%s" (include "narthex.namespace" $) (include "narthex.fullname" $) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A ServiceMonitor of the Services of metrics that a selector finds: dict root, name, labels, selector. */ -}}
{{- define "narthex.serviceMonitor" -}}
{{- $monitor := .root.Values.controller.metrics.serviceMonitor -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .name }}
  namespace: {{ default (include "narthex.namespace" .root) $monitor.namespace }}
  labels:
    {{- .labels | nindent 4 }}
    {{- with $monitor.additionalLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $monitor.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  namespaceSelector:
    matchNames: [{{ include "narthex.namespace" .root }}]
  selector:
    matchLabels:
      {{- .selector | nindent 6 }}
      narthex.dev/service: metrics
  endpoints:
    - port: metrics
      interval: {{ $monitor.scrapeInterval }}
      {{- with $monitor.relabelings }}
      relabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $monitor.metricRelabelings }}
      metricRelabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}
