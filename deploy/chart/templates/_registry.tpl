{{- define "narthex.registryName" -}}
{{- include "narthex.fullname" . }}-registry
{{- end -}}

{{- define "narthex.registrySelectorLabels" -}}
{{- /* Another name than Narthex' own pods have: neither their Service nor kubectl narthex is to find it. */ -}}
app.kubernetes.io/name: narthex-registry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: registry
{{- end -}}

{{- define "narthex.registryLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "narthex.registrySelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: narthex
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "narthex.registryMetadata" -}}
name: {{ .name }}
namespace: {{ include "narthex.namespace" .root }}
labels:
  {{- include "narthex.registryLabels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "narthex.registryServiceAccount" -}}
{{- with .Values.registry.serviceAccount -}}
{{- default (ternary (include "narthex.registryName" $) "default" .create) .name -}}
{{- end -}}
{{- end -}}

{{- /* Whether the process talks with the API server. */ -}}
{{- define "narthex.registryAsksCluster" -}}
{{- with .Values.registry -}}
{{- if or .access.serviceAccounts.enabled .hosting.host .imageLists.enabled }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Its URL as clients have it, if nothing tells it of each request. */ -}}
{{- define "narthex.registryURL" -}}
{{- with .Values.registry -}}
{{- if .externalURL -}}
{{- .externalURL -}}
{{- else if and .ingress.enabled (not .trustedProxies) -}}
{{- $service := $.Values.controller.service -}}
{{- $port := ternary (int $service.ports.https) 443 $service.enabled -}}
https://{{ .ingress.host }}{{ if ne $port 443 }}:{{ $port }}{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether it gets images of other registries. */ -}}
{{- define "narthex.registryAsksOutside" -}}
{{- with .Values.registry -}}
{{- if or .images .pullThrough .imageLists.enabled }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Whether the manifests of registryCredentials give credentials for the sources of images. */ -}}
{{- define "narthex.registryAsksProviders" -}}
{{- if and (include "narthex.registryAsksOutside" .) .Values.registryCredentials.enabled .Values.registryCredentials.manifests }}true{{ end -}}
{{- end -}}

{{- /* The Secrets that lists and those manifests name files of, with commas between. */ -}}
{{- define "narthex.registrySyncSecrets" -}}
{{- if include "narthex.registryAsksOutside" . -}}
{{- $secrets := .Values.registry.sync.secrets -}}
{{- if include "narthex.registryAsksProviders" . -}}
{{- $secrets = concat $secrets .Values.registryCredentials.secrets -}}
{{- end -}}
{{- join "," (uniq $secrets) -}}
{{- end -}}
{{- end -}}

