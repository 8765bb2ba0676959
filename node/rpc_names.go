package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/kubo/core/coreiface/options"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	resolveNamePath = "/ipfs-registry/v0/name/resolve"
	publishNamePath = "/ipfs-registry/v0/name/publish"
)

// reply is an answer of our daemon about a name.
type reply struct {
	Root      string         `json:"root,omitempty"`
	Rest      string         `json:"rest,omitempty"`
	TTL       time.Duration  `json:"ttl,omitempty"`
	Published *NamePublished `json:"published,omitempty"`
	// Class and Error are of the failure that there was.
	Class image.Class `json:"class,omitempty"`
	Error string      `json:"error,omitempty"`
}

func (n *Node) serveResolveName(w http.ResponseWriter, r *http.Request) {
	var name string
	if !readRequest(w, r, &name) {
		return
	}
	found, err := n.backing.resolveName(r.Context(), name)
	answer := reply{TTL: found.TTL, Rest: found.Path.Rest}
	if err == nil {
		answer.Root = found.Path.Root.String()
	}
	writeReply(w, answer, err)
}

func (n *Node) servePublishName(w http.ResponseWriter, r *http.Request) {
	var record NameRecord
	if !readRequest(w, r, &record) {
		return
	}
	done, err := n.backing.publishName(r.Context(), record)
	writeReply(w, reply{Published: &done}, err)
}

func readRequest(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer)).Decode(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func writeReply(w http.ResponseWriter, answer reply, err error) {
	if err != nil {
		answer = reply{Class: image.ClassOf(err), Error: err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // a client that has gone is no failure
}

// resolveName asks our daemon, or any other Kubo, which does not say how long
// its answer is good.
func (r *remote) resolveName(ctx context.Context, name string) (image.Pointer, error) {
	if !r.ours {
		if err := namesAllowed(r.names, (image.Moving{Name: name}).IsDomain(), "resolve /ipns/"+name); err != nil {
			return image.Pointer{}, err
		}
		p, err := r.api.Name().Resolve(ctx, "/ipns/"+name)
		if err != nil {
			return image.Pointer{}, err
		}
		return pointer(p, dnsTTL)
	}
	answer, err := requestJSON[reply](ctx, r.client, resolveNamePath, name)
	if err == nil {
		err = answer.failure()
	}
	if err != nil {
		return image.Pointer{}, err
	}
	root, err := cid.Decode(answer.Root)
	return image.Pointer{Path: image.Path{Root: root, Rest: answer.Rest}, TTL: answer.TTL}, err
}

func (r *remote) publishName(ctx context.Context, record NameRecord) (NamePublished, error) {
	if !r.ours {
		return r.publishNameByKubo(ctx, record)
	}
	answer, err := requestJSON[reply](ctx, r.client, publishNamePath, record)
	if err == nil {
		err = answer.failure()
	}
	if err != nil || answer.Published == nil {
		return NamePublished{}, err
	}
	return *answer.Published, nil
}

func (r *remote) publishNameByKubo(ctx context.Context, record NameRecord) (NamePublished, error) {
	if err := namesAllowed(r.names, false, "publish a name"); err != nil {
		return NamePublished{}, err
	}
	to, err := path.NewPath(record.Path)
	if err != nil {
		return NamePublished{}, err
	}
	name, err := r.api.Name().Publish(ctx, to, options.Name.Key(record.Key), options.Name.TTL(record.TTL),
		options.Name.ValidTime(record.Lifetime), options.Name.AllowOffline(true))
	if err != nil {
		return NamePublished{}, err
	}
	return NamePublished{Name: name.String()}, nil
}

// failure is what our daemon failed with. Its text says already what was tried.
func (a reply) failure() error {
	switch {
	case a.Error == "":
		return nil
	case a.Class == 0:
		return errors.New(a.Error)
	}
	return &image.Error{Class: a.Class, Op: "ask the daemon", Err: errors.New(a.Error)}
}

// requestJSON is a call of our daemon.
func requestJSON[T any](ctx context.Context, client *http.Client, call string, question any) (answer T, err error) {
	body, err := callDaemon(ctx, client, call, question)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("ask the daemon: %w", err)
	}
	return answer, nil
}
