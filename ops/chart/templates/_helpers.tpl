{{/* The name of the chart's part. */}}
{{- define "lifeline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects: at most 52 characters, for a StatefulSet adds a hash of 11 to the label of its revision. */}}
{{- define "lifeline.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels that never change: they select the pod. */}}
{{- define "lifeline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lifeline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "lifeline.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "lifeline.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lifeline
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lifeline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "lifeline.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* A ClusterRole has no namespace: two releases of one name in two namespaces must not share it. */}}
{{- define "lifeline.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "lifeline.fullname" .) }}
{{- end }}

{{- define "lifeline.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* Whether the connection is that of Sveltos, read from the API server. */}}
{{- define "lifeline.readsSveltosSecret" -}}
{{- if not (or .Values.nats.url .Values.nats.secret.name) }}true{{ end }}
{{- end }}

{{/* What no schema can say. */}}
{{- define "lifeline.check" -}}
{{- if and .Values.nats.url .Values.nats.secret.name }}
{{- fail "\n`nats.url` and `nats.secret.name` are both set, and only one can be followed\nhint: put the URL into the Secret" }}
{{- end }}
{{- if and .Values.nats.subjects (not .Values.nats.url) }}
{{- fail "\n`nats.subjects` is set without `nats.url`\nhint: the Secret names its subjects itself" }}
{{- end }}
{{- if and (eq .Values.auth.kind "token") (not .Values.auth.tokenSecret.name) }}
{{- fail "\n`auth.kind` is `token`, and `auth.tokenSecret.name` names no Secret\nhint: `kubectl create secret generic NAME --from-file=token=FILE`" }}
{{- end }}
{{- if and (ne .Values.auth.kind "token") .Values.auth.tokenSecret.name }}
{{- fail (printf "\n`auth.tokenSecret.name` is set, and `auth.kind` is `%s`\nhint: say `auth.kind: token`" .Values.auth.kind) }}
{{- end }}
{{- end }}
