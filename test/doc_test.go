// Package test runs the product end to end: the program itself, with the
// clients, engines and nodes that people use it with, on real images.
//
// Nothing here is simulated and nothing leaves the machine. Each test starts
// what it needs on sockets and ports of its own; the engines that several tests
// need are started once and stopped at the end. test/install.sh installs what
// is missing. "go test -short ./..." leaves this package's tests out.
package test