{{- /* Says what cannot be. */ -}}
{{- define "narthex.registryChecks" -}}
{{- $registry := .Values.registry -}}
{{- $storage := $registry.storage -}}
{{- $access := $registry.access -}}
{{- if gt (len (list $storage.existingClaim $storage.volume $storage.bucket | compact)) 1 }}
{{- fail "registry.storage is one place: set one of existingClaim, volume and bucket" }}
{{- end }}
{{- if and $storage.bucketSecret (not $storage.bucket) }}
{{- fail "registry.storage.bucketSecret is for a bucket: set registry.storage.bucket as well" }}
{{- end }}
{{- if and (not $registry.tls.secret) (not $registry.insecure) }}
{{- fail "the registry is reached over a network: set registry.tls.secret, or registry.insecure for plain HTTP, as behind an Ingress with TLS" }}
{{- end }}
{{- with $registry.sync }}
{{- if and (or .dockerConfigSecret .secrets) (not (include "narthex.registryAsksOutside" $)) }}
{{- fail "registry.sync is for images of other registries: set registry.images, registry.imageLists.enabled or registry.pullThrough as well" }}
{{- end }}
{{- end }}
{{- if and $access.rules $access.rulesSecret }}
{{- fail "registry.access has rules of its own and those of a Secret: set one of rules and rulesSecret" }}
{{- end }}
{{- if and $access.anonymous (or $access.rules $access.rulesSecret) }}
{{- fail "registry.access.anonymous is for a registry without rules: write a rule for the subject `anonymous` instead" }}
{{- end }}
{{- if and $access.clientCASecret (not $registry.tls.secret) }}
{{- fail "registry.access.clientCASecret takes TLS: set registry.tls.secret as well" }}
{{- end }}
{{- if and $access.serviceAccounts.enabled .Values.rbac.scope }}
{{- fail "registry.access.serviceAccounts.enabled needs a ClusterRoleBinding, which rbac.scope takes away: set one of the two" }}
{{- end }}
{{- if and $access.serviceAccounts.audiences (not $access.serviceAccounts.enabled) }}
{{- fail "registry.access.serviceAccounts.audiences is for ServiceAccounts' tokens: set registry.access.serviceAccounts.enabled as well" }}
{{- end }}
{{- with $registry.hosting }}
{{- if and (or .fromNodes .fromPods .help) (not .host) }}
{{- fail "registry.hosting is for telling tools where they reach it: set registry.hosting.host as well" }}
{{- end }}
{{- end }}
{{- if $registry.ingress.enabled }}
{{- if not $registry.ingress.host }}
{{- fail "registry.ingress.enabled needs a name for it: set registry.ingress.host" }}
{{- end }}
{{- if and .Values.controller.scope.enabled (not $registry.ingress.className) (ne (include "narthex.watchedNamespace" .) (include "narthex.namespace" .)) }}
{{- fail "registry.ingress is in the release's namespace, which controller.scope.namespace leaves out: set registry.ingress.className to another controller's" }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "narthex.registryArgs" -}}
{{- $registry := .Values.registry -}}
- --address={{ $registry.address }}:{{ $registry.port }}
- --metrics-address={{ $registry.address }}:{{ $registry.metricsPort }}
- --storage={{ default "/var/lib/narthex/registry/images" $registry.storage.bucket }}
{{- if $registry.tls.secret }}
- --tls-cert-file=/etc/narthex/registry/tls/tls.crt
- --tls-key-file=/etc/narthex/registry/tls/tls.key
{{- else }}
- --insecure
{{- end }}
{{- with $registry.access }}
{{- if .htpasswdSecret }}
- --htpasswd-file=/etc/narthex/registry/users/htpasswd
{{- end }}
{{- if or .rules .rulesSecret }}
- --access-file=/etc/narthex/registry/access/rules.yaml
{{- end }}
{{- with .anonymous }}
- --anonymous={{ . }}
{{- end }}
{{- if .clientCASecret }}
- --client-ca-file=/etc/narthex/registry/client-ca/ca.crt
{{- end }}
{{- if .serviceAccounts.enabled }}
- --service-accounts
{{- with .serviceAccounts.audiences }}
- --service-account-audience={{ join "," . }}
{{- end }}
{{- end }}
{{- end }}
{{- with include "narthex.registryURL" . }}
- --external-url={{ . }}
{{- end }}
{{- with $registry.trustedProxies }}
- --trusted-proxies={{ join "," . }}
{{- end }}
{{- if $registry.images }}
- --sync=/etc/narthex/registry/images/list
{{- end }}
{{- if $registry.imageLists.enabled }}
- --image-lists={{ include "narthex.namespace" . }}
{{- end }}
{{- if or $registry.images $registry.imageLists.enabled }}
- --sync-interval={{ $registry.sync.interval }}
{{- if $registry.sync.dockerConfigSecret }}
- --sync-authfile=/etc/narthex/registry/docker/.dockerconfigjson
{{- end }}
{{- if include "narthex.registryAsksProviders" . }}
- --sync-credentials-file=/etc/narthex/registry/credentials/credentials.yaml
{{- end }}
{{- end }}
{{- with $registry.pullThrough }}
- --pull-through={{ join "," . }}
{{- if $registry.sync.dockerConfigSecret }}
- --pull-through-authfile=/etc/narthex/registry/docker/.dockerconfigjson
{{- end }}
{{- if include "narthex.registryAsksProviders" $ }}
- --pull-through-credentials-file=/etc/narthex/registry/credentials/credentials.yaml
{{- end }}
{{- end }}
{{- with $registry.hosting }}
{{- if .host }}
- --hosting={{ .host }}
{{- with .fromNodes }}
- --hosting-from-nodes={{ . }}
{{- end }}
- --hosting-from-pods={{ default (printf "%s.%s.svc:%v" (include "narthex.registryName" $) (include "narthex.namespace" $) $registry.service.port) .fromPods }}
{{- with .help }}
- --hosting-help={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- include "narthex.extraArgs" $registry.extraArgs }}
{{- end -}}

