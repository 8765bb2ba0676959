// Package config holds every setting once: its name, default, flag, environment
// variable, one sentence of documentation and what it may be.
//
// The name is the only thing to remember. "node.provide" is that key in the
// YAML file, --node-provide as a flag and IPFS_REGISTRY_NODE_PROVIDE in the
// environment. A flag beats the environment, which beats the file, which beats
// the default. Nothing in this package acts on a setting.
package config
