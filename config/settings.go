package config

import "time"

// Settings are the values in force, after [Load]. What each one means is said in
// the option table, see [Options], and in docs/configuration.md.
type Settings struct {
	Repo      string
	Config    string
	LogLevel  string
	LogFormat string

	Listen string
	// Admin and API are empty when there is to be no such listener.
	Admin string
	API   string

	Offline bool
	Private bool
	// SwarmKeyFile is empty when the key is the repository's swarm.key.
	SwarmKeyFile string
	// Bootstrap is nil for the public network's peers and ["none"] for nobody.
	Bootstrap   []string
	Peers       []string
	SwarmListen []string
	Gateways    []string
	// GatewayTokenFile is empty when no token is sent.
	GatewayTokenFile string
	MDNS             bool
	Provide          string
	// IPFSAddress is empty when the node is an embedded one.
	IPFSAddress  string
	FetchTimeout time.Duration
	ReadRetryNum int

	NamesMoving string
	// NamesDNS are domains and URLs, MirrorNames names and references, each with
	// an equals sign between them.
	NamesDNS    []string
	MirrorNames []string
	PinOnPull   string
	PinRetain   time.Duration
	// ScrubRate is a size too.
	ScrubInterval time.Duration
	ScrubRate     string
	// PinQuota and MaxImageSize are sizes; see [Bytes].
	PinQuota     string
	MaxImageSize string
	PolicyServe  string
	// PolicyList is empty when nothing is listed.
	PolicyList  string
	GCWatermark int
	// PinService is empty when there is none, and so are its tokens.
	PinService, PinServiceTokenFile, PinServiceToken string
	// PolicyKey is empty when nothing has to be signed.
	PolicyKey string

	ContainerdAddress string
	Namespace         string
	DockerHost        string

	origins map[string]string
	entries []Entry
}

// Origin says where the value of the named setting came from: "default",
// "flag --listen", "variable IPFS_REGISTRY_LISTEN" or "file /etc/x.yaml".
func (s *Settings) Origin(name string) string {
	if o := s.origins[name]; o != "" {
		return o
	}
	return "default"
}
