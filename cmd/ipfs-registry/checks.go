package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipfs-registry/ipfs-registry/node"
)

// repository checks that there is a node to work with.
func (p *patient) repository(context.Context) []finding {
	f := finding{Check: "repository", Verdict: healthy}
	switch {
	case p.err != nil:
		f.Verdict, f.Found, f.Advice = ill, p.err.Error(), "see what the message advises"
	case p.daemon && p.settings.IPFSAddress != "":
		f.Found = "the Kubo at " + p.settings.IPFSAddress + " answers"
	case p.daemon:
		f.Found = "a daemon runs in " + p.settings.Repo
	case p.node == nil:
		f.Found = p.settings.Repo + " is not there yet; the first use creates it"
	default:
		f.Found = p.settings.Repo + " opens; no daemon runs in it"
	}
	return []finding{f}
}

// swarmKey checks the key of a private swarm: there if it has to be, whole, and
// readable by nobody else.
func (p *patient) swarmKey(context.Context) []finding {
	f := finding{Check: "swarm key", Verdict: healthy, Found: "the swarm is a private one"}
	path := cmp.Or(p.settings.SwarmKeyFile, filepath.Join(p.settings.Repo, "swarm.key"))
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.settings.Private:
		f.Verdict, f.Found, f.Advice = ill, "private is set and there is no "+path, "make it with: ipfs-registry swarm key, or copy that of the swarm"
	case errors.Is(err, fs.ErrNotExist):
		f.Found = "none; the swarm is not a private one"
	case err != nil:
		f.Verdict, f.Found, f.Advice = ill, err.Error(), "give the user of the daemon the right to read it"
	case node.CheckSwarmKey(data) != nil:
		f.Verdict, f.Found, f.Advice = ill, path+" is not of the form of a swarm key", "replace it by that of the swarm, or remove it and run: ipfs-registry swarm key"
	case openToOthers(path):
		f.Verdict, f.Found, f.Advice = doubt, "other users can read "+path, "run: chmod 600 "+path
	}
	return []finding{f}
}

func openToOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// registry checks that the registry answers, or could once the daemon starts.
func (p *patient) registry(ctx context.Context) []finding {
	f := finding{Check: "registry", Verdict: healthy, Found: p.settings.Listen + " answers"}
	status, answer, err := get(ctx, "http://"+registryHost(p.settings.Listen)+"/v2/")
	if err == nil {
		if status != http.StatusOK {
			f.Verdict, f.Found, f.Advice = ill, fmt.Sprintf("%s answers /v2/ with %d: %s", p.settings.Listen, status, answer), "choose another address with --listen"
		}
		return []finding{f}
	}
	ls, busy := listen(ctx, p.settings.Listen)
	closeAll(ls)
	switch {
	case busy != nil:
		f.Verdict, f.Found, f.Advice = ill, busy.Error(), "stop what listens there, or choose another address with --listen"
	case p.daemon && p.settings.IPFSAddress == "":
		f.Verdict, f.Found, f.Advice = doubt, "nothing answers at "+p.settings.Listen, "the daemon may have been told another address with --listen; give the doctor the same"
	default:
		f.Found = p.settings.Listen + " is free"
	}
	return []finding{f}
}

// readiness asks a running daemon whether it is ready.
func (p *patient) readiness(ctx context.Context) []finding {
	if !p.daemon || p.settings.Admin == "" {
		return nil
	}
	f := finding{Check: "readiness", Verdict: healthy, Found: "ready"}
	status, answer, err := get(ctx, "http://"+registryHost(p.settings.Admin)+"/readyz")
	switch {
	case err != nil:
		f.Verdict, f.Found, f.Advice = doubt, "nothing answers at "+p.settings.Admin, "give the doctor the --admin address of the daemon"
	case status != http.StatusOK:
		f.Verdict, f.Found, f.Advice = ill, answer, "mend what it waits for"
	}
	return []finding{f}
}

// peers checks that the node has somebody to fetch from, and everybody that it
// was told to stay connected to.
func (p *patient) peers(ctx context.Context) []finding {
	if !p.daemon {
		return []finding{{"peers", healthy, "not asked: no daemon runs", ""}}
	}
	connected, err := p.node.Peers(ctx)
	if err != nil {
		return []finding{{"peers", ill, err.Error(), "see the daemon's log"}}
	}
	f := finding{"peers", healthy, fmt.Sprintf("connected to %d", len(connected)), ""}
	if len(connected) == 0 {
		f.Verdict, f.Advice = doubt, "only what the repository has can be served; connect with --peer or --bootstrap"
	}
	findings := []finding{f}
	for _, address := range p.settings.Peers {
		f := finding{"peer " + address, healthy, "connected", ""}
		if err := p.node.Connect(ctx, address); err != nil {
			f.Verdict, f.Found, f.Advice = ill, err.Error(), "make that address reachable from here"
		}
		findings = append(findings, f)
	}
	return findings
}

// maxAnswer bounds what is read of a page, in bytes.
const maxAnswer = 512

// get asks for a page of one line.
func get(ctx context.Context, url string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	// Never by a proxy: the question is what this machine answers.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, strings.TrimSpace(string(body)), err
}
