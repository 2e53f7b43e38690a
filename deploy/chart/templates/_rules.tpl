{{- /* What is read of the namespaces that are watched, and written into them. */ -}}
{{- define "narthex.watchRules" -}}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets, configmaps]
  {{- if .Values.controller.watchAllSecrets }}
  verbs: [get, list, watch]
  {{- else }}
  # Each by its name, when an Ingress refers to it; never a list.
  verbs: [get, watch]
  {{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "narthex.clusterRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
{{- if .Values.controller.scope.namespaceSelector }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}
{{- $publishes := or .Values.controller.publishStatusAddress (and .Values.controller.publishService.enabled (or .Values.controller.service.enabled .Values.controller.publishService.pathOverride)) }}
{{- if not $publishes }}
# The addresses of the nodes that replicas run on are what Ingresses' status says.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
{{- if .Values.controller.admissionWebhooks.enabled }}
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [{{ include "narthex.fullname" . }}-admission]
  verbs: [get, watch, patch]
{{- end }}
{{- end -}}
