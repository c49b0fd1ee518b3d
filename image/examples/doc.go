// Package examples holds Kubernetes manifests for what an image can do: serving edits, proving
// the model and listing the GPUs of a node, lending its weights to a runtime of the user's own,
// and lying on the nodes before it is needed. They are decoded strictly by Kubernetes' own
// types in a test, which also holds them against the image's configuration.
//
// The names under ghcr.io/you and registry.example.com stand for the reader's.
package examples
