{{- /* The pod, of a Deployment or a DaemonSet. */ -}}
{{- define "narthex.pod" -}}
{{- $controller := .Values.controller -}}
metadata:
  labels:
    {{- include "narthex.labels" . | nindent 4 }}
    {{- with $controller.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $controller.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "narthex.serviceAccountName" . }}
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: {{ $controller.terminationGracePeriodSeconds }}
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $controller.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $controller.image.runAsUser }}
    runAsGroup: {{ $controller.image.runAsGroup }}
    fsGroup: {{ $controller.image.runAsGroup }}
    seccompProfile:
      type: RuntimeDefault
    {{- with $controller.sysctls }}
    sysctls:
      {{- range $name, $value := . }}
      - name: {{ $name }}
        value: {{ $value | quote }}
      {{- end }}
    {{- end }}
  containers:
    - name: {{ $controller.name }}
      image: {{ include "narthex.image" . | quote }}
      imagePullPolicy: {{ $controller.image.pullPolicy }}
      args:
        - serve
        {{- include "narthex.args" . | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        - name: NARTHEX_NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        {{- with $controller.extraEnvs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ $controller.containerPort.http }}
          protocol: TCP
          {{- if $controller.hostPort.enabled }}
          hostPort: {{ $controller.hostPort.ports.http }}
          {{- end }}
        - name: https
          containerPort: {{ $controller.containerPort.https }}
          protocol: TCP
          {{- if $controller.hostPort.enabled }}
          hostPort: {{ $controller.hostPort.ports.https }}
          {{- end }}
        - name: metrics
          containerPort: {{ $controller.metrics.port }}
          protocol: TCP
        {{- if $controller.admissionWebhooks.enabled }}
        - name: webhook
          containerPort: {{ $controller.admissionWebhooks.port }}
          protocol: TCP
        {{- end }}
      livenessProbe:
        httpGet: {path: /healthz, port: metrics}
        {{- toYaml $controller.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        {{- toYaml $controller.readinessProbe | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- with $controller.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: state
          mountPath: /var/lib/narthex
        {{- with .Values.certificates.acme.caConfigMap }}
        - name: acme-ca
          mountPath: /etc/narthex/acme-ca
          readOnly: true
        {{- end }}
        {{- with .Values.certificates.acme.externalAccount.secret }}
        - name: acme-account
          mountPath: /etc/narthex/acme-account
          readOnly: true
        {{- end }}
        {{- with .Values.registryCredentials }}
        {{- if .enabled }}
        {{- if .manifests }}
        - name: registry-credentials
          mountPath: /etc/narthex/registry-credentials/manifests
          readOnly: true
        {{- end }}
        {{- range $index, $secret := .secrets }}
        - name: registry-credentials-{{ $index }}
          mountPath: /etc/narthex/registry-credentials/secrets/{{ $secret }}
          readOnly: true
        {{- end }}
        {{- end }}
        {{- end }}
  volumes:
    - name: state
      emptyDir:
        {{- with $controller.state.medium }}
        medium: {{ . }}
        {{- end }}
        sizeLimit: {{ $controller.state.sizeLimit }}
    {{- with .Values.certificates.acme.caConfigMap }}
    - name: acme-ca
      configMap:
        name: {{ . }}
    {{- end }}
    {{- with .Values.certificates.acme.externalAccount.secret }}
    - name: acme-account
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- if .Values.registryCredentials.enabled }}
    {{- if .Values.registryCredentials.manifests }}
    - name: registry-credentials
      configMap:
        name: {{ include "narthex.fullname" . }}-registry-credentials
    {{- end }}
    {{- range $index, $secret := .Values.registryCredentials.secrets }}
    - name: registry-credentials-{{ $index }}
      secret:
        secretName: {{ $secret }}
    {{- end }}
    {{- end }}
  {{- with $controller.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $controller.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $controller.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $controller.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "narthex.args" -}}
{{- $controller := .Values.controller -}}
- --http-port={{ $controller.containerPort.http }}
- --https-port={{ $controller.containerPort.https }}
{{- if $controller.service.enabled }}
- --public-https-port={{ $controller.service.ports.https }}
{{- else if $controller.hostPort.enabled }}
- --public-https-port={{ $controller.hostPort.ports.https }}
{{- end }}
- --health-address=:{{ $controller.metrics.port }}
- --state-dir=/var/lib/narthex
- --last-good-max-age={{ $controller.state.maxAge }}
- --shutdown-grace-period={{ $controller.shutdownGracePeriod }}
- --shutdown-timeout={{ $controller.shutdownTimeout }}
- --election-id={{ include "narthex.electionID" . }}
- --controller-class={{ prepend $controller.controllerClasses $controller.ingressClassResource.controllerValue | uniq | compact | join "," }}
- --ingress-class={{ $controller.ingressClass }}
- --watch-ingress-without-class={{ $controller.watchIngressWithoutClass }}
{{- if $controller.scope.enabled }}
- --watch-namespace={{ include "narthex.watchedNamespace" . }}
{{- else if $controller.scope.namespaceSelector }}
- --watch-namespace-selector={{ $controller.scope.namespaceSelector }}
{{- end }}
{{- if $controller.watchAllSecrets }}
- --watch-all-secrets
{{- end }}
{{- if .Values.gatewayAPI.enabled }}
- --gateway-service-type={{ .Values.gatewayAPI.service.type }}
{{- if .Values.gatewayAPI.dedicated.enabled }}
- --gateway-image={{ include "narthex.image" . }}
- --gateway-cluster-role={{ include "narthex.fullname" . }}-gateway
- --gateway-namespace-role={{ include "narthex.fullname" . }}-gateway-namespace
{{- range $name, $value := .Values.gatewayAPI.dedicated.extraArgs }}
{{- range $one := ternary $value (list $value) (kindIs "slice" $value) }}
- --gateway-arg=--{{ $name }}{{ with toString $one }}={{ . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $controller.takeOver }}
- --take-over
{{- end }}
{{- if $controller.publishStatusAddress }}
- --publish-status-address={{ $controller.publishStatusAddress }}
{{- else if include "narthex.publishedService" . }}
- --publish-service={{ include "narthex.publishedService" . }}
{{- else if $controller.reportNodeInternalIp }}
- --report-node-internal-ip-address
{{- end }}
{{- if $controller.admissionWebhooks.enabled }}
- --validating-webhook=:{{ $controller.admissionWebhooks.port }}
- --validating-webhook-service={{ include "narthex.fullname" . }}-admission
- --validating-webhook-configuration={{ include "narthex.fullname" . }}-admission
{{- end }}
{{- with .Values.certificates }}
{{- if .enabled }}
- --obtain-certificates
{{- with .acme.email }}
- --acme-email={{ . }}
{{- end }}
{{- with .acme.directory }}
- --acme-directory={{ . }}
{{- end }}
{{- if .acme.agreeTerms }}
- --acme-agree-tos
{{- end }}
{{- if .acme.caConfigMap }}
- --acme-ca-file=/etc/narthex/acme-ca/ca.crt
{{- end }}
{{- with .acme.profile }}
- --acme-profile={{ . }}
{{- end }}
{{- with .acme.preferredChain }}
- --acme-preferred-chain={{ . }}
{{- end }}
{{- with .acme.namespaces }}
- --acme-namespaces={{ join "," . }}
{{- end }}
{{- with .acme.externalAccount.keyID }}
- --acme-eab-key-id={{ . }}
- --acme-eab-key-file=/etc/narthex/acme-account/key
{{- end }}
{{- with .clusterResourceNamespace }}
- --cluster-resource-namespace={{ . }}
{{- end }}
{{- if .withoutCertManager }}
- --without-cert-manager
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.registryCredentials }}
{{- if .enabled }}
- --registry-credentials
- --registry-credentials-namespaces={{ join "," .namespaces }}
{{- with .namespaceSelector }}
- --registry-credentials-namespace-selector={{ . }}
{{- end }}
{{- if .scoped }}
- --registry-credentials-within={{ include "narthex.pullSecretsNamespaces" $ }}
{{- end }}
- --registry-credentials-service-accounts={{ join "," .serviceAccounts }}
- --skip-kube-system={{ .skipKubeSystem }}
{{- if .manifests }}
- --registry-credentials-file=/etc/narthex/registry-credentials/manifests/credentials.yaml
{{- end }}
{{- with .formerSecrets }}
- --registry-credentials-former-secrets={{ join "," . }}
{{- end }}
{{- end }}
{{- end }}
{{- include "narthex.extraArgs" $controller.extraArgs }}
{{- end -}}

{{- /* Flags by name, each on a line of its own after a line's end. */ -}}
{{- define "narthex.extraArgs" -}}
{{- range $name, $value := . }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- --{{ $name }}={{ . }}
{{- end }}
{{- else if or (kindIs "invalid" $value) (eq (toString $value) "") }}
- --{{ $name }}
{{- else }}
- --{{ $name }}={{ $value }}
{{- end }}
{{- end }}
{{- end -}}
