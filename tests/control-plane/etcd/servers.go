//go:build pin

// Package servers names the program that go.mod pins, so that `go mod tidy` keeps all it needs.
// The build tag keeps it out of every build: a program cannot be imported.
package servers

import (
	_ "go.etcd.io/etcd/server/v3"
)