{{- /* Files that it reads, as volumes; by the name of each, where it is mounted. */ -}}
{{- define "narthex.registryVolumes" -}}
{{- $registry := .Values.registry -}}
{{- if $registry.images }}
- name: images
  configMap:
    name: {{ include "narthex.registryName" $ }}-images
{{- end }}
{{- if include "narthex.registryAsksOutside" . }}
{{- with $registry.sync.dockerConfigSecret }}
- name: docker
  secret:
    secretName: {{ . }}
{{- end }}
{{- if include "narthex.registryAsksProviders" . }}
- name: credentials
  configMap:
    name: {{ include "narthex.fullname" . }}-registry-credentials
{{- end }}
{{- end }}
{{- with $registry.tls.secret }}
- name: tls
  secret:
    secretName: {{ . }}
{{- end }}
{{- with $registry.access }}
{{- with .htpasswdSecret }}
- name: users
  secret:
    secretName: {{ . }}
{{- end }}
{{- if .rules }}
- name: access
  configMap:
    name: {{ include "narthex.registryName" $ }}-access
{{- else if .rulesSecret }}
- name: access
  secret:
    secretName: {{ .rulesSecret }}
{{- end }}
{{- with .clientCASecret }}
- name: client-ca
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "narthex.registryPod" -}}
{{- $registry := .Values.registry -}}
{{- $image := .Values.controller.image -}}
{{- $volumes := include "narthex.registryVolumes" . | fromYamlArray -}}
{{- $secrets := splitList "," (include "narthex.registrySyncSecrets" .) | compact -}}
metadata:
  labels:
    {{- include "narthex.registryLabels" . | nindent 4 }}
    {{- with $registry.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $registry.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "narthex.registryServiceAccount" . }}
  automountServiceAccountToken: {{ eq (include "narthex.registryAsksCluster" .) "true" }}
  terminationGracePeriodSeconds: {{ $registry.terminationGracePeriodSeconds }}
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $registry.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $image.runAsUser }}
    runAsGroup: {{ $image.runAsGroup }}
    fsGroup: {{ $image.runAsGroup }}
    # A million files are not looked at again at each start.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: registry
      image: {{ include "narthex.image" . | quote }}
      imagePullPolicy: {{ $image.pullPolicy }}
      args:
        - registry
        - serve
        {{- include "narthex.registryArgs" . | nindent 8 }}
      {{- with $registry.storage.bucketSecret }}
      envFrom:
        - secretRef:
            name: {{ . }}
      {{- end }}
      {{- with $registry.extraEnvs }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: registry
          containerPort: {{ $registry.port }}
          protocol: TCP
        - name: metrics
          containerPort: {{ $registry.metricsPort }}
          protocol: TCP
      livenessProbe:
        httpGet: {path: /healthz, port: metrics}
        {{- toYaml .Values.controller.livenessProbe | nindent 8 }}
      readinessProbe:
        tcpSocket: {port: registry}
        {{- toYaml .Values.controller.readinessProbe | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- with $registry.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or $volumes (not $registry.storage.bucket) }}
      volumeMounts:
        {{- if not $registry.storage.bucket }}
        - name: storage
          mountPath: /var/lib/narthex/registry
        {{- end }}
        {{- range $volumes }}
        - name: {{ .name }}
          mountPath: /etc/narthex/registry/{{ .name }}
          readOnly: true
        {{- end }}
        {{- range $index, $secret := $secrets }}
        - name: secrets-{{ $index }}
          mountPath: /etc/narthex/registry/secrets/{{ $secret }}
          readOnly: true
        {{- end }}
      {{- end }}
  {{- if or $volumes (not $registry.storage.bucket) }}
  volumes:
    {{- if $registry.storage.volume }}
    - name: storage
      {{- toYaml $registry.storage.volume | nindent 6 }}
    {{- else if not $registry.storage.bucket }}
    - name: storage
      persistentVolumeClaim:
        claimName: {{ default (include "narthex.registryName" .) $registry.storage.existingClaim }}
    {{- end }}
    {{- with $volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- range $index, $secret := $secrets }}
    - name: secrets-{{ $index }}
      secret:
        secretName: {{ $secret }}
    {{- end }}
  {{- end }}
  {{- range $field := list "nodeSelector" "tolerations" "affinity" }}
  {{- with index $registry $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}
