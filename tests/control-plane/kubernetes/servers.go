//go:build pin

// Package servers names the programs that go.mod pins, so that `go mod tidy` keeps all they need.
// The build tag keeps it out of every build: a program cannot be imported.
package servers

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
