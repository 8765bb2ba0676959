package config

import "slices"

// table is the one place that knows a setting. Each row is bound to its field.
func table(s *Settings) []Option {
	return slices.Concat(general(s), serving(s), network(s), names(s), keeping(s), elsewhere(s))
}

// general are the settings of every verb.
func general(s *Settings) []Option {
	return []Option{
		{Name: "repo", Arg: "DIR", field: &s.Repo, Default: "~/.ipfs-registry", AlsoEnv: "IPFS_PATH",
			Doc:     "The directory of the IPFS repository, an ordinary Kubo repository, created on first use.",
			Allowed: "a directory", check: notEmpty},
		{Name: "config", Arg: "FILE", field: &s.Config, NotInFile: true,
			Doc:     "The YAML file that settings are read from; no file is read unless it is named.",
			Allowed: "a file"},
		{Name: "log-level", Arg: "LEVEL", field: &s.LogLevel, Default: "info",
			Doc:     "The least important messages to log; verbs other than serve begin at warn when this is not set.",
			Allowed: "debug, info, warn or error", check: oneOf("debug", "info", "warn", "error")},
		{Name: "log-format", Arg: "FORMAT", field: &s.LogFormat, Default: "text",
			Doc:     "How log lines are written to stderr.",
			Allowed: "text or json", check: oneOf("text", "json")},
	}
}

// serving are the settings of the daemon's own doors.
func serving(s *Settings) []Option {
	serve := []string{"serve"}
	return []Option{
		{Name: "listen", Arg: "ADDR", field: &s.Listen, Verbs: serve, Default: "localhost:5050",
			AlsoFlag: "listen-registry", AlsoEnv: prefix + "SERVE_LISTEN_REGISTRY",
			Doc:     "Where the registry answers; localhost means both 127.0.0.1 and ::1.",
			Allowed: "HOST:PORT", check: address},
		{Name: "admin", Arg: "ADDR", field: &s.Admin, Verbs: serve, Default: "localhost:5051",
			Doc:     "Where /livez, /readyz and /metrics answer.",
			Allowed: "HOST:PORT or none", check: addressOrNone},
		{Name: "api", Arg: "ADDR", field: &s.API, Verbs: serve, Default: "none",
			Doc:     "Where the Kubo RPC calls that nerdctl, ctr-remote and stargz-snapshotter make are answered, and no others; the address is written to REPO/api.",
			Allowed: "HOST:PORT or none", check: addressOrNone},
	}
}

// network are the settings of the node, for the verbs that may need one.
func network(s *Settings) []Option {
	serve := []string{"serve"}
	nodes := []string{"serve", "pull", "resolve", "pin", "remote"}
	return []Option{
		{Name: "offline", field: &s.Offline, Verbs: nodes, Default: "false",
			Doc:     "Serve what the repository and the gateways given have, without any libp2p host.",
			Allowed: "true or false"},
		{Name: "private", field: &s.Private, Verbs: nodes, Default: "false",
			Doc:     "Talk only to nodes that have the same swarm key; without a key in the repository nothing starts.",
			Allowed: "true or false"},
		{Name: "swarm-key-file", Arg: "FILE", field: &s.SwarmKeyFile, Verbs: nodes,
			Doc:     "The file with the key of the private swarm, if it is not the repository's swarm.key.",
			Allowed: "a file"},
		{Name: "bootstrap", Arg: "MULTIADDR", field: &s.Bootstrap, Verbs: nodes, Default: "public",
			Doc:     "The peers through which the node joins a network; with none, nothing public is ever contacted.",
			Allowed: "multiaddrs that end in /p2p/PEER-ID, or public, or none", check: bootstrap},
		{Name: "peer", Arg: "MULTIADDR", field: &s.Peers, Verbs: nodes,
			Doc:     "A peer to stay connected to.",
			Allowed: "multiaddrs that end in /p2p/PEER-ID", check: peer},
		{Name: "swarm-listen", Arg: "MULTIADDR", field: &s.SwarmListen, Verbs: nodes,
			Doc:     "Where other IPFS nodes reach this one; Kubo's defaults when empty.",
			Allowed: "multiaddrs such as /ip4/0.0.0.0/tcp/4001", check: multiaddr},
		{Name: "fetch-timeout", Arg: "DURATION", field: &s.FetchTimeout, Verbs: nodes, Default: "30s",
			AlsoFlag: "read-timeout", AlsoEnv: prefix + "SERVE_READ_TIMEOUT",
			Doc:     "How long nothing may arrive from the network before a request fails.",
			Allowed: "a duration such as 30s or 2m, at most 24h, or 0 for the default", check: timeout},
		{Name: "gateway", Arg: "URL", field: &s.Gateways, Verbs: nodes,
			Doc:     "A trustless HTTP gateway to ask for blocks, each of which is verified; none is asked that is not named here.",
			Allowed: "http:// or https:// URLs without a query", check: gateway, redact: hideCredentials},
		{Name: "gateway-token-file", Arg: "FILE", field: &s.GatewayTokenFile, Verbs: nodes,
			Doc:     "A file whose content is sent to the gateways as a bearer token, over https or to this host only; read for each request.",
			Allowed: "a file"},
		{Name: "ipfs-address", Arg: "MULTIADDR", field: &s.IPFSAddress, Verbs: append(nodes, "push", "id", "swarm"), Default: "none",
			AlsoEnv: prefix + "SERVE_IPFS_ADDRESS",
			Doc:     "The RPC address of a running Kubo, used instead of an embedded node.",
			Allowed: "a multiaddr such as /ip4/127.0.0.1/tcp/5001, or none", check: multiaddrOrNone},
		{Name: "node.provide", Arg: "WHAT", field: &s.Provide, Verbs: serve, Default: "published",
			Doc:     "What the node announces to the network: what was published on it, everything pinned, or nothing.",
			Allowed: "published, pinned or none", check: oneOf("published", "pinned", "none")},
		{Name: "node.mdns", field: &s.MDNS, Verbs: serve, Default: "false",
			Doc:     "Find other nodes on the local network by multicast DNS.",
			Allowed: "true or false"},
		{Name: "read-retry-num", Arg: "N", field: &s.ReadRetryNum, Verbs: serve, Default: "0",
			AlsoEnv: prefix + "SERVE_READ_RETRY_NUM",
			Doc:     "Accepted because nerdctl has it, and without effect: a read goes on asking the network until fetch-timeout.",
			Allowed: "a whole number"},
	}
}

