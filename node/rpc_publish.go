package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/ipfs/go-cid"
)

const (
	publishPath    = "/ipfs-registry/v0/publish"
	holdPath       = "/ipfs-registry/v0/hold"
	maxPublication = 16 << 20 // bytes of JSON
	maxAnswer      = 64 << 10 // bytes of an answer that are read back
)

// publication is a call of Publish on its way to our daemon.
type publication struct {
	Name  string    `json:"name"`
	Root  cid.Cid   `json:"root"`
	Parts []cid.Cid `json:"parts,omitempty"`
}

func (n *Node) servePublish(w http.ResponseWriter, r *http.Request) {
	var p publication
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPublication)).Decode(&p)
	if err != nil || !p.Root.Defined() {
		http.Error(w, fmt.Sprintf("no publication: %v", err), http.StatusBadRequest)
		return
	}
	if err := n.backing.publish(r.Context(), p.Name, p.Root, p.Parts); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func requestPublish(ctx context.Context, client *http.Client, p publication) error {
	_, err := callDaemon(ctx, client, publishPath, p)
	return err
}

// callDaemon sends a call to our daemon and returns its answer.
func callDaemon(ctx context.Context, client *http.Client, call string, question any) ([]byte, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+call, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the daemon could not: %s", strings.TrimSpace(string(answer)))
	}
	return answer, err
}

// serveHold holds the barrier until the client closes its connection, or goes.
func (n *Node) serveHold(w http.ResponseWriter, r *http.Request) {
	release, err := n.Hold(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer release()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // if it fails, so has the request
	<-r.Context().Done()
}

func requestHold(ctx context.Context, client *http.Client) (release func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+holdPath, http.NoBody)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := client.Do(req) //nolint:bodyclose // release closes it
	if err == nil && resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		err = errors.New(resp.Status)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ask the daemon not to collect garbage meanwhile: %w", err)
	}
	return func() { cancel(); _ = resp.Body.Close() }, nil
}

// holding holds the barrier while next works: it adds first and pins later.
func (e *embedded) holding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer e.repo.barrier.hold()()
		next.ServeHTTP(w, r)
	})
}

// publishAdded remembers and announces what a call of next, which is Kubo's
// "add", adds and pins.
func (e *embedded) publishAdded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("pin") == "false" {
			next.ServeHTTP(w, r)
			return
		}
		answer := &recorder{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		root, ok := answer.root()
		if !ok {
			return
		}
		if err := e.remember(r.Context(), root, nil); err != nil {
			e.options.Log.Warn("added, but not remembered as published: not announced", "root", root, "error", err)
			return
		}
		e.announce(true, []cid.Cid{root})
	})
}

// recorder keeps the end of an answer that passes through it.
type recorder struct {
	http.ResponseWriter
	tail []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.tail = append(r.tail, p...)
	if excess := len(r.tail) - maxAnswer; excess > 0 {
		r.tail = append(r.tail[:0], r.tail[excess:]...)
	}
	return r.ResponseWriter.Write(p)
}

// Flush passes on what Kubo wants to be seen at once.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// root is the CID of the last object of an answer of "add": the outermost.
func (r *recorder) root() (root cid.Cid, ok bool) {
	for line := range bytes.Lines(r.tail) {
		var added struct{ Hash string }
		if json.Unmarshal(line, &added) != nil {
			continue
		}
		if c, err := cid.Decode(added.Hash); err == nil {
			root, ok = c, true
		}
	}
	return root, ok
}
