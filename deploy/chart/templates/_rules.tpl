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
{{- if .Values.gatewayAPI.enabled }}
# Each Gateway gets a Service, whose endpoints are Narthex's replicas.
- apiGroups: [""]
  resources: [services]
  verbs: [create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [create, patch, delete]
{{ include "narthex.gatewayRules" . }}
{{- end }}
{{- if .Values.controller.watchAllSecrets }}
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, list, watch]
{{- else }}
# Each by its name, when an object refers to it; never a list.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, watch]
{{- end }}
{{- if .Values.certificates.enabled }}
# Certificates, and the keys of accounts at CAs. What is not marked as Narthex's is not written.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, update, patch]
{{- end }}
- apiGroups: [cert-manager.io]
  resources: [issuers, certificates]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* The objects of Gateway API, but for GatewayClasses. */ -}}
{{- define "narthex.gatewayRules" -}}
- apiGroups: [gateway.networking.k8s.io]
  resources:
    - backendtlspolicies
    - gateways
    - grpcroutes
    - httproutes
    - listenersets
    - referencegrants
    - tcproutes
    - tlsroutes
    - udproutes
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources:
    - backendtlspolicies/status
    - gateways/status
    - grpcroutes/status
    - httproutes/status
    - listenersets/status
    - tcproutes/status
    - tlsroutes/status
    - udproutes/status
  verbs: [patch]
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackends, xbackendtrafficpolicies]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackends/status, xbackendtrafficpolicies/status]
  verbs: [patch]
{{- end -}}

{{- /* What a Gateway's own Deployment reads everywhere, and whose status it writes. */ -}}
{{- define "narthex.dedicatedRules" -}}
- apiGroups: [""]
  resources: [services, namespaces]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
- apiGroups: [cert-manager.io]
  resources: [issuers, clusterissuers, certificates]
  verbs: [get, list, watch]
{{ include "narthex.gatewayRules" . }}
# Each by its name, when an object refers to it; never a list.
- apiGroups: [""]
  resources: [configmaps{{ if .Values.gatewayAPI.dedicated.allSecrets }}, secrets{{ end }}]
  verbs: [get, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* What it may do in its Gateway's namespace. */ -}}
{{- define "narthex.dedicatedNamespaceRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [create, patch, delete]
{{- end -}}

{{- /* What it takes to make them. */ -}}
{{- define "narthex.dedicatedMakerRules" -}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings, clusterrolebindings]
  verbs: [get, list, watch, create, patch, delete]
# No other rights than these can be given by those bindings.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames:
    - {{ include "narthex.fullname" . }}-gateway
    - {{ include "narthex.fullname" . }}-gateway-namespace
  verbs: [bind]
{{- end -}}

{{- /* The pull secrets that are written, by their names. */ -}}
{{- define "narthex.pullSecrets" -}}
{{- $names := list "awsecr-cred" "gcr-secret" "dpr-secret" "acr-secret" -}}
{{- range $name, $spec := .Values.registryCredentials.manifests -}}
{{- $names = append $names (default $name $spec.secretName) -}}
{{- end -}}
{{- join ", " (uniq (concat $names .Values.registryCredentials.formerSecrets)) -}}
{{- end -}}

{{- /* What it takes to bring credentials of registries into namespaces. */ -}}
{{- define "narthex.registryCredentialsRules" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{ include "narthex.pullSecretsRules" . }}
{{- end -}}

{{- /* The same in one namespace. */ -}}
{{- define "narthex.pullSecretsRules" -}}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [list, watch, patch]
# By their names alone. What is not marked as Narthex's is not written.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "narthex.pullSecrets" . }}]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* The namespaces that they are brought into, if those are named. */ -}}
{{- define "narthex.pullSecretsNamespaces" -}}
{{- $names := .Values.registryCredentials.namespaces -}}
{{- if .Values.registryCredentials.skipKubeSystem -}}
{{- $names = without $names "kube-system" -}}
{{- end -}}
{{- join "," (uniq $names) -}}
{{- end -}}

{{- /* The Secrets that say whom to ask for them. */ -}}
{{- define "narthex.registryCredentialsSourceRules" -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [registry-creds-ecr, registry-creds-gcr, registry-creds-dpr, registry-creds-acr]
  verbs: [list, watch]
{{- if .Values.registryCredentials.scoped }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- end -}}

{{- define "narthex.clusterRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
- apiGroups: [cert-manager.io]
  resources: [clusterissuers]
  verbs: [get, list, watch]
{{- if .Values.gatewayAPI.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch]
{{- end }}
# Listeners, and controller.scope.namespaceSelector, select namespaces by their labels.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- if not .Values.controller.takeOver }}
# Whether an ingress-nginx is running.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [ingress-nginx-leader, ingress-controller-leader]
  verbs: [list]
{{- end }}
{{- if not (or .Values.controller.publishStatusAddress (include "narthex.publishedService" .)) }}
# The addresses of the nodes that replicas run on are what Ingresses' status says.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
{{- if .Values.gatewayAPI.dedicated.enabled }}
# A Deployment for each Gateway that asks for one.
{{ include "narthex.dedicatedMakerRules" . }}
{{- end }}
{{- if .Values.controller.admissionWebhooks.enabled }}
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [{{ include "narthex.fullname" . }}-admission]
  verbs: [get, patch]
{{- end }}
{{- if and .Values.registryCredentials.enabled (not .Values.registryCredentials.scoped) }}
# Pull secrets, and the ServiceAccounts that name them.
{{ include "narthex.registryCredentialsRules" . }}
{{- end }}
{{- end -}}

{{- /* What replicas share in their own namespace: who leads, and what each one serves. */ -}}
{{- define "narthex.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
{{- if .Values.controller.admissionWebhooks.enabled }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "narthex.fullname" . }}-admission]
  verbs: [get, update]
{{- end }}
{{- if .Values.certificates.enabled }}
# What replicas share: the account, our own authority, orders under way, answers to challenges, session
# tickets' keys.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [narthex-acme-account, narthex-authority, narthex-challenges, narthex-orders, narthex-session-tickets]
  verbs: [get, watch, update, patch]
# Whom to trust to trust our own authority.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
{{- end }}
{{- end -}}

{{- /* The namespace of what ClusterIssuers refer to. */ -}}
{{- define "narthex.issuersNamespace" -}}
{{- default (include "narthex.namespace" .) .Values.certificates.clusterResourceNamespace -}}
{{- end -}}

{{- /* Keys of authorities, and of accounts at CAs, that ClusterIssuers refer to. */ -}}
{{- define "narthex.issuersRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, watch, create, update]
{{- end -}}

{{- /* A Role and its binding to the ServiceAccount: dict root, name, namespace, rules. */ -}}
{{- define "narthex.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "narthex.labels" .root | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "narthex.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "narthex.serviceAccountName" .root }}
    namespace: {{ include "narthex.namespace" .root }}
{{- end -}}
