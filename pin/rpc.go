package pin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// RPCPrefix is where a [Handler] answers, for a [Client].
const RPCPrefix = "/ipfs-registry/v0/pins/"

// maxRequest is how many bytes of JSON a request may have.
const maxRequest = 16 << 20

// frame is a line of an answer: any number of Progress, and then one with Error
// or Result.
type frame struct {
	Progress json.RawMessage `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *frameError     `json:"error,omitempty"`
}

type frameError struct {
	Class image.Class `json:"class"`
	Text  string      `json:"text"`
}

// call is the request of a verb of a Service, decoded, on its way to it.
type call func(ctx context.Context, request []byte, told func(any)) (any, error)

// calls are the verbs of a Service.
func calls(s Service) map[string]call {
	return map[string]call{
		"add": func(ctx context.Context, request []byte, told func(any)) (any, error) {
			var r Request
			if err := json.Unmarshal(request, &r); err != nil {
				return nil, err
			}
			return s.Add(ctx, r, func(p Progress) { told(p) })
		},
		"ls": func(ctx context.Context, _ []byte, told func(any)) (any, error) { return list(ctx, s, told) },
		"rm": func(ctx context.Context, request []byte, _ func(any)) (any, error) {
			var p image.Path
			if err := json.Unmarshal(request, &p); err != nil {
				return nil, err
			}
			return nil, s.Remove(ctx, p)
		},
		"verify": func(ctx context.Context, request []byte, told func(any)) (any, error) {
			var r VerifyRequest
			if err := json.Unmarshal(request, &r); err != nil {
				return nil, err
			}
			return s.Verify(ctx, r, func(v Verified) { told(v) })
		},
		"gc": func(ctx context.Context, request []byte, _ func(any)) (any, error) {
			var dry bool
			if err := json.Unmarshal(request, &dry); err != nil {
				return nil, err
			}
			return s.Collect(ctx, dry)
		},
	}
}

// listed is how many images of a list are sent at a time.
const listed = 64

// list tells of images, some at a time, and returns the last of them.
func list(ctx context.Context, s Service, told func(any)) (some []*Image, err error) {
	for i, err := range s.List(ctx) {
		if err != nil {
			return nil, err
		}
		if len(some) == listed {
			told(some)
			some = some[:0]
		}
		some = append(some, i)
	}
	return some, nil
}

// Handler offers a Service to other processes. Whoever reaches it decides what
// this host keeps: it is for the daemon's control socket and nothing else.
func Handler(s Service) http.Handler {
	all := calls(s)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do, ok := all[strings.TrimPrefix(r.URL.Path, RPCPrefix)]
		if !ok || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		answer(w, r, do)
	})
}

func answer(w http.ResponseWriter, r *http.Request, do call) {
	out := &framer{w: w}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var result any
	if err == nil {
		result, err = do(r.Context(), request, func(p any) { out.send(func(f *frame) *json.RawMessage { return &f.Progress }, p) })
	}
	if err != nil {
		out.write(frame{Error: &frameError{image.ClassOf(err), err.Error()}})
		return
	}
	out.send(func(f *frame) *json.RawMessage { return &f.Result }, result)
}

// framer writes frames, each at once. If it fails the client has gone, and so
// will the context of its request.
type framer struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func (f *framer) send(field func(*frame) *json.RawMessage, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		f.write(frame{Error: &frameError{Text: err.Error()}})
		return
	}
	var out frame
	*field(&out) = data
	f.write(out)
}

func (f *framer) write(out frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = json.NewEncoder(f.w).Encode(out)
	_ = http.NewResponseController(f.w).Flush()
}

// Client is the Service of another process, by its [Handler].
type Client struct{ http *http.Client }

// NewClient returns a Client that reaches the Handler by c, whatever the host.
func NewClient(c *http.Client) *Client { return &Client{c} }

// Add implements Service. If ctx ends, what was begun stays listed as
// Incomplete, and the other process goes on with it later.
func (c *Client) Add(ctx context.Context, r Request, told func(Progress)) (*Image, error) {
	i := &Image{}
	return i, c.call(ctx, "add", r, i, func(data json.RawMessage) {
		var p Progress
		if told != nil && json.Unmarshal(data, &p) == nil {
			told(p)
		}
	})
}

// List implements Service.
func (c *Client) List(ctx context.Context) iter.Seq2[*Image, error] {
	return func(yield func(*Image, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var failed error
		wanted := true
		give := func(data json.RawMessage) {
			var some []*Image
			failed = cmp.Or(failed, json.Unmarshal(data, &some))
			for _, i := range some {
				if wanted = wanted && yield(i, nil); !wanted {
					cancel()
				}
			}
		}
		var last json.RawMessage
		err := c.call(ctx, "ls", nil, &last, give)
		if err == nil {
			give(last)
		}
		if err = cmp.Or(failed, err); err != nil && wanted {
			yield(nil, err)
		}
	}
}

// Remove implements Service.
func (c *Client) Remove(ctx context.Context, p image.Path) error {
	return c.call(ctx, "rm", p, nil, nil)
}

// Verify implements Service.
func (c *Client) Verify(ctx context.Context, r VerifyRequest, told func(Verified)) ([]Verified, error) {
	var all []Verified
	return all, c.call(ctx, "verify", r, &all, func(data json.RawMessage) {
		var v Verified
		if told != nil && json.Unmarshal(data, &v) == nil {
			told(v)
		}
	})
}

// Collect implements Service.
func (c *Client) Collect(ctx context.Context, dry bool) (Freed, error) {
	var f Freed
	return f, c.call(ctx, "gc", dry, &f, nil)
}

// call asks for a verb. result is where the result goes, nil for nowhere.
func (c *Client) call(ctx context.Context, verb string, request, result any, told func(json.RawMessage)) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+RPCPrefix+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &image.Error{Op: "ask the daemon", Err: errors.New(resp.Status), Hint: "it may be of another version; restart it"}
	}
	for d := json.NewDecoder(resp.Body); ; {
		var f frame
		if err := d.Decode(&f); err != nil {
			return fmt.Errorf("ask the daemon: it ended its answer early: %w", err)
		}
		switch {
		case f.Error != nil:
			return &image.Error{Class: f.Error.Class, Op: "ask the daemon", Err: errors.New(f.Error.Text)}
		case f.Progress != nil:
			if told != nil {
				told(f.Progress)
			}
		case result == nil:
			return nil
		default:
			return json.Unmarshal(f.Result, result)
		}
	}
}