// names are the settings of what is asked for by another name than a CID.
func names(s *Settings) []Option {
	return []Option{
		{Name: "names.moving", Arg: "WHICH", field: &s.NamesMoving, Verbs: []string{"serve", "pull", "resolve", "publish"}, Default: "auto",
			Doc: "Which names that move (ipns/NAME) are resolved and published: those of keys, whose owners sign what they lead to, or DNSLink names too, for which the DNS is believed; " +
				"auto means all on the public network, keys apart from it, off in a private swarm.",
			Allowed: "auto, off, keys or all", check: oneOf("auto", "off", "keys", "all")},
		{Name: "names.dns", Arg: "DOMAIN=URL", field: &s.NamesDNS, Verbs: []string{"serve", "pull", "resolve", "publish"},
			Doc:     "A DNS-over-HTTPS server to ask for the DNSLink names below a domain, and for all as the domain \".\"; the host's resolver is asked for the others.",
			Allowed: "a domain with a period at its end, an equals sign and an http:// or https:// URL", check: resolver},
		{Name: "mirror.names", Arg: "NAME=REF", field: &s.MirrorNames, Verbs: []string{"serve"},
			Doc:     "What a tag of another registry's image is on IPFS, when the daemon is asked as a mirror of it.",
			Allowed: "REGISTRY/REPOSITORY:TAG, an equals sign and a reference, such as docker.io/library/nginx:alpine=ipfs://CID", check: mapping},
	}
}

// elsewhere are the settings of where images come from and go to.
func elsewhere(s *Settings) []Option {
	return []Option{
		{Name: "containerd-address", Arg: "PATH", field: &s.ContainerdAddress, Verbs: []string{"push", "pull"},
			Default: "/run/containerd/containerd.sock", AlsoEnv: "CONTAINERD_ADDRESS",
			Doc:     "The socket of containerd, for containerd: sources and destinations.",
			Allowed: "a path", check: notEmpty},
		{Name: "namespace", Arg: "NAME", field: &s.Namespace, Verbs: []string{"push", "pull"},
			Default: "default", AlsoEnv: "CONTAINERD_NAMESPACE",
			Doc:     "The namespace in containerd, for containerd: sources and destinations.",
			Allowed: "a name", check: notEmpty},
		{Name: "docker-host", Arg: "ADDR", field: &s.DockerHost, Verbs: []string{"push"},
			Default: "unix:///var/run/docker.sock", AlsoEnv: "DOCKER_HOST",
			Doc:     "The Docker engine, for docker-daemon: sources.",
			Allowed: "an address such as unix:///var/run/docker.sock or tcp://HOST:PORT", check: notEmpty, redact: hideCredentials},
	}
}
